"""The interface between the training loop and a stage: all in which Module 1 and Module 2 differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import optax

from ifvit.data.batches import Batches
from ifvit.data.loader import RunData
from ifvit.training.state import TrainState
from ifvit.training.update import EvalStep, TrainStep


class ValidationResult(NamedTuple):
    """The result of one validation."""

    means: dict[str, float]  # by name; nan where nothing was counted
    pairs: int  # number of pairs
    sources: dict[str, dict[str, float]]  # of a mixture: some of the means, by source
    pictures: dict[str, np.ndarray]  # by name, (H, W, 3) uint8 RGB
    lines: list[str]  # the figures as a few short lines of text
    missing: str | None = None  # what the pairs lack so that no state can be scored; None: nothing


class Start(NamedTuple):
    """How a run begins."""

    optimizer: optax.GradientTransformation
    origin: str  # where the weights of step 0 come from, in words


class Stage(Protocol):
    """What a stage of training provides. Module 1: `dense_stage`; Module 2: `matcher_stage`."""

    def check_start(self) -> None:
        """Check what the run begins from. Called before the data are read, which may take minutes."""

    def check_data(self, data: RunData) -> None:
        """Check that the data fit the model."""

    def new_variables(self, batches: Batches) -> dict[str, Any]:
        """The model's variables before any weights are merged into them. Can be jit-compiled."""

    def begin(self, variables: dict[str, Any]) -> tuple[dict[str, Any], Start]:
        """The variables that step 0 starts from."""

    def resume(self) -> Start:
        """The same `Start` for a run that has saved states."""

    def steps(self, start: Start, batches: Batches) -> tuple[TrainStep, EvalStep]:
        """The update and the validation of one batch. The loop jit-compiles both."""

    def validate(
        self,
        evaluate: EvalStep,
        state: TrainState,
        pairs: Iterable[Any],
        shares: Mapping[str, int],
        step: int,
        pairs_name: str,
    ) -> ValidationResult:
        """Validate the state after `step` updates on all batches of `pairs`.

        Args:
            evaluate: the compiled validation of one batch.
            shares: of a mixture: the number of pairs of each source in a batch, in the order of the batch.
            pairs_name: which pairs these are, in words.
        """

    def describe(self, params: Any) -> str:
        """The model on one line of text."""

    def advice(self, platform: str) -> str:
        """Advice on a run on JAX's backend `platform`, which follows the devices on their line; else empty."""

    def progress(self, means: Mapping[str, float]) -> str:
        """The means of some updates, as a part of a progress line."""
