"""A trained Module 2 as its run directory holds it, with its Module 1: pairs of prints in, scores with reasons out."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ifvit.calibration import Calibration, from_tree
from ifvit.checkpoint import MODULE_1, CheckpointError, digest_of, read_json, read_variables
from ifvit.config import ConfigError, MatcherConfig, Stage, matcher_of
from ifvit.image import Scan
from ifvit.models.matcher import MatcherModel
from ifvit.models.matching import extract_matches
from ifvit.recognition.alignment import Matches
from ifvit.recognition.enhancement import Enhancer
from ifvit.recognition.inputs import LaidPair, branch_inputs
from ifvit.recognition.prints import MatcherPrint, matcher_print
from ifvit.recognition.registration import Registered, lay
from ifvit.recognition.trained import Trained, load_dense

CALIBRATION = "calibration.json"


class Scored(NamedTuple):
    """A compared pair. score, of_global, of_local: fused and single cosines, nan where the pair was not registered.

    registered: A on B. matches: Module 2's own, px of A's and of B's frame: which place of A its global branch finds in
    which of B. enhanced_a: uint8 (H, W), A's ridges as they are laid on B's, None where it was not registered.
    """

    registered: Registered
    score: float
    of_global: float
    of_local: float
    matches: Matches
    enhanced_a: np.ndarray | None


class _Judged(NamedTuple):
    """What the device says of B laid pairs: cosines (B,), cells (B, M, 2) and confidence (B, M) of matches."""

    of_global: jax.Array
    of_local: jax.Array
    cells: jax.Array
    confidence: jax.Array


class Comparer:
    """Compares prints with a trained Module 2; made by `load_comparer`.

    A pair is laid in one order whichever way it is asked for, so that its score does not depend on the order.
    """

    def __init__(
        self,
        module_1: Trained,
        model: MatcherModel,
        variables: Mapping[str, Any],
        config: MatcherConfig,
        *,
        which: str = "latest",
        step: int = 0,
        calibration: Calibration | None = None,
        cache_dir: str | None = None,
        at_once: int = 1,
    ):
        self.module_1, self.model, self.config = module_1, model, config
        self.which, self.step, self.calibration = which, step, calibration
        self.digest = digest_of(variables)
        self.at_once = at_once
        self._variables = jax.device_put(variables)
        self._registrar = module_1.registrar(at_once=at_once)
        self.enhancer = Enhancer(config.enhancement, cache_dir)

    def by(self, at_once: int) -> Comparer:
        """The same Module 2 with so many pairs in a batch."""
        made = copy.copy(self)
        made.at_once, made._registrar = at_once, self.module_1.registrar(at_once=at_once)
        return made

    def print_of(self, scan: Scan, ppi: float | None = None) -> MatcherPrint:
        """A scan's print as both modules see it. Errors as of `matcher_print`."""
        return matcher_print(scan, ppi, self.module_1, self.enhancer)

    def score(self, a: MatcherPrint, b: MatcherPrint) -> Scored:
        """One pair."""
        return next(self.score_many([(a, b)]))

    def score_many(self, pairs: Iterable[tuple[MatcherPrint, MatcherPrint]]) -> Iterator[Scored]:
        """Each pair, in order; taken in by and by, `at_once` at a time."""
        pairs = iter(pairs)
        while some := list(islice(pairs, self.at_once)):
            turned = [_precedes(b, a) for a, b in some]
            ordered = [(b, a) if turn else (a, b) for (a, b), turn in zip(some, turned, strict=True)]
            found = list(self._registrar.register_many((a.canvas, b.canvas) for a, b in ordered))
            scored = self._scored(ordered, found)
            for (a, b), turn, one in zip(some, turned, scored, strict=True):
                yield _turned(one, a, b) if turn else one

    def _scored(self, pairs: list[tuple[MatcherPrint, MatcherPrint]], found: list[Registered]) -> Iterator[Scored]:
        laid = [k for k, registered in enumerate(found) if registered.aligned is not None]
        enhanced = {k: found[k].aligned.warp(pairs[k][0].enhanced, 255) for k in laid}
        judged = {}
        if laid:
            full = laid + [laid[-1]] * (self.at_once - len(laid))
            sides = [
                np.stack(images)
                for images in (
                    [enhanced[k] for k in full],
                    [pairs[k][1].enhanced for k in full],
                    [found[k].aligned.grey_a for k in full],
                    [pairs[k][1].canvas.grey for k in full],
                    [found[k].aligned.overlap for k in full],
                )
            ]
            answers = jax.device_get(_judge(self.model, self.module_1.dense, self._variables, sides))
            judged = {k: _Judged(*(values[n] for values in answers)) for n, k in enumerate(laid)}
        for k, registered in enumerate(found):
            if k in judged:
                yield self._one(registered, judged[k], enhanced[k])
            else:
                yield Scored(registered, *[float("nan")] * 3, _none(), None)

    def _one(self, registered: Registered, judged: _Judged, enhanced: np.ndarray) -> Scored:
        of_global, of_local = float(judged.of_global), float(judged.of_local)
        score = self.config.global_weight * of_global + self.config.local_weight * of_local
        made = judged.cells[:, 0] >= 0
        columns, stride = self.module_1.frame[1] // self.model.branch.stride, self.model.branch.stride
        cells = judged.cells[made]
        laid_a, on_b = (stride * np.stack([side % columns, side // columns], -1) for side in cells.T)
        on_a = registered.aligned.map_ba[laid_a[:, 1], laid_a[:, 0]]
        matches = Matches(on_a.astype(np.float64), on_b.astype(np.float64), judged.confidence[made].astype(np.float64))
        return Scored(registered, score, of_global, of_local, matches, enhanced)


def _none() -> Matches:
    return Matches(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0))


def _precedes(a: MatcherPrint, b: MatcherPrint) -> bool:
    """One order of any two prints, by what they show."""
    return (a.canvas.grey.tobytes(), a.enhanced.tobytes()) < (b.canvas.grey.tobytes(), b.enhanced.tobytes())


def _turned(scored: Scored, a: MatcherPrint, b: MatcherPrint) -> Scored:
    """The comparison of (b, a) as that of (a, b)."""
    registered, matches = scored.registered, scored.matches
    homography = aligned = enhanced = None
    if registered.homography is not None:
        homography = np.linalg.inv(registered.homography)
        homography /= homography[2, 2]
        # Once more in the frame asked for; the share stays that of the prints as they were compared.
        laid = lay(a.canvas, b.canvas, homography, least_share=0.0)
        aligned = laid._replace(share=registered.aligned.share)
        enhanced = aligned.warp(a.enhanced, 255)
    found = registered.matches
    return scored._replace(
        registered=registered._replace(
            homography=homography, aligned=aligned, matches=Matches(found.points_b, found.points_a, found.confidence),
            turned_a=registered.turned_b, turned_b=registered.turned_a,
        ),
        matches=Matches(matches.points_b, matches.points_a, matches.confidence),
        enhanced_a=enhanced,
    )  # fmt: skip


@partial(jax.jit, static_argnames=("model", "dense"))
def _judge(model: MatcherModel, dense: Any, variables: Any, sides: list[jax.Array]) -> _Judged:
    """Both branches on B laid pairs: enhanced A and B, grey A and B uint8 (B, H, W), and their overlap."""
    *greys, overlap = sides
    laid = LaidPair(*(grey.astype(jnp.float32) / 255 for grey in greys), overlap)
    of_global, of_local, _ = branch_inputs(laid, model.branch.stride)
    output = model.apply(variables, of_global, of_local, train=False)
    cells = of_global.cells.reshape(len(overlap), -1) > 0
    grid = of_global.cells.shape[1:]
    found = extract_matches(
        jnp.where(cells[:, :, None] & cells[:, None, :], output.of_global.log_p, -jnp.inf),
        grid,
        grid,
        threshold=dense.threshold,
        border=dense.border,
        max_matches=dense.max_matches,
    )
    return _Judged(output.of_global.cosine, output.of_local.cosine, found.cells, found.confidence)


def load_comparer(run_dir: Path, *, cache_dir: str | None = None, at_once: int = 1) -> Comparer:
    """The Module 2 of a run directory, which is only read, and the Module 1 in it.

    cache_dir: for enhanced prints; None takes the user's cache folder.

    Raises:
        CheckpointError: it is no Module 2's run, holds no state yet, or is damaged.
    """
    held = read_json(run_dir / "config.json")
    try:
        stage, config = held["config"].get("stage"), None
        if stage == Stage.matcher:
            config = matcher_of(held["config"])
    except (TypeError, KeyError, AttributeError, ConfigError) as error:
        raise CheckpointError(
            f"{run_dir}: no run directory (it has no config.json of a run); give the run_dir of a training run"
        ) from error
    if config is None:
        raise CheckpointError(
            f"{run_dir}: a run of stage={stage}, which registers prints (python -m ifvit register); to compare them "
            f"train Module 2 from it: python train.py stage=matcher init.dense={run_dir}"
        )
    module_1 = load_dense(run_dir / MODULE_1)
    model = MatcherModel.from_config(module_1.dense, config, jnp.float32)
    which, step, variables = read_variables(run_dir)
    variables = {kind: {name: tree[name] for name in model.names if name in tree} for kind, tree in variables.items()}
    calibration = _calibration(run_dir / CALIBRATION, digest_of(variables), config)
    return Comparer(
        module_1, model, variables, config, which=which, step=step, calibration=calibration, cache_dir=cache_dir,
        at_once=at_once,
    )  # fmt: skip


def calibration_key(digest: str, config: MatcherConfig) -> dict[str, Any]:
    """What a calibration is of: another state, or other weights of the score, give other scores."""
    return {"state": digest, "global_weight": config.global_weight, "local_weight": config.local_weight}


def _whose(of: Any) -> dict[str, Any] | None:
    """Whose pairs a calibration file says it rests on; None where it does not say it in our words."""
    if not isinstance(of, dict) or not isinstance(of.get("databases"), list):
        return None
    words = {name: of.get(name) for name in ("databases", "protocol")}
    if not all(isinstance(word, str) and word.isprintable() for word in [*words["databases"], words["protocol"]]):
        return None
    return words | {name: of[name] for name in ("images", "genuine") if isinstance(of.get(name), int)}


def _calibration(path: Path, digest: str, config: MatcherConfig) -> Calibration | None:
    """The calibration of this very state; None where there is none of it.

    Raises:
        CheckpointError: the file is damaged.
    """
    held = read_json(path)
    if held is None:
        return None
    try:
        if any(held.get(name) != value for name, value in calibration_key(digest, config).items()):
            return None
        return from_tree(held["table"])._replace(of=_whose(held.get("of")))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: not a calibration ({error}); remove it, and evaluate again") from error
