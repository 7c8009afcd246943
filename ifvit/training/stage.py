"""What the loop asks of whatever is trained, because Module 1 and Module 2 differ in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import optax

from ifvit.data.batches import Batches
from ifvit.data.loader import RunData
from ifvit.training.dense_step import TrainStep
from ifvit.training.state import TrainState


class ValidationResult(NamedTuple):
    """A validation.

    means: by name, nan where nothing was counted.
    pairs: how many were judged.
    sources: of a mixture some of the means by source.
    pictures: uint8 RGB by name.
    lines: the figures for people, a few short lines.
    missing: what the pairs lack, without which the state cannot be judged; None where they lack nothing.
    """

    means: dict[str, float]
    pairs: int
    sources: dict[str, dict[str, float]]
    pictures: dict[str, np.ndarray]
    lines: list[str]
    missing: str | None = None


class Start(NamedTuple):
    """Where a run begins: the optimiser, and what its weights were before the first update, in words."""

    optimizer: optax.GradientTransformation
    origin: str


class Stage(Protocol):
    """A stage of training."""

    def check_start(self) -> None:
        """Before the data are read, which may take minutes: refuse what cannot begin."""

    def check_data(self, data: RunData) -> None:
        """Refuse data that do not go with the model."""

    def fresh(self, batches: Batches) -> dict[str, Any]:
        """The model's variables before anything is merged into them; jit-able."""

    def begin(self, variables: dict[str, Any]) -> tuple[dict[str, Any], Start]:
        """The variables that step 0 starts from."""

    def resume(self) -> Start:
        """The same optimiser for a run that has states."""

    def steps(self, start: Start, batches: Batches) -> tuple[TrainStep, Callable[[TrainState, Any], Any]]:
        """The update and the validation of a batch, to be jit-compiled."""

    def judge(
        self,
        evaluate: Callable,
        state: TrainState,
        pairs: Iterable[Any],
        shares: Mapping[str, int],
        step: int,
        whose: str,
    ) -> ValidationResult:
        """The validation of all batches of `pairs` after `step` updates."""

    def described(self, params: Any) -> str:
        """The model in a line."""

    def progress(self, means: Mapping[str, float]) -> str:
        """The means of some updates, within a line."""
