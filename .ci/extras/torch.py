from dither.algorithms import WeightMGD
from dither.instruments.torch import TorchDevice
from dither.interop.torch_optim import MGD

import torch

net = torch.nn.Linear(2, 1)
assert TorchDevice(net).parameters == {"weight": (1, 2), "bias": (1,)}
MGD(net.parameters(), WeightMGD(learning_rate=0.1, delta=0.01)).step(
    lambda: (net(torch.ones(2)) ** 2).sum()
)
