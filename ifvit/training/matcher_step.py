"""Module 2's update and validation, as pure functions of the state and a batch of laid pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ifvit import losses, metrics
from ifvit.comparison.module2_inputs import Box, branch_inputs, cut, local_sides
from ifvit.config import Config
from ifvit.data.aligned_pairs import AlignedBatch
from ifvit.data.batches import Renewal
from ifvit.data.warped_pairs import TrainingPairs, Truth, truth_of
from ifvit.geometry import inside, mask_at
from ifvit.models.matcher import MatcherModel, MatcherOutput
from ifvit.training.dense_step import TrainStep, loss_parts, make_update
from ifvit.training.state import TrainState

CLASSES = "classes"  # ArcFace's directions among the parameters: of each branch (C, D)
CLASS_STREAM = 8  # of random numbers under the run's seed
BRANCHES = ("global", "local")


class PairCounts(NamedTuple):
    """What the parts of a batch must know of it: labelled cells and lone cell pairs by branch, (2,), its pairs ()."""

    labelled: jax.Array
    lone: jax.Array
    pairs: jax.Array


class BatchScores(NamedTuple):
    """One batch, judged: the cosines of both branches (B,), which pairs are genuine, per-sample sums (`metrics`)."""

    cos_global: jax.Array
    cos_local: jax.Array
    genuine: jax.Array
    totals: metrics.Totals


def new_classes(seed: int, count: int, vector: int) -> dict[str, jax.Array]:
    """ArcFace's directions of `count` classes, before any training."""
    key = jax.random.fold_in(jax.random.key(seed), CLASS_STREAM)
    return {
        name: jax.random.normal(jax.random.fold_in(key, k), (count, vector)) * vector**-0.5
        for k, name in enumerate(BRANCHES)
    }


def renewed(classes: dict[str, jax.Array], renewal: Renewal, seed: int, step: jax.Array) -> dict[str, jax.Array]:
    """The classes before update `step`: those whose finger is another now begin anew."""
    places = renewal.first + ((step - 1) * renewal.each + jnp.arange(renewal.each)) % renewal.count
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), CLASS_STREAM), 2 + step)
    fresh = {}
    for k, (name, held) in enumerate(sorted(classes.items())):
        rows = jax.random.normal(jax.random.fold_in(key, k), (renewal.each, held.shape[1])) * held.shape[1] ** -0.5
        fresh[name] = jnp.where(step > 0, held.at[places].set(rows), held)
    return fresh


def branch_truths(laid: AlignedBatch, box: Box, stride: int) -> tuple[Truth, Truth]:
    """What is known of the cells that the global and the local branch see."""
    pairs = laid.pairs
    overlap = pairs.ridges_a & pairs.ridges_b
    at_b = jax.vmap(mask_at)(overlap, pairs.map_ab)
    at_a = jax.vmap(mask_at)(overlap, pairs.map_ba)
    of_global = pairs._replace(
        ridges_a=overlap, ridges_b=overlap, valid_ab=pairs.valid_ab & overlap & at_b,
        valid_ba=pairs.valid_ba & overlap & at_a,
    )  # fmt: skip
    return truth_of(of_global, stride), truth_of(_cropped(pairs, box, stride), stride)


def _cropped(pairs: TrainingPairs, box: Box, stride: int) -> TrainingPairs:
    """The pairs' maps and masks within the box, padded to multiples of the stride; the images are not looked at."""
    sides = local_sides(pairs.image_b.shape[1:])
    pad = [(0, 0), *((0, -side % stride) for side in sides)]
    corner = jnp.stack([box.left, box.top], axis=-1)[:, None, None]

    def mask(values: jax.Array) -> jax.Array:
        return jnp.pad(cut(values, box), pad)

    maps = [cut(values, box) - corner for values in (pairs.map_ab, pairs.map_ba)]
    valid = [
        jnp.pad(cut(values, box) & inside(places, *sides), pad)
        for values, places in ((pairs.valid_ab, maps[0]), (pairs.valid_ba, maps[1]))
    ]
    map_ab, map_ba = (jnp.pad(places, [*pad, (0, 0)], mode="edge") for places in maps)
    return TrainingPairs(
        mask(pairs.image_a), mask(pairs.image_b), map_ab, map_ba, mask(pairs.ridges_a), mask(pairs.ridges_b), *valid,
        pairs.genuine,
    )  # fmt: skip


def make_matcher_step(
    model: MatcherModel, optimizer: optax.GradientTransformation, config: Config, renewal: Renewal | None
) -> TrainStep:
    """The update of Module 2: (state, laid pairs) -> (state, metrics of () arrays)."""
    stride, matcher = model.branch.stride, config.loss.matcher

    def loss_of(params: Any, batch_stats: Any, laid: AlignedBatch, whole: PairCounts):
        """The share that these pairs have in the loss of the whole batch."""
        *inputs, box = branch_inputs(laid.laid, stride)
        own = {name: params[name] for name in model.names}
        variables = {"params": own, "batch_stats": batch_stats}
        output, updated = model.apply(variables, *inputs, train=True, mutable=["batch_stats"])
        said = dict.fromkeys(("positive", "negative", "exact", "embedding", "arc", "labelled"), 0.0)
        for k, (name, branch, truth) in enumerate(zip(BRANCHES, output, branch_truths(laid, box, stride), strict=True)):
            terms = loss_parts(branch.log_p, truth, config.loss)
            right = (jnp.argmax(branch.log_p, -1) == truth.labels).sum()
            parts = {
                "positive": terms.positive.total.sum() / whole.labelled[k],
                "negative": terms.negative.total.sum() / whole.lone[k],
                "exact": right / whole.labelled[k],
                "labelled": losses.positive_count(truth.labels).sum(),
                "embedding": losses.embedding(branch.cosine, laid.pairs.genuine, matcher.embedding_margin).total.sum()
                / whole.pairs,
                "arc": arc_term(branch, params[CLASSES][name], laid) / (2 * whole.pairs),
            }
            said = {key: said[key] + parts[key] / 2 for key in said}
        registration = said["positive"] + config.loss.negative_weight * said["negative"]
        loss = (
            matcher.dense_weight * registration
            + matcher.embedding_weight * said["embedding"]
            + matcher.arc_weight * said["arc"]
        )
        return loss, (updated["batch_stats"], said | {"loss": loss})

    def arc_term(branch: Any, classes: jax.Array, laid: AlignedBatch) -> jax.Array:
        vectors = jnp.concatenate([branch.vector_a, branch.vector_b])
        labels = jnp.concatenate([laid.label_a, laid.label_b])
        return losses.arcface(vectors, classes, labels, scale=matcher.arc_scale, margin=matcher.arc_margin).total.sum()

    def whole_batch(_: jax.Array, laid: AlignedBatch) -> PairCounts:
        *_, box = branch_inputs(laid.laid, stride)
        truths = branch_truths(laid, box, stride)
        labelled = [losses.positive_count(truth.labels).sum() for truth in truths]
        lone = [losses.negative_count(truth.lone_a, truth.lone_b).sum() for truth in truths]
        at_least_one = (jnp.maximum(jnp.stack(values), 1) for values in (labelled, lone))
        return PairCounts(*at_least_one, jnp.float32(len(laid.label_a)))

    update = make_update(loss_of, whole_batch, optimizer, config)
    if renewal is None:
        return update

    def step(state: TrainState, laid: AlignedBatch):
        classes = renewed(state.params[CLASSES], renewal, config.seed, state.step)
        return update(state.replace(params={**state.params, CLASSES: classes}), laid)

    return step


def make_matcher_eval(model: MatcherModel, config: Config) -> Callable[[TrainState, AlignedBatch], BatchScores]:
    """Validation of a batch."""
    stride = model.branch.stride

    def evaluate(state: TrainState, laid: AlignedBatch) -> BatchScores:
        *inputs, box = branch_inputs(laid.laid, stride)
        variables = {
            "params": {name: state.params[name] for name in model.names}, "batch_stats": state.batch_stats
        }  # fmt: skip
        output: MatcherOutput = model.apply(variables, *inputs, train=False)
        totals = {}
        for name, branch, truth, seen in zip(BRANCHES, output, branch_truths(laid, box, stride), inputs, strict=True):
            grid = seen.cells.shape[1:]
            cells = metrics.dense(branch.log_p, truth.labels, truth.points, grid, stride)
            terms = loss_parts(branch.log_p, truth, config.loss)
            totals |= {f"{name}_{key}": cells[key] for key in ("exact", "within_one")}
            totals |= {f"{name}_positive": tuple(terms.positive), f"{name}_negative": tuple(terms.negative)}
            loss = losses.embedding(branch.cosine, laid.pairs.genuine, config.loss.matcher.embedding_margin)
            totals[f"{name}_embedding"] = tuple(loss)
        return BatchScores(output.of_global.cosine, output.of_local.cosine, laid.pairs.genuine, totals)

    return evaluate
