"""PyTorch's schedulers change the learning rate of MGD, which stands as `lr` in its groups."""

import io
import math

import numpy as np
import pytest

from dither.algorithms import SPSA, LayerwiseMGD, WeightMGD

torch = pytest.importorskip("torch", reason="torch is not installed")
from dither.interop import MGD  # noqa: E402  # needs torch

scheduler = torch.optim.lr_scheduler
RULE = WeightMGD(learning_rate=0.25, delta=0.05, pairs="central")
RULES = [RULE, LayerwiseMGD(learning_rate=0.25, delta=0.05), SPSA(a=0.25, c=0.05)]


class Bowl:
    """`C = |θ|²/2 + θ·1` of two tensors; a step of plain descent is proportional to its rate."""

    def __init__(self):
        torch.set_num_threads(1)
        self.one, self.two = torch.zeros(3), torch.zeros(2, 2)

    def loss(self):
        both = torch.cat([self.one, self.two.ravel()])
        return (both**2).sum() / 2 + both.sum()

    def theta(self):
        return torch.cat([self.one, self.two.ravel()]).numpy().astype(float)


def moves(make, steps, rule=RULE, groups=None):
    """How far each step has gone, and at which rate."""
    bowl = Bowl()
    optimizer = MGD(groups(bowl) if groups else [bowl.one, bowl.two], rule, seed=1)
    rates = make(optimizer) if make else None
    gone, used = [], []
    for _ in range(steps):
        before = bowl.theta()
        used.append([group["lr"] for group in optimizer.param_groups])
        loss = optimizer.step(bowl.loss)
        gone.append(bowl.theta() - before)
        if rates is not None:
            rates.step(*[loss] * isinstance(rates, scheduler.ReduceLROnPlateau))
    return np.array(gone), np.array(used)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.kind)
def test_a_step_is_as_long_as_its_rate_says(rule):
    """The second step at a tenth of the rate is a tenth of the second step at the whole rate."""
    plain, _ = moves(None, 2, rule)
    tenth, used = moves(lambda o: scheduler.StepLR(o, step_size=1, gamma=0.1), 2, rule)
    assert used.ravel() == pytest.approx([0.25, 0.025])
    assert np.array_equal(tenth[0], plain[0])
    assert np.abs(plain[1]).min() > 1e-3
    assert np.allclose(tenth[1], 0.1 * plain[1], rtol=1e-4, atol=1e-7)


def test_cosine_annealing():
    """`lr = 0.25 (1 + cos(π t / 8)) / 2`, and a rate of 0 moves nothing."""
    _, used = moves(lambda o: scheduler.CosineAnnealingLR(o, T_max=8), 9)
    assert used.ravel() == pytest.approx(
        [0.125 * (1 + math.cos(math.pi * t / 8)) for t in range(9)]
    )
    gone, used = moves(lambda o: scheduler.LambdaLR(o, lambda t: float(t < 2)), 4)
    assert used.ravel().tolist() == [0.25, 0.25, 0.0, 0.0]
    assert np.abs(gone[:2]).min() > 1e-3
    assert np.abs(gone[2:]).max() < 1e-6


def test_reduce_on_plateau():
    """The loss of a step is what it measures: where it stops falling, the rate is halved."""
    plateau = scheduler.ReduceLROnPlateau
    _, used = moves(
        lambda o: plateau(o, factor=0.5, patience=2, threshold=9.0, threshold_mode="abs"), 9
    )
    assert used.ravel().tolist() == [0.25] * 4 + [0.125] * 3 + [0.0625] * 2


def test_groups_have_rates_of_their_own():
    def groups(bowl):
        return [{"params": [bowl.one]}, {"params": [bowl.two], "lr": 0.025}]

    plain, _ = moves(None, 1)
    apart, used = moves(None, 1, groups=groups)
    assert used.tolist() == [[0.25, 0.025]]
    assert np.allclose(apart[0, :3], plain[0, :3], rtol=1e-5, atol=0)
    assert np.allclose(apart[0, 3:], 0.1 * plain[0, 3:], rtol=1e-5, atol=0)


def test_optimiser_and_scheduler_go_on_bit_for_bit():
    def begun():
        bowl = Bowl()
        optimizer = MGD([bowl.one, bowl.two], RULE, seed=3)
        return bowl, optimizer, scheduler.StepLR(optimizer, step_size=2, gamma=0.5)

    def go(bowl, optimizer, rates, steps):
        for _ in range(steps):
            optimizer.step(bowl.loss)
            rates.step()

    bowl, optimizer, rates = begun()
    go(bowl, optimizer, rates, 5)
    file = io.BytesIO()
    torch.save([optimizer.state_dict(), rates.state_dict()], file)
    go(bowl, optimizer, rates, 5)
    file.seek(0)
    again, other, others = begun()
    saved = torch.load(file, weights_only=True)
    other.load_state_dict(saved[0])
    others.load_state_dict(saved[1])
    assert other.param_groups[0]["lr"] == 0.25 / 4
    go(again, other, others, 5)
    assert np.array_equal(again.theta(), bowl.theta())
    assert other.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"] == 0.25 / 32


def test_the_rate_auto_is_its_own():
    bowl = Bowl()
    rule = WeightMGD(learning_rate="auto", delta=0.05, pairs="central")
    optimizer = MGD([bowl.one, bowl.two], rule)
    assert "lr" not in optimizer.param_groups[0]
    optimizer.step(bowl.loss)
