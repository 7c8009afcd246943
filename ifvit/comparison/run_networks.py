"""The networks of a training run, loaded for comparisons.

For `Matcher`, which owns a `RunNetworks` where there is a run. Module 1 adds guesses of the registration to those of
the ridges. Module 2, where the run has one, reads the aligned pair: two cosines, and which points correspond.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from ifvit.comparison.matcher_print import Print
from ifvit.comparison.module2_inputs import BranchImages, CanvasImages, PrintImages, align_images, branch_inputs
from ifvit.comparison.score import Cosines
from ifvit.config import Enhancement, MatcherConfig, StageName
from ifvit.config.run_config import open_run
from ifvit.models.matcher import MatcherModel, MatcherOutput
from ifvit.models.matching import extract_matches
from ifvit.registration.elastic import ElasticMap, stacked
from ifvit.registration.module1 import Module1, load_dense
from ifvit.registration.module1_search import Guess
from ifvit.registration.ridge_print import PPI
from ifvit.registration.similarity import PointMatches
from ifvit.storage.checkpoint import MODULE1_FOLDER, digest_of, read_variables


class Module2(NamedTuple):
    """Module 2 of a run of stage=matcher: its best state, or its latest where it has no best one."""

    which: str  # "best" or "latest"
    step: int  # updates that the state has made
    model: MatcherModel
    variables: Mapping[str, Any]  # {'params': ..., 'batch_stats': ...}
    config: MatcherConfig

    def digest(self) -> str:
        """A digest of the variables, which names this Module 2."""
        return digest_of(self.variables)


class Module2Result(NamedTuple):
    """Module 2's output for an aligned pair."""

    cosines: Cosines  # of its vectors
    score: float  # the mean of the cosines, weighted as the run's config says, [-1, 1]
    matches: PointMatches  # of the global branch, px of both canvases, best first

    def swapped(self) -> Module2Result:
        """The result of (B, A)."""
        return self._replace(matches=self.matches.swapped())


class DeviceScores(NamedTuple):
    """Module 2's output for N pairs, on the device."""

    of_global: jax.Array  # (N,) float32, cosines
    of_local: jax.Array  # (N,) float32, cosines
    cells: jax.Array  # (N, M, 2) int32, cell of A and of B of each match; -1 where there is no match
    confidence: jax.Array  # (N, M) float32, [0, 1]


class RunNetworks:
    """The networks of a run.

    module2: None where the run has Module 1 alone.
    at_once: pairs in a batch.
    """

    def __init__(self, module1: Module1, module2: Module2 | None = None, at_once: int = 1):
        self.module1, self.module2, self.at_once = module1, module2, at_once
        self._registrar = module1.registrar(at_once=at_once)
        self._variables = None if module2 is None else jax.device_put(module2.variables)

    def by(self, at_once: int) -> RunNetworks:
        """The same networks with `at_once` pairs in a batch."""
        networks = copy.copy(self)
        networks.at_once, networks._registrar = at_once, self.module1.registrar(at_once=at_once)
        return networks

    @property
    def enhancement(self) -> Enhancement:
        """The enhancement of the prints that the networks read."""
        return Enhancement.none if self.module2 is None else self.module2.config.enhancement

    @property
    def ridge_enhancement(self) -> Enhancement:
        """The enhancement of the ridges that are compared: the run's own method, `gabor` where it has none."""
        return first_method(self.enhancement, self.module1.enhancement)

    def guess_many(self, pairs: Iterable[tuple[Print, Print]]) -> Iterator[Guess]:
        """Module 1's guess of each pair, in order; px of the canvases."""
        return self._registrar.guess_many((a.network_side.canvas, b.network_side.canvas) for a, b in pairs)

    def on_ridges(self, homography: np.ndarray, a: Print, b: Print) -> np.ndarray:
        """A homography (3, 3) from B's canvas to A's, converted to the prints' ridges at 500 ppi."""
        scale = PPI / self.module1.ppi
        to_a, to_b = (
            np.array([[scale, 0, x], [0, scale, y], [0, 0, 1]])
            for x, y in (print_.to_ridges(np.zeros(2), self.module1.ppi) for print_ in (a, b))
        )
        return to_a @ homography @ np.linalg.inv(to_b)

    def module2_results(
        self, pairs: Sequence[tuple[Print, Print]], elastics: Sequence[ElasticMap]
    ) -> list[Module2Result]:
        """Module 2's output for at most `at_once` pairs (a, b), each with the map from B's ridges to A's."""
        assert self.module2 is not None
        missing = self.at_once - len(pairs)
        batch, maps = [*pairs, *[pairs[-1]] * missing], [*elastics, *[elastics[-1]] * missing]
        sides = (self._images(side) for side in zip(*batch, strict=True))
        map_ba, images = align_images(stacked(maps), *sides, scale=PPI / self.module1.ppi)
        scores = _score_pairs(self.module2.model, self.module1.dense, self._variables, images)
        map_ba, scores = jax.device_get((map_ba, scores))
        of_pairs = (DeviceScores(*(values[k] for values in scores)) for k in range(len(pairs)))
        return [self._module2_result(self.module2, map_ba[k], pair_scores) for k, pair_scores in enumerate(of_pairs)]

    def _images(self, prints: Sequence[Print]) -> CanvasImages:
        """The canvases of prints, in one batch."""
        network_sides = [print_.network_side for print_ in prints]
        arrays = (
            np.stack([print_.canvas.grey for print_ in network_sides]),
            np.stack([print_.enhanced for print_ in network_sides]),
            np.stack([print_.canvas.ridges for print_ in network_sides]),
            np.array([print_.canvas.background for print_ in network_sides], np.uint8),
            np.stack([print_.to_ridges(np.zeros(2), self.module1.ppi) for print_ in prints]).astype(np.float32),
        )
        # Compiled programs take NumPy arrays in the place of JAX's.
        *images, origin = (cast(jax.Array, values) for values in arrays)
        return CanvasImages(PrintImages(*images), origin)

    def _module2_result(self, module2: Module2, map_ba: np.ndarray, scores: DeviceScores) -> Module2Result:
        """The result of one pair. map_ba: (H, W, 2), the point of A's canvas at each pixel of B's."""
        present = scores.cells[:, 0] >= 0
        stride = module2.model.branch.stride
        columns = self.module1.frame[1] // stride
        # A's cells are those of the aligned image, so they are pixels of B's canvas too.
        cells = scores.cells[present].T
        cells_a, points_b = (stride * np.stack([side % columns, side // columns], -1) for side in cells)
        points_a = map_ba[cells_a[:, 1], cells_a[:, 0]]
        matches = PointMatches(
            points_a.astype(np.float64), points_b.astype(np.float64), np.asarray(scores.confidence[present], float)
        )
        of_global, of_local = float(scores.of_global), float(scores.of_local)
        score = module2.config.global_weight * of_global + module2.config.local_weight * of_local
        return Module2Result(Cosines(of_global, of_local), score, matches)


def first_method(*methods: Enhancement) -> Enhancement:
    """The first method that enhances; `gabor` where none does."""
    return next((method for method in methods if method is not Enhancement.none), Enhancement.gabor)


@partial(jax.jit, static_argnames=("model", "dense"))
def _score_pairs(model: MatcherModel, dense: Any, variables: Any, images: BranchImages) -> DeviceScores:
    """Both branches on N aligned pairs. dense: Module 1's config, with the threshold of matches."""
    of_global, of_local, _ = branch_inputs(images, model.branch.stride)
    output = cast(MatcherOutput, model.apply(variables, of_global, of_local, train=False))
    count, height, width = of_global.cells.shape
    grid = height, width
    cells = of_global.cells.reshape(count, -1) > 0
    matches = extract_matches(
        jnp.where(cells[:, :, None] & cells[:, None, :], output.of_global.log_p, -jnp.inf),
        grid,
        grid,
        threshold=dense.threshold,
        border=dense.border,
        max_matches=dense.max_matches,
    )
    return DeviceScores(output.of_global.cosine, output.of_local.cosine, matches.cells, matches.confidence)


def load_networks(run_dir: Path) -> RunNetworks:
    """The networks of a run directory: Module 1, and Module 2 of a run of stage=matcher. Nothing is written.

    Raises:
        CheckpointError: it is no run directory, has no state yet, or is damaged.
    """
    run = open_run(run_dir)
    if run.stage is not StageName.matcher:
        return RunNetworks(load_dense(run_dir))
    config = run.matcher()
    module1 = load_dense(run_dir / MODULE1_FOLDER)
    model = MatcherModel.from_config(module1.dense, config, jnp.float32)
    which, step, variables = read_variables(run_dir)
    variables = {kind: {name: tree[name] for name in model.names if name in tree} for kind, tree in variables.items()}
    return RunNetworks(module1, Module2(which, step, model, variables, config))
