"""Pairs without a label teach nothing, and a validation of them says nothing: a run stops, and names the keys."""

import json

import jax
import numpy as np
import pytest

from ifvit.errors import DataError
from ifvit.training import loop
from ifvit.training.log import NotFiniteError, NothingToLearnError, TrainLog
from ifvit.training.loop import train
from ifvit.training.matcher_stage import missing_pairs

pytestmark = pytest.mark.slow


def test_no_labelled_cell_is_refused_before_the_first_step(tiny, tmp_path):
    with pytest.raises(DataError, match="pairs .unseen fingers. lack a labelled cell.*data.pairs.shift_px=400"):
        train(tiny(tmp_path / "run", "data.pairs.shift_px=400"))
    assert not (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.parametrize(
    "genuine, exact, missing_text",
    [
        ([0, 0], 0.5, "a pair of mates"),
        ([1, 1], 0.5, "a pair of different fingers"),
        ([0, 1], np.nan, "a labelled cell"),
        ([0, 1], 0.0, None),
    ],
)
def test_what_a_validation_of_module_2_lacks(genuine, exact, missing_text):
    means = {"global_exact": exact, "local_exact": np.nan}
    assert missing_pairs(means, np.array(genuine, bool)) == missing_text


def log_of(tiny, tmp_path, *more):
    return TrainLog(tmp_path / "run", tiny(tmp_path / "run", *more), 0, lambda means: str(means["loss"]))


def step_metrics(labelled, loss=1.0):
    return {name: jax.numpy.float32(value) for name, value in
            {"loss": loss, "grad_norm": 1.0, "labelled": labelled}.items()}  # fmt: skip


def test_updates_without_a_label_stop_the_run_after_many_genuine_pairs(tiny, tmp_path):
    """By chance a small batch may hold different fingers alone: four of four pairs, here a quarter of all."""
    log = log_of(tiny, tmp_path, "trainer.max_steps=100", "data.pairs.impostor_share=0.25")
    for step in range(1, 22):
        log.step(step, step_metrics(labelled=0), 0.0)
    log.line(21)  # 63 genuine pairs are to be expected
    log.step(22, step_metrics(labelled=0), 0.0)
    with pytest.raises(NothingToLearnError, match="step 22: no pair so far has a labelled cell.*data.pairs.shift_px="):
        log.line(22)


def test_one_label_is_enough(tiny, tmp_path):
    log = log_of(tiny, tmp_path, "trainer.max_steps=100")
    for step in range(1, 100):
        log.step(step, step_metrics(labelled=step == 5), 0.0)
    log.line(99)


def test_a_validation_that_gives_no_numbers_is_not_a_loss_of_nothing(tiny, tmp_path, monkeypatch):
    """Once what was no number counted as 0 in the validation's loss, and the state could become the best."""
    validate = loop.DenseStage.validate

    def broken(self, evaluate, state, *rest):
        return validate(self, lambda s, b: _without_numbers(evaluate(s, b)), state, *rest)

    monkeypatch.setattr(loop.DenseStage, "validate", broken)
    with pytest.raises(NotFiniteError, match="step 0: the validation's loss is nan"):
        train(tiny(tmp_path / "run"))
    assert not (tmp_path / "run" / "metrics.json").exists()


def _without_numbers(result):
    total, count = result.totals["positive"]
    return result._replace(totals=result.totals | {"positive": (total * np.nan, count)})


def test_jax_debug_nans_does_not_stop_a_sound_run(tiny, tmp_path):
    """Nothing that is computed on the device may use nan for what is not known."""
    with jax.debug_nans(True):
        train(tiny(tmp_path / "run", "dense.threshold=0.0"))
    stored = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert stored["coarse_median"] > 0


def test_the_stage_is_asked_for_what_is_missing(tiny, tmp_path):
    """On the way it is a failure: the first validation of a session that resumed may come late."""
    run = loop.begin(tiny(tmp_path / "run"), started=0.0)
    result = loop.ValidationResult({"loss": 1.0}, 8, {}, {}, [], "a pair of mates")
    with pytest.raises(NothingToLearnError, match="lack a pair of mates"):
        run._check_result(3, result, "unseen fingers")
    with pytest.raises(DataError):
        run._check_result(0, result, "unseen fingers")
    run._check_result(3, result._replace(missing=None), "")
