"""A PyTorch optimiser that needs no backward pass."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from dither._errors import RequestError, RunError
from dither.algorithms.algorithm import AbstractAlgorithm
from dither.contract import Parameter, Space
from dither.instruments.extras import needs
from dither.interop.by_cost import ByCost
from dither.training.checkpoint import like, plain

needs("torch", "torch")
import torch  # noqa: E402  # after the line that says in a sentence what to install


class MGD(torch.optim.Optimizer):
    """Perturbs parameters, calls a closure for the loss, and updates them, without gradients.

    ```
    optimizer = MGD(model.parameters(), algorithm=WeightMGD(learning_rate=0.1, delta=0.01))
    optimizer.step(lambda: loss(model(x), y))
    ```

    One `step` measures until the algorithm has updated the parameters once: two calls of the
    closure for a pair with tau_theta = 1. The closure must use the same batch for all calls of a
    step. The algorithm holds the parameters; changes made elsewhere between steps are overwritten.

    The learning rate, unless `auto`, is `lr` in each parameter group, so that PyTorch's schedulers
    can change it: `torch.optim.lr_scheduler.StepLR(optimizer, 100)`.

    Arguments: `params`, tensors or groups of them; `algorithm`, any that uses only the cost;
    `seed`.
    Attributes: `measurements`, the number of calls of closures.
    Errors: `RequestError` for an algorithm that needs more than the cost.
    """

    def __init__(
        self, params: Iterable[Any], algorithm: AbstractAlgorithm, *, seed: int = 0
    ) -> None:
        super().__init__(params, {})
        self._tensors = [tensor for group in self.param_groups for tensor in group["params"]]
        self.measurements = 0
        space = Space(
            tuple(Parameter(str(n), tuple(tensor.shape)) for n, tensor in enumerate(self._tensors))
        )
        arrays = [tensor.detach().cpu().double().numpy().ravel() for tensor in self._tensors]
        self._trainer = ByCost(algorithm, space, np.concatenate(arrays), seed)
        if self._trainer.rate is not None:
            self.defaults["lr"] = self._trainer.rate
            for group in self.param_groups:
                group.setdefault("lr", self._trainer.rate)

    def step(self, closure: Callable[[], Any]) -> float:
        """Make one update. Returns: the mean of the losses measured for it.

        Arguments: `closure`, which returns the loss, a number or a tensor of one.
        Errors: `RunError` for a loss that is NaN or infinite. This and any error of the closure
        leave the optimiser as it was before that call, so that `step` can be called again.
        """
        losses, updated = [], False
        try:
            with torch.no_grad():
                while not updated:
                    before = self._trainer.state
                    probe = self._trainer.ask()
                    self._put(np.asarray(probe.theta, float))
                    try:
                        losses.append(self._measured(closure))
                    except BaseException:
                        self._trainer.state = before
                        raise
                    updated = self._trainer.tell(probe, losses[-1], self._rates())
        finally:
            self._put(self._trainer.parameters())
        return sum(losses) / len(losses)

    def _measured(self, closure: Callable[[], Any]) -> float:
        self.measurements += 1
        given = closure()
        loss = float(given.detach() if isinstance(given, torch.Tensor) else given)
        if not math.isfinite(loss):
            raise RunError(f"The loss is {loss}; use a smaller delta or learning rate.")
        return loss

    def _rates(self) -> float | Float[np.ndarray, " P"] | None:
        """The present learning rates of the groups: one, or one for each parameter."""
        if self._trainer.rate is None:
            return None
        rates = [float(group["lr"]) for group in self.param_groups]
        if len(set(rates)) == 1:
            return rates[0]
        sizes = [sum(tensor.numel() for tensor in g["params"]) for g in self.param_groups]
        return np.repeat(rates, sizes)

    def _put(self, theta: Float[np.ndarray, " P"]) -> None:
        start = 0
        with torch.no_grad():
            for tensor in self._tensors:
                values = torch.as_tensor(theta[start : start + tensor.numel()])
                tensor.copy_(values.view_as(tensor))
                start += tensor.numel()

    def state_dict(self) -> dict[str, Any]:
        """The complete state for bit-for-bit continuation, as tensors and plain values."""
        leaves = [plain(leaf) for leaf in jax.tree.leaves(self._trainer.state)]
        return {
            "algorithm": self._trainer.algorithm.model_dump(mode="json"),
            "measurements": self.measurements,
            "groups": [_without_tensors(group) for group in self.param_groups],
            "state": [torch.from_numpy(np.array(leaf)) for leaf in leaves],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a `state_dict`; the parameters are set to its values.

        Errors: `RequestError` if it belongs to another algorithm or other parameters.
        """
        leaves, structure = jax.tree.flatten(self._trainer.state)
        saved = [np.asarray(tensor) for tensor in state_dict["state"]]
        same = state_dict["algorithm"] == self._trainer.algorithm.model_dump(mode="json")
        if not same or [plain(leaf).shape for leaf in leaves] != [leaf.shape for leaf in saved]:
            raise RequestError(
                "The state belongs to another algorithm or other parameters; make the "
                "optimiser with "
                "the same ones."
            )
        restored = [like(leaf, array) for leaf, array in zip(leaves, saved)]
        self._trainer.state = jax.tree.unflatten(structure, restored)
        self.measurements = state_dict["measurements"]
        for group, kept in zip(self.param_groups, state_dict.get("groups", ())):
            group.update(kept)
        self._put(self._trainer.parameters())


def _without_tensors(group: dict[str, Any]) -> dict[str, Any]:
    """The settings of a parameter group, such as `lr`."""
    return {name: value for name, value in group.items() if name != "params"}
