"""What the compiled loop, and that around a Python device, hold in copies of the parameters."""

import re
import subprocess
import sys
from pathlib import Path


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
    """Of plain descent and of Adam, which keeps two of its own; of the loop around a device."""
    found = {f"at 10^6 parameters, {name}": copies(name) for name in ("sgd", "adam")}
    for power in (6, 7):
        command = [sys.executable, __file__, str(10**power)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found[f"Python device, 10^{power} parameters"] = float(done.stdout)
    return found


def held_around_a_device(parameters: int) -> float:
    """Copies of the parameters, 4 bytes each, that the loop around a Python device holds at most.

    The peak of this process beyond that of the same loop around a small device.
    """
    import devices

    peaks = []
    for size in (220, parameters):
        devices.ours(devices.Blocks, size, 64)()(4 * 65 if size == 220 else 65)
        # of this program alone: what getrusage tells counts the parent before the program began
        (peak,) = re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
        peaks.append(1024 * int(peak))
    return (peaks[1] - peaks[0]) / (4 * parameters)


def main() -> None:
    """One size in this process, whose peak is of no other."""
    print(held_around_a_device(int(sys.argv[1])))


if __name__ == "__main__":
    main()
