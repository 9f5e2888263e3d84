"""Memory of the compiled loop and of the loop around a Python device, in parameter copies."""

import re
import subprocess
import sys
from pathlib import Path


def copies(optimizer: str, width: int = 1000) -> float:
    """Return the parameter copies that the compiled loop holds at about `width²` parameters."""
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
    """Return the copies that the compiled loop and the loop around a Python device hold.

    The compiled loop is measured with plain gradient descent and with Adam, which stores two copies
    itself.
    """
    found = {f"at 10^6 parameters, {name}": copies(name) for name in ("sgd", "adam")}
    for power in (6, 7):
        command = [sys.executable, __file__, str(10**power)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found[f"Python device, 10^{power} parameters"] = float(done.stdout)
    return found


def held_around_a_device(parameters: int) -> float:
    """Return the peak number of parameter copies in the loop around a Python device.

    A copy takes 4 bytes per parameter. The peak of the same loop around a small device is
    subtracted from the peak of this process.
    """
    import devices

    peaks = []
    for size in (220, parameters):
        devices.ours(devices.Blocks, size, 64)()(4 * 65 if size == 220 else 65)
        # the peak of this program alone: getrusage includes the parent before the exec
        (peak,) = re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
        peaks.append(1024 * int(peak))
    return (peaks[1] - peaks[0]) / (4 * parameters)


def main() -> None:
    """Measure one size in this process, so that the peak belongs to that size alone."""
    print(held_around_a_device(int(sys.argv[1])))


if __name__ == "__main__":
    main()
