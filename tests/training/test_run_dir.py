"""Whose directory it is, told without training: a folder `states/4` is a saved state to these functions."""

import pytest

from ifvit.data.loader import RunData
from ifvit.databases import splits
from ifvit.databases.splits import Split
from ifvit.storage.json_files import read_json, write_json
from ifvit.training import run_dir
from ifvit.training.run_dir import RunDirError


@pytest.fixture
def weights(tmp_path):
    paths = [tmp_path / name for name in ("a.npz", "b.npz", "copy_of_a.npz")]
    for path, content in zip(paths, (b"one", b"other", b"one"), strict=True):
        path.write_bytes(content)
    return paths


@pytest.fixture
def saved_run(tiny, tmp_path):
    """A run of tiny's config, with the given overrides, that saved a state."""

    def make(*overrides):
        config = tiny(tmp_path / "run", *overrides)
        (tmp_path / "run" / "states" / "4").mkdir(parents=True)
        write_json(
            tmp_path / "run" / "config.json",
            {"config": run_dir.to_dict(config), "data": "these", "weights": run_dir.weights_digest(config)},
        )
        return lambda *more: run_dir.claim(tiny(tmp_path / "run", *more)).close()

    return make


def test_weights_may_move_but_not_change(saved_run, weights):
    first, other, copied = (["dense.use_loftr=true", f"dense.loftr_pretrained_ckpt={path}"] for path in weights)
    claim = saved_run(*first)
    claim(*first)
    claim(*copied)
    weights[0].unlink()
    claim(*first)  # they were merged before the first step and are needed no more
    for wrong in (other, ["dense.use_loftr=true"]):
        with pytest.raises(RunDirError, match="other weights"):
            claim(*wrong)


def test_weights_are_not_ignored_when_a_scratch_run_lies_there(saved_run, weights):
    claim = saved_run("dense.use_loftr=true")
    with pytest.raises(RunDirError, match="dense.loftr_pretrained_ckpt: None -> .*other weights"):
        claim("dense.use_loftr=true", f"dense.loftr_pretrained_ckpt={weights[0]}")


def test_a_run_may_gather_other_files(saved_run, tmp_path):
    claim = saved_run()
    for name in (".DS_Store", ".metrics.json-x.tmp", "notes.txt"):
        (tmp_path / "run" / name).write_text("mine")
    claim()


def test_states_without_their_config_are_refused(saved_run, tmp_path):
    claim = saved_run()
    (tmp_path / "run" / "config.json").unlink()
    with pytest.raises(RunDirError, match="no config.json beside its states"):
        claim()


def supplied(fingerprint, **part):
    return RunData(fingerprint, Split(part) if part else None, None, None)


def test_other_data_is_refused(saved_run, tiny, tmp_path):
    saved_run()
    config = tiny(tmp_path / "run")
    run_dir.check_same_data(config, supplied("these"))
    with pytest.raises(RunDirError, match="trained on other data .these; now those."):
        run_dir.check_same_data(config, supplied("those"))


def test_the_split_is_frozen_and_remembered(saved_run, tiny, tmp_path):
    """Who was trained on must not validate later, whatever the config or a table now says."""
    saved_run()
    config, split = tiny(tmp_path / "run"), supplied("these", anna="train", bert="validate")
    run_dir.check_same_data(config, split)  # a run of before remembers no split
    run_dir.write_config(config, split)
    assert splits.read_split(tmp_path / "run" / "split.csv") == split.split
    assert read_json(tmp_path / "run" / "config.json")["split"] == split.split.digest()
    run_dir.check_same_data(config, split)
    with pytest.raises(RunDirError, match="another split .*go on with data.split=.*run/split.csv"):
        run_dir.check_same_data(config, supplied("these", anna="validate", bert="train"))


def test_synthetic_fingers_have_no_split(saved_run, tiny, tmp_path):
    saved_run()
    config = tiny(tmp_path / "run")
    run_dir.write_config(config, supplied("these"))
    assert not (tmp_path / "run" / "split.csv").exists()
    run_dir.check_same_data(config, supplied("these"))


def test_a_source_of_another_config_is_refused_and_nothing_is_left(saved_run, tiny, tmp_path):
    """Another run_dir would not help, so none is offered."""
    saved_run()
    config = tiny(tmp_path / "new", f"init.resume_from={tmp_path / 'run'}", "seed=3")
    with pytest.raises(RunDirError, match=r"init.resume_from: .*another config \(seed: 0 -> 3\)") as error:
        run_dir.claim(config)
    assert not isinstance(error.value, run_dir.RunDirTakenError) and not (tmp_path / "new").exists()


def test_of_many_changes_the_first_are_named(saved_run):
    claim = saved_run()
    many = ["seed=3", "optimizer.lr=1", "loss.negative_weight=9", "dense.temperature=1"]
    with pytest.raises(run_dir.RunDirTakenError, match=r"; and 1 more\)"):
        claim(*many, "optimizer.beta1=0.1", "optimizer.beta2=0.1", "optimizer.weight_decay=0")


def test_what_databases_hold_is_remembered(saved_run, tiny, tmp_path):
    """Also where prepared prints went on without their images."""
    saved_run()
    config = tiny(tmp_path / "run")
    for known, remembered in (({}, None), ({"a/DB1_A": "x"}, {"a/DB1_A": "x"}), ({}, {"a/DB1_A": "x"})):
        run_dir.write_config(config, RunData("these", None, None, None, contents=known))
        assert read_json(tmp_path / "run" / "config.json").get("databases") == remembered


def test_what_is_no_run_to_resume_from_is_answered_with_the_run_that_is_meant(saved_run, tiny, tmp_path):
    saved_run()
    (tmp_path / "run").rename(tmp_path / "run-1")
    (tmp_path / "input" / "deeper").mkdir(parents=True)
    (tmp_path / "file").touch()

    def message_of(place):
        with pytest.raises(RunDirError) as error:
            run_dir.claim(tiny(tmp_path / "new", f"init.resume_from={tmp_path / place}"))
        return str(error.value)

    beginning = (
        f"init.resume_from: {tmp_path / 'input'} holds no saved state (looked for {tmp_path / 'input/states'}/STEP/)"
    )
    assert message_of("input") == f"{beginning}, nor does a folder below it; it holds deeper. Name the run_dir of a run"
    for place in ("input/deeper/run", "input/run"):
        (tmp_path / "run-1").rename(tmp_path / place)
        run = tmp_path / place
        assert message_of("input") == f"{beginning}; runs below it: {run}; set init.resume_from={run}"
        run.rename(tmp_path / "run-1")
    assert message_of("none") == f"init.resume_from: {tmp_path / 'none'} is not there; name a run_dir"
    assert "file is no folder" in message_of("file")


@pytest.mark.parametrize("content", ['{"name": "another program"}', '{"confi'])
def test_a_config_of_no_run_is_never_overwritten(tiny, tmp_path, content):
    path = tmp_path / "run" / "config.json"
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(run_dir.RunDirTakenError, match="set another run_dir"):
        run_dir.claim(tiny(path.parent))
    assert path.read_text() == content
