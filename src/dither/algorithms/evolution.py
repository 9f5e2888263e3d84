"""Evolution strategies and swarms from evosax."""

import inspect
import warnings
from dataclasses import replace
from functools import cache
from typing import Annotated, Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key
from pydantic import Field, model_validator

from dither._errors import RequestError, nearest
from dither.algorithms.algorithm import AbstractAlgorithm, Info
from dither.algorithms.optimizer import AnyOptimizer, Optimizer, Settings
from dither.contract import Clock, Measurement, Parameter, Probe, Problem, Space
from dither.instruments.extras import needs

NOT_SETTINGS = ("population_size", "solution", "fitness_shaping_fn", "metrics_fn", "optimizer",
                "std_schedule")  # fmt: skip
"""Arguments of evosax's classes that are set in another way or are functions."""

TRIED = 8
"""The number of parameters of the problem used to validate a strategy's settings."""


class EvolutionState(eqx.Module):
    """The state of a strategy.

    Attributes: `clock`, with the generation as tick and the member as part; `strategy`, evosax's
    state; `population`, the members of this generation; `costs`, of the measured members; `begun`,
    whether a swarm has received costs.
    """

    clock: Clock
    key: Key[Array, ""]
    strategy: Any
    population: Float[Array, "N P"]
    costs: Float[Array, " N"]
    begun: Bool[Array, ""]
    problem: Problem = eqx.field(static=True)


class Evolution(AbstractAlgorithm):
    """Measure a population, then let a strategy of evosax choose the next one.

    ```
    generation g:  C_n = C(θ_n, batch),  n = 1 … population;   θ_1 … ← strategy(θ_1 …, C_1 …)
    ```

    Every member of a generation is measured on the same batch, and can be asked before the others
    are told. A member whose measurement failed is measured again. Members and means are kept within
    the device's bounds and written on its grid.

    The trained parameters, which are scored, are the mean of a strategy that samples from a
    distribution. For a swarm or a genetic algorithm they are the member with the lowest cost so
    far, measured on one batch, which may be lucky.

    Arguments:
        strategy: a class of `evosax.algorithms`, such as `PGPE`, `Open_ES`, `SNES`, `Sep_CMA_ES`,
            `CMA_ES`, `PSO`.
        population: members of a generation, ≥ 2; even if the strategy measures pairs.
        sigma: initial standard deviation, > 0, in units of the parameters.
        learning_rate, optimizer: an Optax optimiser of the mean instead of the strategy's own; only
            for strategies that have one.
        tau_x: generations between new batches, ≥ 1.
        settings: other settings of the strategy, by evosax's names.
    Errors: `RequestError` for a strategy or a setting unknown to evosax, or a population above the
    budget.

    Source: evosax (Lange, arXiv 2212.04180), and its source for each strategy.
    """

    kind: Literal["evolution"] = "evolution"
    strategy: Annotated[str, Field(examples=["Open_ES"])]
    population: Annotated[int, Field(ge=2, examples=[6])] = 32
    sigma: Annotated[float, Field(gt=0)] = 0.1
    learning_rate: Annotated[float, Field(ge=0, examples=[0.03])] | None = None
    optimizer: AnyOptimizer = Optimizer(name="adam")
    tau_x: Annotated[int, Field(ge=1)] = 1
    settings: Settings = ()

    @model_validator(mode="after")
    def _fits(self) -> "Evolution":
        known = _strategies()
        if self.strategy not in known:
            raise ValueError(
                f"evosax has no strategy '{self.strategy}'; {nearest(self.strategy, known)}"
            )
        if self.learning_rate is not None and "optimizer" not in _arguments(self.strategy):
            raise ValueError(
                f"the strategy {self.strategy} has no optimizer; leave out learning_rate"
            )
        _check(self)
        return self

    def check_budget(self, problem: Problem, measurements: int) -> None:
        del problem
        if measurements < self.population:
            raise RequestError(
                f"The budget of {measurements} measurements is less than one generation of "
                f"algorithm.population = {self.population}; set a smaller population."
            )

    def evosax(self, size: int) -> tuple[Any, Any]:
        """evosax's strategy for `size` parameters, and its settings."""
        cls, takes = _strategies()[self.strategy], _arguments(self.strategy)
        given: dict[str, Any] = {}
        if "std_schedule" in takes:
            given["std_schedule"] = lambda _: jnp.asarray(self.sigma)
        if self.learning_rate is not None:
            given["optimizer"] = self.optimizer.build(self.learning_rate)
        own = {name: value for name, value in self.settings if name in takes}
        with jax.ensure_compile_time_eval():
            strategy = cls(self.population, jnp.zeros(size), **given, **own)
            defaults = strategy.default_params
        fields = type(defaults).__dataclass_fields__
        spread = {"std_init": self.sigma} if "std_init" in fields else {}
        others = {name: value for name, value in self.settings if name not in takes}
        return strategy, defaults.replace(**spread, **others)

    def init(
        self, key: Key[Array, ""], parameters: Float[Array, " P"], problem: Problem
    ) -> EvolutionState:
        strategy, settings = self.evosax(parameters.size)
        space, (first, asking, _) = problem.space, _keys(key, 0)
        costs = jnp.zeros(self.population, parameters.dtype)
        theta = _inside(space, parameters)
        if _has_mean(strategy):
            state = strategy.init(first, theta, settings)
            population, state = strategy.ask(asking, state, settings)
        else:
            apart = jax.random.normal(asking, (self.population, theta.size), theta.dtype)
            population = theta + self.sigma * apart
            state = strategy.init(first, population, costs, settings)
        return EvolutionState(
            clock=Clock(tick=jnp.int32(0), part=jnp.int32(0)),
            key=key,
            strategy=_as(state, state),
            population=_all_inside(space, population).astype(theta.dtype),
            costs=costs,
            begun=jnp.bool_(_has_mean(strategy)),
            problem=problem,
        )

    def ask(self, state: EvolutionState) -> tuple[Probe, EvolutionState]:
        tick, part = state.clock.tick, state.clock.part
        probe = Probe(
            clock=state.clock,
            parameters=state.problem.space.snap(state.population[part]),
            updated=(part == 0) & (tick > 0),
            batch_index=tick // self.tau_x,
        )
        last = part == self.population - 1
        after = Clock(tick=tick + last, part=jnp.where(last, 0, part + 1).astype(jnp.int32))
        return probe, replace(state, clock=after)

    def tell(
        self, state: EvolutionState, probe: Probe, measurement: Measurement
    ) -> tuple[EvolutionState, Info]:
        tick, part = probe.clock.tick, probe.clock.part
        state = replace(state, costs=state.costs.at[part].set(measurement.cost))
        last = part == self.population - 1
        after: EvolutionState = jax.lax.cond(
            last, lambda: self.next_generation(state, tick), lambda: state
        )
        return after, Info(last)

    def next_generation(self, state: EvolutionState, tick: Any) -> EvolutionState:
        """The state after a generation: the strategy has received its costs."""
        strategy, settings = self.evosax(state.problem.space.size)
        first, _, telling = _keys(state.key, tick)
        population, costs, before = state.population, state.costs, state.strategy

        def learnt() -> Any:
            return _as(strategy.tell(telling, population, costs, before, settings)[0], before)

        with warnings.catch_warnings():  # from functions of Optax that evosax calls
            warnings.simplefilter("ignore", DeprecationWarning)
            if _has_mean(strategy):
                now = learnt()
                now = now.replace(mean=_inside(state.problem.space, now.mean))
            else:
                now = jax.lax.cond(
                    state.begun,
                    learnt,
                    lambda: _as(strategy.init(first, population, costs, settings), before),
                )
            members, now = strategy.ask(_keys(state.key, tick + 1)[1], now, settings)
        return replace(
            state,
            strategy=_as(now, before),
            population=_all_inside(state.problem.space, members).astype(population.dtype),
            begun=jnp.bool_(True),
        )

    def on_drift(self, state: EvolutionState) -> EvolutionState:
        # the generation is measured again, and the best member so far is dropped
        strategy = state.strategy
        fresh = strategy.replace(best_fitness=jnp.full_like(strategy.best_fitness, jnp.inf))
        clock = Clock(tick=state.clock.tick, part=jnp.zeros_like(state.clock.part))
        return replace(state, clock=clock, strategy=fresh, begun=jnp.bool_(hasattr(fresh, "mean")))

    def parameters(self, state: EvolutionState) -> Float[Array, " P"]:
        now = state.strategy
        if hasattr(now, "mean"):
            reached = now.mean
        else:
            reached = jnp.where(state.begun, now.best_solution, state.population[0])
        return state.problem.space.snap(reached.astype(state.population.dtype))

    def rate_of(self, state: EvolutionState) -> Float[Array, ""]:
        del state
        return jnp.asarray(jnp.nan if self.learning_rate is None else self.learning_rate)

    def lookahead(self, problem: Problem, clock: Clock) -> int:
        del problem
        return self.population - int(clock.part)


@cache
def _strategies() -> dict[str, Any]:
    """evosax's strategies by name."""
    known: dict[str, Any] = needs("evosax.algorithms", "evolution").algorithms
    return known


@cache
def _arguments(strategy: str) -> tuple[str, ...]:
    return tuple(inspect.signature(_strategies()[strategy].__init__).parameters)


@cache
def _check(algorithm: Evolution) -> None:
    """Validate the settings on a small problem without computing. Errors: `ValueError`."""
    strategy, population = algorithm.strategy, algorithm.population
    bare = algorithm.model_copy(update={"settings": ()})
    _try(bare, f"population = {population}")
    fields = type(bare.evosax(TRIED)[1]).__dataclass_fields__
    known = [name for name in (*_arguments(strategy), *fields) if name not in NOT_SETTINGS]
    for name, _ in algorithm.settings:
        if name not in known:
            raise ValueError(f"evosax's {strategy} has no setting '{name}'; {nearest(name, known)}")
    if algorithm.settings:
        _try(algorithm, "these settings")


def _try(algorithm: Evolution, what: str) -> None:
    problem = Problem(Space((Parameter("theta", (TRIED,)),)))

    def first_generations(key: Key[Array, ""]) -> EvolutionState:
        state = algorithm.init(key, jnp.zeros(TRIED), problem)
        return algorithm.next_generation(state, jnp.int32(0))

    try:
        jax.eval_shape(first_generations, jax.random.key(0))
    except Exception as error:  # any error of evosax for a setting of a wrong type
        said = " ".join(str(error).split()).partition(". ")[0].rstrip(".")
        raise ValueError(f"evosax's {algorithm.strategy} does not accept {what}: {said}") from None


def _has_mean(strategy: Any) -> bool:
    """Whether a strategy samples from a distribution instead of moving its members."""
    return hasattr(strategy, "get_mean")


def _keys(key: Key[Array, ""], generation: Any) -> tuple[Any, Any, Any]:
    """The keys for initialising, asking and telling a generation."""
    first, asking, telling = jax.random.split(jax.random.fold_in(key, generation), 3)
    return first, asking, telling


def _inside(space: Space, theta: Float[Array, " P"]) -> Float[Array, " P"]:
    return space.confine(theta, jnp.zeros(()))


def _all_inside(space: Space, population: Float[Array, "N P"]) -> Float[Array, "N P"]:
    inside: Float[Array, "N P"] = jax.vmap(lambda member: _inside(space, member))(population)
    return inside


def _as(state: Any, like: Any) -> Any:
    """A strategy's state with the types of another."""
    return jax.tree.map(lambda x, y: jnp.asarray(x, jnp.asarray(y).dtype), state, like)
