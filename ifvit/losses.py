"""The registration loss L_D and the fine stage's, and Module 2's of its vectors, per sample. Pure JAX, in log space.

Every function returns sums and counts of shape (B,): the caller reduces, so that a sample without positives (a pair of
different fingers) neither divides by zero nor weighs as an average of nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

SMALLEST = 1e-6  # how near to 1 P may come in log(1 - P): LoFTR's bound
SMALLEST_SPREAD = 1e-10  # LoFTR's bound in 1 / spread


class Sum(NamedTuple):
    """A total and the number of things summed, both (B,)."""

    total: jax.Array
    count: jax.Array

    def mean(self) -> jax.Array:
        """The mean over all things of all samples, (); 0 when there are none."""
        return self.total.sum() / jnp.maximum(self.count.sum(), 1)


def positive_count(labels: jax.Array) -> jax.Array:
    """How many terms `positive` sums, (B,)."""
    return (labels >= 0).sum(-1).astype(jnp.float32)


def negative_count(lone_a: jax.Array, lone_b: jax.Array) -> jax.Array:
    """How many terms `negative` sums, (B,)."""
    return (lone_a[:, :, None] | lone_b[:, None, :]).sum((-2, -1)).astype(jnp.float32)


def positive(log_p: jax.Array, labels: jax.Array, *, alpha: float = 1.0, gamma: float = 0.0) -> Sum:
    """-log P(i, j) over the ground-truth cells; with alpha and gamma LoFTR's focal form -alpha (1-P)^gamma log P.

    Args:
        log_p: (B, Na, Nb) log of the dual softmax.
        labels: (B, Na) int, the true cell j of each cell i, -1 where there is none.
    """
    held = labels >= 0
    chosen = jnp.take_along_axis(log_p, jnp.maximum(labels, 0)[..., None], axis=-1)[..., 0]  # (B, Na)
    chosen = jnp.where(held, chosen, 0.0)
    weight = alpha * (1 - jnp.exp(chosen)) ** gamma if gamma else alpha
    return Sum((-weight * chosen * held).sum(-1), positive_count(labels))


def negative(log_p: jax.Array, lone_a: jax.Array, lone_b: jax.Array, *, alpha: float = 1.0, gamma: float = 0.0) -> Sum:
    """-log(1 - P(i, j)) over all cell pairs of which one side is known to have no partner (LoFTR's dense negative).

    Args:
        log_p: (B, Na, Nb).
        lone_a, lone_b: (B, Na) and (B, Nb) bool, the visible ridge cells without a partner: every ridge cell of a
            pair of different fingers, and of the same finger those that the other print does not show.
    """
    pairs = lone_a[:, :, None] | lone_b[:, None, :]  # (B, Na, Nb)
    # Bounded without a clamp, whose flat ends would give no gradient where the error is largest.
    p = (1 - SMALLEST) * jnp.exp(log_p)
    weight = alpha * p**gamma if gamma else alpha
    values = jnp.where(pairs, -weight * jnp.log1p(-p), 0.0)
    return Sum(values.sum((-2, -1)), negative_count(lone_a, lone_b))


def fine(offset: jax.Array, spread: jax.Array, target: jax.Array, held: jax.Array) -> Sum:
    """LoFTR's fine loss: the squared error of the expected offset, weighted by how sure the heatmap is.

    Only matches whose truth lies inside the window count. The weight, 1/spread over its mean in the sample, is not
    differentiated: else the network would spread its heatmaps to weigh less.

    Args:
        offset, target: (B, M, 2), the expected and the true place as a share of the window's reach.
        spread: (B, M), the heatmap's standard deviation.
        held: (B, M) bool, the matches that have a truth.
    """
    inside = held & (jnp.abs(target) < 1).all(-1)
    count = inside.sum(-1).astype(jnp.float32)
    sure = jnp.where(inside, 1 / jnp.maximum(spread, SMALLEST_SPREAD), 0.0)
    mean = sure.sum(-1, keepdims=True) / jnp.maximum(count, 1)[:, None]
    weight = jax.lax.stop_gradient(sure / jnp.where(mean > 0, mean, 1.0))
    # Twice `where`: a target that is no number must not reach the gradient through the unused branch.
    missed = jnp.where(inside[..., None], offset - jnp.where(inside[..., None], target, 0.0), 0.0)
    return Sum((weight * (missed**2).sum(-1)).sum(-1), count)


def embedding(cosine: jax.Array, genuine: jax.Array, margin: float) -> Sum:
    """The cosine embedding loss L_E of each pair: 1 - cos of mates, max(0, cos - margin) of others.

    Args:
        cosine: (B,). genuine: (B,) bool.
    """
    total = jnp.where(genuine, 1 - cosine, jnp.maximum(cosine - margin, 0.0))
    return Sum(total, jnp.ones_like(total))


def arcface(vectors: jax.Array, classes: jax.Array, labels: jax.Array, *, scale: float, margin: float) -> Sum:
    """The additive angular margin loss L_A: softmax over classes, the true one's angle widened by `margin`.

    Where angle + margin would pass pi, beyond which its cosine rises again and a worse vector would cost less, the
    cosine is lowered by margin * sin(margin) instead, as the authors' code does. Source: Deng et al. 2019 (ArcFace).

    Args:
        vectors: (B, D) of length 1. classes: (C, D), of any length: a direction for each class.
        labels: (B,) int in [0, C); a label beyond gives nan, which stops a run, rather than another class's loss.
        scale: of the logits. margin: rad.
    """
    directions = classes * jax.lax.rsqrt(jnp.sum(classes**2, axis=-1, keepdims=True) + SMALLEST)
    cosine = vectors @ directions.T  # (B, C)
    count = len(classes)
    known = (labels >= 0) & (labels < count)
    true = jnp.take_along_axis(cosine, jnp.clip(labels, 0, count - 1)[:, None], axis=-1)
    # Bounded inside the root, whose slope is infinite at 0.
    sine = jnp.sqrt(jnp.maximum(1 - true**2, SMALLEST))
    widened = true * jnp.cos(margin) - sine * jnp.sin(margin)
    widened = jnp.where(true > jnp.cos(jnp.pi - margin), widened, true - margin * jnp.sin(margin))
    is_true = jnp.arange(count) == labels[:, None]
    logits = scale * jnp.where(is_true, widened, cosine)
    total = jax.nn.logsumexp(logits, axis=-1) - scale * widened[:, 0]
    return Sum(jnp.where(known, total, jnp.nan), jnp.ones_like(total))
