"""The curves of a run that was stopped, killed and prolonged are those of a run that was left alone."""

from pathlib import Path

import pytest
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from ifvit.errors import CheckpointError
from ifvit.storage import checkpoint
from ifvit.training import curves, loop
from ifvit.training.log import TrainLog
from ifvit.training.loop import train
from tests.helpers.events import curves_of, steps_of

pytestmark = pytest.mark.slow


STEPS = ("trainer.max_steps=7", "trainer.log_every=3", "trainer.validate_every=2", "trainer.checkpoint_every=3")


class Killed(Exception):
    pass


def killed_before(config, update):
    """Train until the given update, and leave everything as it is then."""
    run = loop.begin(config, started=0.0)
    inner = run.step

    def step(state, pairs):
        if int(state.step) == update - 1:
            raise Killed
        return inner(state, pairs)

    run.step = step
    with pytest.raises(Killed):
        run.train()
    run.checkpoints.close()


@pytest.fixture(scope="module")
def uninterrupted(tiny, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("straight") / "run"
    train(tiny(run_dir, *STEPS))
    return curves_of(run_dir)


def test_a_straight_run_has_each_point_once(uninterrupted):
    steps = steps_of(uninterrupted)
    assert steps["train/loss"] == steps["train/pairs_per_s"] == [3, 6, 7]
    assert steps["validation/loss"] == steps["picture/matches"] == [0, 2, 4, 6, 7]
    assert steps["config/text_summary"] == steps["_hparams_/session_start_info"] == [0]
    assert steps["_hparams_/session_end_info"] == [7]
    assert {"train/lr", "train/labelled", "validation/matches", "picture/placements"} <= steps.keys()


def test_stopped_at_an_odd_step_and_killed_between_saves(tiny, uninterrupted, tmp_path):
    run_dir = tmp_path / "run"
    assert train(tiny(run_dir, *STEPS, "trainer.max_hours=1e-9")).stopped  # after step 1, a line is due after 3
    killed_before(tiny(run_dir, *STEPS), update=6)  # the last save is of step 3, step 4 was validated
    assert checkpoint.saved_steps(run_dir / "states") == [1, 3]
    newest = max((run_dir / "tb").glob("*tfevents*"), key=lambda path: path.stat().st_mtime_ns)
    with open(newest, "ab") as file:
        file.write(newest.read_bytes()[:20])  # the kill came in the middle of a record
    train(tiny(run_dir, *STEPS))
    assert curves_of(run_dir) == uninterrupted
    train(tiny(run_dir, *STEPS))  # there is nothing left to do: the last validation is made again
    assert curves_of(run_dir) == uninterrupted


def test_a_prolonged_run_draws_what_a_longer_one_draws(tiny, uninterrupted, tmp_path):
    """Its old end was logged and validated early: such points a longer run does not have. Also in a copy of it."""
    source, run_dir = tmp_path / "source", tmp_path / "run"
    train(tiny(source, *STEPS, "trainer.max_steps=5"))
    assert steps_of(curves_of(source))["validation/loss"] == [0, 2, 4, 5]
    train(tiny(run_dir, *STEPS, f"init.resume_from={source}"))
    assert steps_of(curves_of(run_dir)) == steps_of(uninterrupted)


def test_the_stream_is_cut_across_files(tmp_path):
    for start, steps in ((0, (1, 2, 3)), (3, (4, 5))):
        writer = curves.Curves(tmp_path, start, logged=True)
        for step in steps:
            writer.scalars(step, {"train/loss": float(step)})
        writer.close()
    assert len(curves.event_files(tmp_path)) == 2
    writer = curves.Curves(tmp_path, 2, logged=True)
    writer.scalars(3, {"train/loss": 30.0})
    writer.close()
    values = [
        (event.step, value.simple_value)
        for path in curves.event_files(tmp_path) for _, event in curves.events(path) for value in event.summary.value
    ]  # fmt: skip
    assert values == [(1, 1.0), (2, 2.0), (3, 30.0)]


def test_the_config_and_the_objective_are_there_for_tensorboard(finished):
    values = {
        value.tag: value
        for path in curves.event_files(finished[0] / "tb") for _, event in curves.events(path)
        for value in event.summary.value
    }  # fmt: skip
    (text,) = values["config/text_summary"].tensor.string_val
    lines = text.decode().splitlines()
    assert "    optimizer.lr: 0.001" in lines and "    dense.use_loftr: false" in lines
    session = hparams_of(values["_hparams_/session_start_info"]).session_start_info.hparams
    assert session["optimizer.lr"].number_value == 0.001 and session["data.source"].string_value == "folder"
    assert "run_dir" not in session  # what tells no run from another
    (metric,) = hparams_of(values["_hparams_/experiment"]).experiment.metric_infos
    assert metric.name.tag == "validation/exact" and metric.name.tag in values


def test_the_name_of_a_folder_that_is_no_text_stays_in_its_line(tmp_path):
    writer = curves.Curves(tmp_path, 0, logged=False)
    config = {"data.root": "/a\udcff\n# b"}
    writer.begin(config, config, "validation/exact")
    writer.close()
    (path,) = curves.event_files(tmp_path)
    values = [value for _, event in curves.events(path) for value in event.summary.value]
    assert values[0].tensor.string_val == [b"    data.root: /a??# b"]
    assert hparams_of(values[2]).session_start_info.hparams["data.root"].string_value == "/a??# b"


def hparams_of(value):
    return HParamsPluginData.FromString(value.metadata.plugin_data.content)


@pytest.mark.parametrize(
    ("installed", "more"), [(True, ""), (None, "  (not installed: pip install 'ifvit[tensorboard]')")]
)
def test_the_command_that_shows_the_curves_can_be_typed(monkeypatch, installed, more):
    monkeypatch.setattr(curves, "find_spec", lambda name: installed if name == "tensorboard" else None)
    assert curves.command(Path("my runs/tb")) == f"tensorboard --logdir 'my runs/tb'{more}"


@pytest.mark.parametrize("content", ["[1]", "{", '{"1": 3}', '{"1": {"updates": 1}}', '{"a": {}}'])
def test_a_damaged_window_is_named(tiny, tmp_path, content):
    run_dir = tmp_path / "run"
    (run_dir / "tb").mkdir(parents=True)
    (run_dir / "tb" / "windows.json").write_text(content)
    with pytest.raises(CheckpointError, match="windows.json: not what a run wrote; remove it"):
        TrainLog(run_dir, tiny(run_dir), 1, str)


def test_a_full_disk_is_said_with_the_folder(tmp_path, monkeypatch):
    writer = curves.Curves(tmp_path, 0, logged=True)

    def write_to_full_disk(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer._writer, "write_event", write_to_full_disk)
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path}'"):
        writer.scalars(1, {"train/loss": 1.0})
