"""CNNs of Oripov2025, perturbed as a whole and layer by layer, and the CNN of McCaughan2023."""

import numpy as np
from line import Line, Round


def _network(d: int):
    import dither

    if not d:
        return dither.networks.CNN()

    return dither.networks.CNN(
        channels=(d, 2 * d, 4 * d), depth=2, padding="same", dense=(4 * d, 4 * d), activation="tanh"
    )


def ours(d: int, kind: str):
    """Return a contender that runs dither's loop around the simulated network."""

    def prepare() -> Round:
        import dither
        from dither.algorithms import ALGORITHMS
        from dither.training.fused import FusedLoop

        rng = np.random.default_rng(0)
        x, t = rng.random((500, 28, 28, 1)).astype("f4"), rng.integers(0, 10, 500)
        task = dither.make_task(x, t, x[:10], t[:10], batch=100, cost="smoothed_cross_entropy")
        how = {"layers": "each"} if kind == "node-perturbation" else {}
        rule = ALGORITHMS[kind](learning_rate=1e-6, delta=0.01, **how)
        loop = FusedLoop(rule, dither.SimulatedDevice(network=_network(d)), task, [0])

        def go(size: int) -> int:
            loop.advance(size)
            return size

        return go

    return prepare


def torch_pass(d: int):
    """Return a contender that runs forward passes in PyTorch.

    Tensors are in the channels-last format, and the weights are perturbed in every pass.
    """

    def prepare() -> Round:
        import torch
        from torch import nn

        torch.set_num_threads(len(__import__("os").sched_getaffinity(0)))
        layers, last = [], 1
        for channels in (d, 2 * d, 4 * d):
            for _ in range(2):
                layers += [nn.Conv2d(last, channels, 3, padding="same"), nn.Tanh()]
                last = channels
            layers.append(nn.MaxPool2d(2))
        layers += [nn.Flatten(), nn.LazyLinear(4 * d), nn.Tanh(), nn.Linear(4 * d, 4 * d)]
        layers += [nn.Tanh(), nn.Linear(4 * d, 10)]
        x = torch.rand(100, 1, 28, 28).to(memory_format=torch.channels_last)
        net = nn.Sequential(*layers)
        net(x)
        net = net.to(memory_format=torch.channels_last)
        parameters = list(net.parameters())

        @torch.inference_mode()
        def go(size: int) -> int:
            for _ in range(size):
                signs = [1e-2 * torch.sign(torch.randn_like(p)) for p in parameters]
                for p, s in zip(parameters, signs):
                    p += s
                float(net(x).logsumexp(1).mean())
                for p, s in zip(parameters, signs):
                    p -= s
            return size

        return go

    return prepare


def _operations(d: int) -> float:
    """Return the operations of one forward pass of 100 examples.

    Each weight needs two operations at each position.
    """
    total, last, side = 0, 1, 28
    for channels in (d, 2 * d, 4 * d):
        for _ in range(2):
            total += 9 * last * channels * side**2
            last = channels
        side //= 2
    return 2.0 * 100 * total


def _line(d: int, kind: str) -> Line:
    contenders = {"dither": ours(d, kind), "PyTorch, a whole pass": torch_pass(d)}
    return Line("measurements", contenders, operations=_operations(d), rounds=3)


LINES = {
    f"CNN d = {d}, {words}": _line(d, kind)
    for d in (2, 4, 8)
    for words, kind in (
        ("whole", "weight-mgd"),
        ("layer by layer", "layerwise-mgd"),
        ("neurons layer by layer", "node-perturbation"),
    )
} | {"CNN of 14 378 weights": Line("measurements", {"dither": ours(0, "weight-mgd")}, rounds=3)}
