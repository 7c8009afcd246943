"""The losses, per sample: registration L_D, LoFTR's fine stage, and Module 2's vectors. Pure JAX, in log space.

Every function returns sums and counts of shape (B,), which the caller reduces. So a sample without positives (an
impostor pair) causes no division by zero and has no weight in the mean.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

SMALLEST = 1e-6  # the smallest 1 - P in log(1 - P): LoFTR's bound
SMALLEST_SPREAD = 1e-10  # LoFTR's bound in 1 / spread


class Sum(NamedTuple):
    """A total per sample, and the number of its terms."""

    total: jax.Array  # (B,)
    count: jax.Array  # type: ignore[assignment]  # (B,); takes the place of tuple's method

    def mean(self) -> jax.Array:
        """The mean over all terms of all samples, (); 0 when there are none."""
        return self.total.sum() / jnp.maximum(self.count.sum(), 1)


def positive_count(labels: jax.Array) -> jax.Array:
    """The number of terms that `positive` sums, (B,) float32. labels: (B, Na)."""
    return (labels >= 0).sum(-1).astype(jnp.float32)


def negative_count(lone_a: jax.Array, lone_b: jax.Array) -> jax.Array:
    """The number of terms that `negative` sums, (B,) float32. lone_a, lone_b: (B, Na) and (B, Nb) bool."""
    return (lone_a[:, :, None] | lone_b[:, None, :]).sum((-2, -1)).astype(jnp.float32)


def positive(log_p: jax.Array, labels: jax.Array, *, alpha: float = 1.0, gamma: float = 0.0) -> Sum:
    """-log P(i, j) summed over the true cell pairs.

    With alpha and gamma it is LoFTR's focal form, -alpha (1-P)^gamma log P.

    Args:
        log_p: (B, Na, Nb), log of the dual softmax.
        labels: (B, Na) int, the true cell j of each cell i, -1 where there is none.
    """
    labelled = labels >= 0
    log_true = jnp.take_along_axis(log_p, jnp.maximum(labels, 0)[..., None], axis=-1)[..., 0]  # (B, Na)
    log_true = jnp.where(labelled, log_true, 0.0)
    weight = alpha * (1 - jnp.exp(log_true)) ** gamma if gamma else alpha
    return Sum((-weight * log_true * labelled).sum(-1), positive_count(labels))


def negative(log_p: jax.Array, lone_a: jax.Array, lone_b: jax.Array, *, alpha: float = 1.0, gamma: float = 0.0) -> Sum:
    """-log(1 - P(i, j)) summed over all cell pairs with a lone cell (LoFTR's dense negative).

    With alpha and gamma it is LoFTR's focal form, -alpha P^gamma log(1 - P).

    Args:
        log_p: (B, Na, Nb), log of the dual softmax.
        lone_a, lone_b: (B, Na) and (B, Nb) bool, the lone cells: visible ridge cells without a partner. In an
            impostor pair these are all ridge cells, in a genuine pair those that the other print does not show.
    """
    pairs = lone_a[:, :, None] | lone_b[:, None, :]  # (B, Na, Nb)
    # Scaled, not clamped: a clamp has no gradient beyond its bound, where the error is largest.
    p = (1 - SMALLEST) * jnp.exp(log_p)
    weight = alpha * p**gamma if gamma else alpha
    values = jnp.where(pairs, -weight * jnp.log1p(-p), 0.0)
    return Sum(values.sum((-2, -1)), negative_count(lone_a, lone_b))


def fine(offset: jax.Array, spread: jax.Array, target: jax.Array, has_target: jax.Array) -> Sum:
    """LoFTR's fine loss: the squared error of the expected offset, weighted by the certainty of the heatmap.

    Only matches whose true place lies inside the window count. The weight is 1/spread over its mean in the sample. It
    is not differentiated: otherwise the network would reduce the loss by widening its heatmaps.

    Args:
        offset, target: (B, M, 2), the expected and the true place as a share of the window's reach.
        spread: (B, M), the heatmap's standard deviation.
        has_target: (B, M) bool, the matches whose true place is known.
    """
    inside = has_target & (jnp.abs(target) < 1).all(-1)
    count = inside.sum(-1).astype(jnp.float32)
    certainty = jnp.where(inside, 1 / jnp.maximum(spread, SMALLEST_SPREAD), 0.0)
    mean = certainty.sum(-1, keepdims=True) / jnp.maximum(count, 1)[:, None]
    weight = jax.lax.stop_gradient(certainty / jnp.where(mean > 0, mean, 1.0))
    # Two `where`s: a target of nan must not reach the gradient through the unused branch.
    error = jnp.where(inside[..., None], offset - jnp.where(inside[..., None], target, 0.0), 0.0)
    return Sum((weight * (error**2).sum(-1)).sum(-1), count)


def embedding(cosine: jax.Array, genuine: jax.Array, margin: float) -> Sum:
    """The cosine embedding loss L_E of each pair: 1 - cos if genuine, max(0, cos - margin) if impostor.

    Args:
        cosine: (B,) in [-1, 1].
        genuine: (B,) bool.
        margin: the cosine up to which an impostor pair costs nothing.
    """
    total = jnp.where(genuine, 1 - cosine, jnp.maximum(cosine - margin, 0.0))
    return Sum(total, jnp.ones_like(total))


def arcface(vectors: jax.Array, classes: jax.Array, labels: jax.Array, *, scale: float, margin: float) -> Sum:
    """The additive angular margin loss L_A: softmax over classes, with `margin` added to the true class's angle.

    The cosine of angle + margin rises again beyond pi, where a worse vector would cost less. There the cosine is
    lowered by margin * sin(margin) instead, as in the authors' code. Source: Deng et al. 2019 (ArcFace).

    Args:
        vectors: (B, D) of length 1.
        classes: (C, D), the direction of each class, of any length.
        labels: (B,) int in [0, C); another label gives nan, which stops a run, and not the loss of another class.
        scale: of the logits.
        margin: rad.
    """
    directions = classes * jax.lax.rsqrt(jnp.sum(classes**2, axis=-1, keepdims=True) + SMALLEST)
    cosine = vectors @ directions.T  # (B, C)
    count = len(classes)
    in_range = (labels >= 0) & (labels < count)
    true = jnp.take_along_axis(cosine, jnp.clip(labels, 0, count - 1)[:, None], axis=-1)
    # Bounded inside the root, whose slope is infinite at 0.
    sine = jnp.sqrt(jnp.maximum(1 - true**2, SMALLEST))
    widened = true * jnp.cos(margin) - sine * jnp.sin(margin)
    widened = jnp.where(true > jnp.cos(jnp.pi - margin), widened, true - margin * jnp.sin(margin))
    is_true = jnp.arange(count) == labels[:, None]
    logits = scale * jnp.where(is_true, widened, cosine)
    total = jax.nn.logsumexp(logits, axis=-1) - scale * widened[:, 0]
    return Sum(jnp.where(in_range, total, jnp.nan), jnp.ones_like(total))
