"""What the compiled loop holds, in copies of the parameters."""


def copies(optimizer: str, width: int = 1000) -> float:
    """Copies of the parameters that the loop holds at about `width²` of them."""
    import jax.numpy as jnp
    import numpy as np

    import dither
    from dither.training.fused import FusedLoop, advance

    device = dither.SimulatedDevice(network=dither.MLP(widths=(width, width, 1)))
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(8, width)), rng.normal(size=(8, 1))
    task = dither.make_task(x, t, x, t, batch=1)
    rule = dither.WeightMGD(learning_rate=1e-6, tau_theta=10, pairs="central", optimizer=optimizer)
    loop = FusedLoop(rule, device, task, [0])
    plan = advance.lower((rule, device, task, jnp.int32(1)), loop.carry).compile()
    held = plan.compiled.memory_analysis()
    total = held.argument_size_in_bytes + held.output_size_in_bytes + held.temp_size_in_bytes
    return (total - held.alias_size_in_bytes) / (4 * device.space.size)


def all_copies() -> dict[str, float]:
    """Of plain descent and of Adam, which keeps two of its own, at 10^6 parameters."""
    return {f"at 10^6 parameters, {name}": copies(name) for name in ("sgd", "adam")}
