"""Layer inputs and node errors of a network by automatic differentiation, for the tests."""

import jax
import jax.numpy as jnp
import numpy as np


def inputs_and_errors(network, parameters, task):
    """By layer and for every training sample: the input x_b, and e_b = ∂C_b/∂z_b."""
    seen = {}

    def costs(shifts):
        def tap(site, value):
            seen[site] = value
            return value + shifts.get(site, 0.0)

        return jnp.sum(task.cost(network(parameters, task.inputs, tap), task.targets))

    samples = len(task.inputs)
    shifts = {
        f"{layer.name}/z": jnp.zeros((samples, *layer.nodes), jnp.result_type(float))
        for layer in network.layers
    }
    costs({})
    x = {layer.name: np.asarray(seen[f"{layer.name}/x"]) for layer in network.layers}
    e = jax.grad(costs)(shifts)
    return x, {layer.name: np.asarray(e[f"{layer.name}/z"]) for layer in network.layers}


def dense_spread(x, e, per_example=False):
    """E|G|² for one estimate, all dense layers perturbed at once, noise left out.

    With u_b = s · e_b over all N nodes, `G_l = mean_b u_b s_l x_bᵀ`. Signs shared by the batch give
    `E|G_l|² = q_l Σ_m |mean_b e_bm x_blᵀ|²` over all layers m; signs for each example add up the
    examples' own, and leave the mean once for the pairs of different examples.
    """
    samples = len(next(iter(x.values())))
    total = 0.0
    for name, inputs in x.items():
        X = np.concatenate([inputs, np.ones((samples, 1))], axis=1)
        q = e[name].shape[1]
        if per_example:
            lengths = (X**2).sum(axis=1)
            every = sum((errors**2).sum(axis=1) for errors in e.values())
            own = (e[name] ** 2).sum(axis=1)
            mean = X.T @ e[name] / samples
            total += (mean**2).sum() + (lengths * (q * every - own)).sum() / samples**2
        else:
            total += q * sum(((X.T @ errors / samples) ** 2).sum() for errors in e.values())
    return total


def dense_noise(x, e):
    """What cost noise of one sigma on every sample's read adds to E|G|², over (sigma/δ)²."""
    samples = len(next(iter(x.values())))
    lengths = {name: (inputs**2).sum() + samples for name, inputs in x.items()}
    return 2 * sum(e[name].shape[1] * lengths[name] for name in x) / samples**2
