"""The networks of a training run, as they take part in a comparison.

Module 1 guesses how the prints lie. Module 2, where the run has one, looks at the pair once it is aligned: cosines, and
which places correspond.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ifvit.comparison.matcher_print import Print
from ifvit.comparison.module2_inputs import BranchImages, CanvasImages, aligned_pairs, branch_inputs
from ifvit.comparison.score import Cosines
from ifvit.config import ConfigError, Enhancement, MatcherConfig, StageName, matcher_of
from ifvit.models.matcher import MatcherModel
from ifvit.models.matching import extract_matches
from ifvit.registration.elastic import ElasticMap, stacked
from ifvit.registration.module1 import Module1, load_dense
from ifvit.registration.module1_search import Guesses
from ifvit.registration.ridge_print import PPI
from ifvit.registration.similarity import PointMatches
from ifvit.storage.checkpoint import MODULE1_FOLDER, digest_of, read_variables
from ifvit.storage.errors import CheckpointError
from ifvit.storage.json_files import read_json


class Module2(NamedTuple):
    """The best state of a run of stage=matcher, else its latest (`which`), after `step` updates."""

    which: str
    step: int
    model: MatcherModel
    variables: Mapping[str, Any]
    config: MatcherConfig

    def digest(self) -> str:
        """Which Module 2 this is."""
        return digest_of(self.variables)


class Opinion(NamedTuple):
    """What Module 2 says of an aligned pair.

    cosines: of its vectors.
    score: their mean, weighted as the run says.
    matches: which places of A its global branch finds in which of B, px of both canvases, best first.
    """

    cosines: Cosines
    score: float
    matches: PointMatches

    def swapped(self) -> Opinion:
        """The same of (B, A)."""
        return self._replace(matches=self.matches.swapped())


class DeviceScores(NamedTuple):
    """What the device says of N pairs: cosines (N,), cells (N, M, 2) and confidence (N, M) of matches."""

    of_global: jax.Array
    of_local: jax.Array
    cells: jax.Array
    confidence: jax.Array


class RunNetworks:
    """The networks of a run, for `at_once` pairs in a batch. module_2: None where the run has Module 1 alone."""

    def __init__(self, module_1: Module1, module_2: Module2 | None = None, at_once: int = 1):
        self.module_1, self.module_2, self.at_once = module_1, module_2, at_once
        self._registrar = module_1.registrar(at_once=at_once)
        self._variables = None if module_2 is None else jax.device_put(module_2.variables)

    def by(self, at_once: int) -> RunNetworks:
        """The same networks with so many pairs in a batch."""
        other = copy.copy(self)
        other.at_once, other._registrar = at_once, self.module_1.registrar(at_once=at_once)
        return other

    @property
    def enhancement(self) -> Enhancement:
        """What enhances the prints that they see."""
        return Enhancement.none if self.module_2 is None else self.module_2.config.enhancement

    @property
    def ridge_enhancement(self) -> Enhancement:
        """What enhances the ridges that are compared: the run's own method, `gabor` where it has none."""
        return first_method(self.enhancement, self.module_1.enhancement)

    def guesses_many(self, pairs: Iterable[tuple[Print, Print]]) -> Iterator[Guesses]:
        """Module 1's guesses for each pair, in order; px of the canvases."""
        return self._registrar.guesses_many((a.of_networks.canvas, b.of_networks.canvas) for a, b in pairs)

    def on_ridges(self, homographies: np.ndarray, a: Print, b: Print) -> np.ndarray:
        """Homographies (K, 3, 3) of two canvases, from B to A, as those of the prints' ridges at 500 ppi."""
        scale = PPI / self.module_1.ppi
        to_a, to_b = (
            np.array([[scale, 0, x], [0, scale, y], [0, 0, 1]])
            for x, y in (shown.to_ridges(np.zeros(2), self.module_1.ppi) for shown in (a, b))
        )
        return to_a @ homographies @ np.linalg.inv(to_b)

    def opinions(self, pairs: Sequence[tuple[Print, Print]], elastics: Sequence[ElasticMap]) -> list[Opinion]:
        """What Module 2 says of at most `at_once` pairs (a, b), each with the map from B's ridges to A's."""
        missing = self.at_once - len(pairs)
        full, maps = [*pairs, *[pairs[-1]] * missing], [*elastics, *[elastics[-1]] * missing]
        sides = (self._images(side) for side in zip(*full, strict=True))
        map_ba, laid = aligned_pairs(stacked(maps), *sides, scale=PPI / self.module_1.ppi)
        judged = _judge(self.module_2.model, self.module_1.dense, self._variables, laid)
        map_ba, judged = jax.device_get((map_ba, judged))
        return [self._opinion(map_ba[k], DeviceScores(*(values[k] for values in judged))) for k in range(len(pairs))]

    def _images(self, prints: Sequence[Print]) -> CanvasImages:
        seen = [shown.of_networks for shown in prints]
        return CanvasImages(
            np.stack([shown.canvas.grey for shown in seen]),
            np.stack([shown.enhanced for shown in seen]),
            np.stack([shown.canvas.ridges for shown in seen]),
            np.array([shown.canvas.background for shown in seen], np.uint8),
            np.stack([shown.to_ridges(np.zeros(2), self.module_1.ppi) for shown in prints]).astype(np.float32),
        )

    def _opinion(self, map_ba: np.ndarray, judged: DeviceScores) -> Opinion:
        present = judged.cells[:, 0] >= 0
        stride = self.module_2.model.branch.stride
        columns = self.module_1.frame[1] // stride
        seen_a, on_b = (stride * np.stack([side % columns, side // columns], -1) for side in judged.cells[present].T)
        on_a = map_ba[seen_a[:, 1], seen_a[:, 0]]
        matches = PointMatches(
            on_a.astype(np.float64), on_b.astype(np.float64), judged.confidence[present].astype(float)
        )
        cosines, config = Cosines(float(judged.of_global), float(judged.of_local)), self.module_2.config
        score = config.global_weight * cosines.of_global + config.local_weight * cosines.of_local
        return Opinion(cosines, score, matches)


def first_method(*methods: Enhancement) -> Enhancement:
    """The first method that enhances; `gabor` where none does."""
    return next((method for method in methods if method is not Enhancement.none), Enhancement.gabor)


@partial(jax.jit, static_argnames=("model", "dense"))
def _judge(model: MatcherModel, dense: Any, variables: Any, laid: BranchImages) -> DeviceScores:
    """Both branches on N aligned pairs."""
    of_global, of_local, _ = branch_inputs(laid, model.branch.stride)
    output = model.apply(variables, of_global, of_local, train=False)
    cells = of_global.cells.reshape(len(laid.overlap), -1) > 0
    grid = of_global.cells.shape[1:]
    found = extract_matches(
        jnp.where(cells[:, :, None] & cells[:, None, :], output.of_global.log_p, -jnp.inf),
        grid,
        grid,
        threshold=dense.threshold,
        border=dense.border,
        max_matches=dense.max_matches,
    )
    return DeviceScores(output.of_global.cosine, output.of_local.cosine, found.cells, found.confidence)


def load_networks(run_dir: Path) -> RunNetworks:
    """The networks of a run directory, which is only read: Module 1, and Module 2 where it is a run of stage=matcher.

    Raises:
        CheckpointError: it is no run directory, holds no state yet, or is damaged.
    """
    kept = read_json(run_dir / "config.json")
    try:
        stage, config = kept["config"].get("stage"), None
        if stage == StageName.matcher:
            config = matcher_of(kept["config"])
    except (TypeError, KeyError, AttributeError, ConfigError) as error:
        raise CheckpointError(
            f"{run_dir}: no run directory (it has no config.json of a run); give the run_dir of a training run"
        ) from error
    if config is None:
        return RunNetworks(load_dense(run_dir))
    module_1 = load_dense(run_dir / MODULE1_FOLDER)
    model = MatcherModel.from_config(module_1.dense, config, jnp.float32)
    which, step, variables = read_variables(run_dir)
    variables = {kind: {name: tree[name] for name in model.names if name in tree} for kind, tree in variables.items()}
    return RunNetworks(module_1, Module2(which, step, model, variables, config))
