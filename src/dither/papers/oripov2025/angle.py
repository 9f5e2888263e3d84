"""Figure 3: how long the summed estimate takes to point along the gradient."""

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from dither.contract import Layer, Parameters
from dither.laws.angle import AngleTime, angle_time, weight_angle_time
from dither.papers.oripov2025.drawing import PALETTE, from_paper, laws, picture, points, row_of
from dither.papers.oripov2025.network import (
    COMPILED_FOR_ONE_RUN,
    examples_last,
    images_last,
    initial_weights,
    network_of,
)
from dither.papers.oripov2025.published import published
from dither.papers.oripov2025.scale import Scale
from dither.papers.oripov2025.simulation import (
    MEASURED,
    Method,
    Nominal,
    draw_signs,
    measure_changes,
    node_estimate,
    nominal_pass,
    sizes,
    weight_estimate,
)
from dither.papers.oripov2025.training import fashion_mnist
from dither.papers.paper import Made, Observe, Row, mean
from dither.tasks import Task
from dither.training.checkpoint import write_atomically

DEGREES = 15.0
AMPLITUDE = 0.01
BATCH = 100
AT_ONCE = 10
"""Perturbations of a layer that are measured together."""

LIMIT = 5
"""A simulation is given up after so many times as long as the law says."""

METHODS: tuple[Method, ...] = ("weight", "node")


def first_batch(task: Task) -> tuple[Float[Array, "1 1 h w B"], Array]:
    """The first training images and their labels, the same for all seeds."""
    return images_last(task.inputs[:BATCH]), task.targets[:BATCH]


class Exact(NamedTuple):
    """One pass forward and one back: what every law and simulation of a batch starts from.

    Attributes: the nominal pass; `gradient`, of the mean cost; by layer the node errors
    `e_b = ∂C_b/∂z_b`.
    """

    nominal: Nominal
    gradient: Parameters
    errors: Parameters


@partial(jax.jit, static_argnums=0, compiler_options=COMPILED_FOR_ONE_RUN)
def exactly(
    d: int, parameters: Parameters, inputs: Float[Array, "1 1 h w B"], labels: Array
) -> Exact:
    """Forward and back once for a network of a size: compiled once for all that needs it."""
    layers = examples_last(network_of(d), by_shifts=0)

    def cost(parameters: Parameters, shifts: Parameters) -> tuple[Float[Array, ""], Nominal]:
        nominal = nominal_pass(layers, parameters, inputs, labels, shifts)
        return jnp.sum(nominal.costs), nominal

    shapes = jax.eval_shape(partial(nominal_pass, layers), parameters, inputs, labels).z
    zero = {f"{name}/z": jnp.zeros(z.shape, z.dtype) for name, z in shapes.items()}
    of_sum, nominal = jax.grad(cost, (0, 1), has_aux=True)(parameters, zero)
    gradient = {name: value / len(labels) for name, value in of_sum[0].items()}
    return Exact(nominal, gradient, {layer.name: of_sum[1][f"{layer.name}/z"] for layer in layers})


def angle_law(method: Method, d: int, seed: int, probes: int) -> AngleTime:
    """The law at the initial weights of a seed: exact for weights, from probes for nodes."""
    batch = first_batch(fashion_mnist())
    parameters = initial_weights(d, jax.random.key(seed))
    exact = exactly(d, parameters, *batch)
    if method == "weight":
        return weight_angle_time(exact.gradient, DEGREES)
    g, squared = _node_probes(d, probes, jax.random.key(seed), parameters, exact)
    squared, g = np.asarray(squared, float), np.asarray(g, float)
    errors = squared.std(axis=0, ddof=1) / math.sqrt(probes)
    return angle_time(g, squared.mean(axis=0) - g, DEGREES, errors)


@partial(jax.jit, static_argnums=(0, 1))
def _node_probes(
    d: int, probes: int, key: Key[Array, ""], parameters: Parameters, exact: Exact
) -> tuple[Float[Array, " L"], Float[Array, "probes L"]]:
    """`|g_l|²`, and `|G_l|²` of estimates from the exact node errors, `C_b − C0_b = s · e_b`.

    As the signs are the same for all examples, an estimate is a gradient of one example only.
    """
    layers = examples_last(network_of(d))

    def squared(key: Key[Array, ""]) -> Float[Array, " L"]:
        signs = {n: s[0] for n, s in draw_signs(key, "node", layers, parameters).items()}
        changes = {
            name: jnp.sum((s * exact.errors[name]).reshape(-1, BATCH), axis=0)
            for name, s in signs.items()
        }
        return _squares(layers, node_estimate(layers, exact.nominal.x, changes, signs))

    return _squares(layers, exact.gradient), jax.lax.map(squared, jax.random.split(key, probes))


def _squares(layers: tuple[Layer, ...], gradient: Parameters) -> Float[Array, " L"]:
    parts = [[gradient[f"{layer.name}/{n}"] for n in ("weight", "bias")] for layer in layers]
    return jnp.stack([sum(jnp.sum(part**2) for part in layer) for layer in parts])


def kept_iterations(
    method: Method,
    d: int,
    seed: int,
    limit: float,
    folder: Path | None,
    tell: Callable[[str], None],
) -> float:
    """`simulated_iterations`, read from the folder where they are kept there, else kept there."""
    file = None if folder is None else folder / "angles" / f"{method}-d{d}-seed{seed}.json"
    if file is not None and file.is_file():
        kept = json.loads(file.read_text())
        # one that was given up earlier than now is not known
        if kept["iterations"] is not None or kept["limit"] >= limit:
            return math.inf if kept["iterations"] is None else float(kept["iterations"])
    found = simulated_iterations(method, d, seed, limit, tell)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        iterations = None if math.isinf(found) else found
        write_atomically(file, json.dumps({"iterations": iterations, "limit": limit}).encode())
    return found


def simulated_iterations(
    method: Method, d: int, seed: int, limit: float, tell: Callable[[str], None]
) -> float:
    """Iterations until the angle is under 15°, from measured costs; infinite beyond a limit.

    The unperturbed pass is made once for all iterations, and only what is behind a perturbed layer
    is computed again, for ten perturbations together.
    """
    inputs, labels = first_batch(fashion_mnist())
    start_key = jax.random.key(seed)
    key, parameters = jax.random.fold_in(start_key, 1), initial_weights(d, start_key)
    exact = exactly(d, parameters, inputs, labels)
    summed = jax.tree.map(jnp.zeros_like, parameters)
    for part in range(math.ceil(limit / AT_ONCE)):
        summed, cosines = _accumulate(
            method, d, jax.random.fold_in(key, part), parameters, summed, exact, labels
        )
        cosines = np.asarray(cosines)
        within = cosines > math.cos(math.radians(DEGREES))
        angle = math.degrees(math.acos(min(cosines[-1], 1.0)))
        tell(f"{method}, d = {d}, seed {seed}: {angle:.0f}° after {(part + 1) * AT_ONCE}")
        if within.any():
            return float(part * AT_ONCE + np.argmax(within) + 1)
    return math.inf


@partial(jax.jit, static_argnums=(0, 1))
def _accumulate(
    method: Method,
    d: int,
    key: Key[Array, ""],
    parameters: Parameters,
    summed: Parameters,
    exact: Exact,
    labels: Array,
) -> tuple[Parameters, Float[Array, " K"]]:
    """Ten more estimates, and the cosine between their sum and the gradient after each of them."""
    layers = examples_last(network_of(d))
    signs = draw_signs(key, method, layers, parameters, AT_ONCE)
    deltas = {n: AMPLITUDE / math.sqrt(N) for n, N in sizes(method, layers, parameters).items()}
    changes = measure_changes(layers, parameters, exact.nominal, labels, signs, deltas)

    def add(summed: Parameters, one: Any) -> tuple[Parameters, Float[Array, ""]]:
        changes, signs = one
        if method == "weight":
            G = weight_estimate(layers, parameters, changes, signs)
        else:
            G = node_estimate(layers, exact.nominal.x, changes, signs)
        summed = {n: value + G[n] / deltas[n.rpartition("/")[0]] for n, value in summed.items()}
        return summed, _cosine(summed, exact.gradient)

    return jax.lax.scan(add, summed, (changes, signs))


def _cosine(a: Parameters, b: Parameters) -> Float[Array, ""]:
    def dot(a: Parameters, b: Parameters) -> Float[Array, ""]:
        return jnp.stack([jnp.vdot(a[name], b[name]) for name in b]).sum()

    return dot(a, b) / jnp.sqrt(dot(a, a) * dot(b, b))


def angles(scale: Scale, observe: Observe) -> Made:
    """Iterations, and measurements, until the estimate is within 15° of the gradient."""
    rows: list[Row] = []
    work = {(m, d): d**2 * (1 + dict(scale.angle_simulated).get(d, 0) * 20)
            for m in METHODS for d in scale.angle_sizes}  # fmt: skip
    done, total = 0, sum(work.values())
    for method in METHODS:
        for d in scale.angle_sizes:
            observe(f"{method} perturbation, d = {d}", done / total)
            probes = scale.probes
            law = float(np.mean([
                angle_law(method, d, seed, probes).iterations for seed in range(scale.angle_laws)
            ]))  # fmt: skip
            seeds, found = dict(scale.angle_simulated).get(d, 0), []
            for seed in range(seeds):
                share = (done + work[method, d] * seed / seeds) / total
                tell = partial(_tell, observe, share)
                found.append(kept_iterations(method, d, seed, LIMIT * law, scale.folder, tell))
            done += work[method, d]
            rows += _rows(method, d, law, np.array(found))
    return Made(rows, _draw(rows, scale))


def _rows(method: Method, d: int, law: float, found: np.ndarray) -> list[Row]:
    quantity = f"to a gradient angle of {DEGREES:.0f} degrees"
    known = published("3", method, d, f"iterations {quantity}")
    each = MEASURED * len(network_of(d).layers)
    return [
        row_of("3", method, {"d": d, "parameters": parameters_of(d)}, f"{unit} {quantity}", unit,
               None if len(found) == 0 else mean(factor * found), len(found), law=factor * law,
               published=None if known is None else factor * known.mean,
               published_sd=None if known is None else factor * known.sd)
        for unit, factor in (("iterations", 1), ("measurements", each))
    ]  # fmt: skip


def _tell(observe: Observe, share: float, what: str) -> None:
    observe(what, share)


def parameters_of(d: int) -> int:
    """P, the parameters of the network of a size."""
    shapes = jax.eval_shape(network_of(d).init, jax.random.key(0))
    return sum(math.prod(shape.shape) for shape in shapes.values())


def _draw(rows: list[Row], scale: Scale) -> Any:
    with picture(5.2, 3.8) as figure:
        axes = figure.subplots()
        for method, colour, marker in zip(METHODS, PALETTE, "os"):
            mine = [r for r in rows if r.method == method and r.unit == "iterations"]
            points(axes, "d", [r for r in mine if r.measured is not None], colour, marker,
                   f"{method}, simulated")  # fmt: skip
            from_paper(axes, "d", mine, colour, marker, f"{method}, published", aside=1.08)
            axes.plot([r.point["d"] for r in mine], laws(mine), "--", color=colour, linewidth=1,
                      label=f"{method}, law", zorder=3)  # fmt: skip
        axes.set(xscale="log", yscale="log", xlabel="size d of the network",
                 ylabel=f"iterations to {DEGREES:.0f}°")  # fmt: skip
        axes.set_xticks(scale.angle_sizes, [str(d) for d in scale.angle_sizes])
        axes.minorticks_off()
        each = MEASURED * len(network_of(1).layers)
        axes.set_title(f"one iteration is {each} measurements", loc="right", fontsize="small")
        axes.legend(loc="upper left")
    return figure
