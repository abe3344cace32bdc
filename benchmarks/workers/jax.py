"""JAX on the CPU: diffrax's Euler under jit, and lax.scan by hand; Adam in JAX, inside the same jitted step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.task import BODY, WEIGHTS, Arrays
from benchmarks.workers import ADAM, Built, Setup

Params = dict[str, jax.Array]
Solve = Callable[[Params, jax.Array], jax.Array]  # layers' weights, x_0 -> x_0..x_N, (N+1, B, D)


def field(layer: Any, x: jax.Array) -> jax.Array:
    """F(x) of one layer."""
    inner, inner_bias, outer, outer_bias = layer
    return jnp.tanh(x @ inner.T + inner_bias) @ outer.T + outer_bias


def _built(setup: Setup, solve: Solve) -> Built:
    """A variant from the way in which it solves: J, its gradient and Adam, all in one jitted function."""
    task = setup.task
    x, y = jnp.asarray(setup.arrays["x"]), jnp.asarray(setup.arrays["y"])
    off = task.eps / (task.classes - 1)
    target = off + (1 - task.eps - off) * jax.nn.one_hot(y, task.classes)

    def objective(params: Params) -> jax.Array:
        states = solve(params, x)
        logits = jax.nn.log_softmax(states @ params["head.weight"].T + params["head.bias"])
        return -(target * logits).sum() / len(y)

    value_and_grad = jax.value_and_grad(objective)

    def update(params: Params, first: Params, second: Params, count: jax.Array) -> Any:
        _, gradient = value_and_grad(params)
        (beta1, beta2), count = ADAM["betas"], count + 1  # type: ignore[misc]
        first = jax.tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, first, gradient)
        second = jax.tree.map(lambda v, g: beta2 * v + (1 - beta2) * g * g, second, gradient)
        size, root = ADAM["lr"] / (1 - beta1**count), jnp.sqrt(1 - beta2**count)
        params = jax.tree.map(lambda p, m, v: p - size * m / (jnp.sqrt(v) / root + ADAM["eps"]), params, first, second)
        return params, first, second, count

    jitted = jax.jit(update, donate_argnums=(0, 1, 2, 3))
    params = {name: jnp.array(setup.arrays[name]) for name in WEIGHTS if name in setup.arrays}
    zeros = jax.tree.map(jnp.zeros_like, params)
    state = (params, zeros, jax.tree.map(jnp.zeros_like, params), jnp.zeros(()))

    def loss_and_gradient() -> tuple[float, Arrays]:
        value, gradient = jax.jit(value_and_grad)(state[0])
        return float(value), {name: np.asarray(g) for name, g in gradient.items()}

    def step() -> None:
        nonlocal state
        state = jitted(*state)
        jax.block_until_ready(state)

    return Built(loss_and_gradient, step)


def _diffrax(setup: Setup, adjoint: Any, every_step: bool) -> Built:
    n = setup.task.depth

    def solve(params: Params, x: jax.Array) -> jax.Array:
        def at(t: Any, x: jax.Array, layers: Any) -> jax.Array:
            k = jnp.round(t).astype(int)
            return field(tuple(w[k] for w in layers), x)

        saved = diffrax.SaveAt(t0=True, steps=True) if every_step else diffrax.SaveAt(ts=jnp.arange(n + 1.0))
        return diffrax.diffeqsolve(
            diffrax.ODETerm(at), diffrax.Euler(), 0.0, float(n), 1.0, x, tuple(params[name] for name in BODY),
            saveat=saved, adjoint=adjoint, max_steps=n,
        ).ys  # fmt: skip

    return _built(setup, solve)


def diffrax_plain(setup: Setup) -> Built:
    """diffrax as it comes: recursive checkpointing, states at t = 0..T interpolated."""
    return _diffrax(setup, diffrax.RecursiveCheckpointAdjoint(), every_step=False)


def diffrax_best(setup: Setup) -> Built:
    """Every step kept instead of interpolated, and a checkpoint for every step, so that nothing is computed twice."""
    return _diffrax(setup, diffrax.RecursiveCheckpointAdjoint(checkpoints=setup.task.depth), every_step=True)


def _scan(setup: Setup, unroll: int) -> Built:
    def solve(params: Params, x: jax.Array) -> jax.Array:
        def advance(x: jax.Array, layer: Any) -> tuple[jax.Array, jax.Array]:
            return (after := x + field(layer, x)), after

        _, states = jax.lax.scan(advance, x, tuple(params[name] for name in BODY), unroll=unroll)
        return jnp.concatenate([x[None], states])

    return _built(setup, solve)


def scan(setup: Setup) -> Built:
    """lax.scan over the stacked layers, by hand."""
    return _scan(setup, 1)


def scan_unrolled(setup: Setup) -> Built:
    """The same, unrolled completely: XLA sees all layers at once."""
    return _scan(setup, setup.task.depth)


VARIANTS = {"diffrax plain": diffrax_plain, "diffrax best": diffrax_best, "scan": scan, "scan unrolled": scan_unrolled}
