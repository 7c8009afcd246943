"""The commands of `python -m ifvit`, with weights of LoFTR's official layout and random values."""

import errno
import importlib.util
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from ifvit.cli import main as cli
from ifvit.cli.common import json_text
from ifvit.cli.main import main
from tests.helpers.torch_zip import Call, Global, official_state, whole_state, write_torch_zip

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "outdoor_ds.ckpt"
    return write_torch_zip(path, {"state_dict": official_state(np.random.default_rng(0))})


@pytest.fixture(scope="module")
def converted(official):
    output = official.with_suffix(".npz")
    main(["convert", "--pytorch_ckpt", str(official), "--output", str(output), "--prefix", "loftr_coarse"])
    return output


def status_of(*argv):
    with pytest.raises(SystemExit) as ended:
        main([str(arg) for arg in argv])
    return ended.value.code


def test_help_names_every_command(capsys):
    assert status_of("--help") == 0
    output = capsys.readouterr().out
    assert all(word in output for word in ("train", "synthesize", "convert", "export", "verify"))
    assert status_of() == 2


def test_convert_counts_what_it_took(official, tmp_path, capsys):
    main(["convert", "--pytorch_ckpt", str(official), "--output", str(tmp_path / "w.npz")])
    output = capsys.readouterr().out
    assert "80 arrays, 5,251,072 parameters" in output
    assert re.search(r"loftr_coarse.layers.0.q_proj.weight +-> layers.0.0/q_proj/kernel", output)


def test_convert_the_student(shared_dir, tmp_path, capsys):
    student = shared_dir / "golden" / "loftr_student.pt"
    main(["convert", "--pytorch_ckpt", str(student), "--output", str(tmp_path / "w.npz")])
    assert "40 arrays, 41,472 parameters" in capsys.readouterr().out


def test_convert_leaves_no_file_when_it_fails(official, tmp_path, capsys):
    assert status_of("convert", "--pytorch_ckpt", official, "--output", tmp_path / "w.npz", "--prefix", "nothing") == 2
    assert capsys.readouterr().err.startswith(f"error: {official}: no tensor lies under the prefix 'nothing'")
    hostile = write_torch_zip(tmp_path / "h.ckpt", {"state_dict": Call(Global("os", "system"), ("touch owned",))})
    assert status_of("convert", "--pytorch_ckpt", hostile, "--output", tmp_path / "w.npz") == 2
    assert "os.system" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["h.ckpt"]


def test_verify_the_default_model(converted, capsys):
    main(["verify", "--weights", str(converted), "dense=loftr"])
    output = capsys.readouterr().out
    assert "40 of 80 arrays (2,625,536 parameters) merged" in output
    assert "skipped: layers 4-7 (40 arrays): the model has 4 layers" in output
    assert "P (1, 64, 64), matches (1, 100, 2)" in output


def test_verify_all_eight_layers(official, capsys):
    main(["verify", "--weights", str(official), "dense.num_layers=8"])
    assert "80 of 80 arrays (5,251,072 parameters) merged" in capsys.readouterr().out


def test_verify_refuses_another_width(converted, capsys):
    narrow = ["dense.d_model=128", "dense.stage_widths=[64,128,128]"]
    assert status_of("verify", "--weights", converted, *narrow) == 2
    output = capsys.readouterr().err
    assert "(40 problems)" in output and "layers.0.0/q_proj/kernel: shape (256, 256) in the file" in output


def test_convert_takes_the_whole_file_to_either_kind(tmp_path, capsys):
    state = whole_state(np.random.default_rng(0), narrow=True)
    source = write_torch_zip(tmp_path / "outdoor_ds.ckpt", {"state_dict": state})
    for before, after in ((source, "w.safetensors"), (tmp_path / "w.safetensors", "w.npz")):
        main(["convert", "--input", str(before), "--output", str(tmp_path / after), "--prefix", ""])
        output = capsys.readouterr().out
        assert "194 arrays" in output and "outside the prefix" not in output
        assert re.search(r"loftr_fine.layers.1.mlp.0.weight +-> fine_transformer/layers.1.0/mlp.0/kernel", output)
        assert "not byte for byte one of the official files" in output and "the fine stage" in output
    assert "w.safetensors, made from outdoor_ds.ckpt" in output
    assert status_of("convert", "--input", source, "--output", tmp_path / "w.pth") == 2
    assert "w.pth: a weights file is written as .npz" in capsys.readouterr().err


NARROW = ["dense.stem_width=4", "dense.stage_widths=[4,6,8]", "dense.d_model=8", "dense.num_heads=2"]


def test_verify_warns_of_a_config_that_does_not_suit(tmp_path, capsys):
    state = whole_state(np.random.default_rng(0), narrow=True)
    source = write_torch_zip(tmp_path / "outdoor_ds.ckpt", {"state_dict": state})
    fpn = ["dense.backbone=resnet_fpn_8_2", *NARROW, "data.image_size=64", "data.pairs.elastic_px=1"]
    main(["verify", "--weights", str(source), *fpn, "dense.temp_bug_fix=true"])
    output = capsys.readouterr().out
    assert output.startswith("outdoor_ds.ckpt: not byte for byte one of the official files known here (git blob id ")
    assert "holds 8 transformer layers, the backbone resnet_fpn_8_2 with its fine map, the fine stage" in output
    assert "warning: outdoor_ds.ckpt needs dense.temp_bug_fix=false, going by the name" in output
    assert "8 layers (dense.num_layers=4), the fine stage (dense.fine=none)" in output
    main(["verify", "--weights", str(source), *fpn, "dense.num_layers=8", "dense.fine=loftr"])
    output = capsys.readouterr().out
    assert "194 of 194 arrays" in output and "warning" not in output and "fresh" not in output
    assert "refined points (1, 100, 2)" in output


def test_export_without_a_run_is_refused(tmp_path, capsys):
    assert status_of("export", tmp_path, "--output", tmp_path / "w.npz") == 2
    assert "no run directory" in capsys.readouterr().err


def test_verify_says_where_weights_come_from(tmp_path, capsys):
    assert status_of("verify", "--weights", tmp_path / "none.npz") == 2
    output = capsys.readouterr().err
    assert "does not exist" in output
    # What lies elsewhere may be a read-only input.
    assert "--output checkpoints/none.npz\n    and set dense.loftr_pretrained_ckpt=checkpoints/none.npz\n" in output


def test_synthesize_writes_a_set_and_a_sheet(tmp_path, capsys):
    out, sheet = tmp_path / "set", tmp_path / "pictures" / "sheet.png"
    asked = ["synthesize", "--fingers", "1", "--impressions", "2", "--seed", "3", "data.impression.sensors=[inked]"]
    main([*asked, "--out", str(out), "--sheet", str(sheet)])
    output = capsys.readouterr().out
    assert (
        f"look at {sheet}" in output
        and "1 fingers, 2 impressions of each" in output
        and "data=fvc data.root=" in output
    )
    assert sorted(path.name for path in (out / "DB1_A").iterdir()) == ["1_1.png", "1_2.png"]
    assert (out / "manifest.csv").read_text().count(",inked") == 2 and sheet.stat().st_size > 10_000
    # Another seed into the same folder, and a command that makes nothing.
    assert status_of("synthesize", "--fingers", 1, "--impressions", 2, "--seed", 4, "--out", out) == 2
    assert "holds another set" in capsys.readouterr().err
    assert status_of("synthesize") == 2
    assert "--out DIR" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--fingers", "0"), "expected a whole number, 1 or more, got 0"),
        (("--seed", "-1"), "expected a whole number, 0 or more, got -1"),
        (("--fingers", "many"), "expected a whole number, 1 or more, got many"),
        (("--out", "x", "data.fingers=5"), "data.fingers=5: only data.impression.* changes what is made"),
        (("--out", "x", "data.impression.wear=9"), "data.impression.wear: expected 0 to 3, got 9"),
        (
            ("--out", "x", "data.impression.wera=1"),
            "data.impression.wera: unknown key; did you mean data.impression.wear?",
        ),
    ],
)
def test_synthesize_refuses_in_plain_words(words, message, capsys):
    assert status_of("synthesize", *words) == 2
    assert message in capsys.readouterr().err


STOPPED = """
import atexit, os, sys
from ifvit import __main__
from ifvit.cli import pair

def stopped(arguments):
    print("begun", end="")
    raise KeyboardInterrupt

pair._compare = stopped
atexit.register(os._exit, 139)  # what JAX's threads do to an interpreter that ends under them
sys.argv[1:] = ["compare", "a.png", "b.png", "--run", "run"]
__main__.console_script()
"""


def test_a_stopped_command_ends_with_its_status_whatever_runs_beside_it():
    ended = subprocess.run([sys.executable, "-c", STOPPED], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (75, "begun")
    assert ended.stderr == "stopped before it was finished; the same command begins again\n"


@pytest.mark.parametrize(
    ("command", "option", "name"),
    [
        (("synthesize",), "--sheet", "sheet.svg"),
        (("synthesize",), "--sheet", "file/sheet.png"),
        (("synthesize",), "--out DIR", "file"),
        (("data", "check", "nowhere"), "--sheet", "sheet"),
        (("data", "check", "nowhere"), "--json", "file/report.json"),
        (("data", "pairs", "nowhere", "--protocol", "all"), "--out", "file/pairs.csv"),
        (("data", "prepare", "nowhere", "data=folder", "data.root=nowhere"), "--out DIR", "file/set"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_looked_at(command, option, name, tmp_path, capsys):
    (tmp_path / "file").write_bytes(b"kept")
    assert status_of(*command, option.split()[0], tmp_path / name) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"error: {option}: {tmp_path / name}")
    assert "is a file, not a folder" in line or "a picture's name ends in one of .png" in line
    assert (tmp_path / "file").read_bytes() == b"kept" and len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_costs_the_sheet_and_not_the_report(tmp_path, monkeypatch, capsys):
    prints = tmp_path / "prints"
    for finger in range(2):
        (prints / str(finger)).mkdir(parents=True)
        grey = np.random.default_rng(finger).integers(0, 255, (90, 90)).astype(np.uint8)
        Image.fromarray(grey).save(prints / str(finger) / "0.png")

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    sheet = tmp_path / "sheet.png"
    assert status_of("data", "check", prints, "--source", "folder", "--ppi", 250, "--sheet", sheet) == 1
    shown = capsys.readouterr()
    assert shown.out.startswith("database") and f"error: {sheet}: not written (No space left on device)" in shown.err
    assert [path.name for path in tmp_path.iterdir()] == ["prints"]


@pytest.mark.parametrize(
    ("argv", "key"),
    [
        (["register", "a", "b", "--run=PATH"], "run_dir"),
        (["compare", "a", "b", "--run", "x", "--picture=PATH"], "picture"),
        (["compare", "PATH", "b", "--run", "x"], "a"),
        (["evaluate", "PATH"], "run_dir"),
        (["evaluate", "x", "--out=PATH"], "out"),
        (["data", "check", "x", "--json=PATH"], "json"),
        (["data", "check", "x", "--split=PATH"], "split"),
        (["data", "pairs", "x", "--protocol", "fvc", "--out=PATH"], "out"),
        (["data", "prepare", "PATH", "--out", "x"], "run_dir"),
        (["synthesize", "--sheet=PATH"], "sheet"),
        (["convert", "--input=PATH", "--output", "x"], "source"),
        (["export", "x", "--output=PATH"], "output"),
        (["verify", "--weights=PATH"], "weights"),
    ],
)
def test_a_leading_tilde_is_the_home_folder_for_every_command(argv, key, monkeypatch, capsys):
    monkeypatch.setenv("HOME", "/home/ada")
    arguments = cli._parser().parse([word.replace("PATH", "~/x") for word in argv])
    assert str(getattr(arguments, key)) == "/home/ada/x"
    for path, line in (
        ("~nobody-at-all", "there is no user nobody-at-all"),
        ("", "expected a path, got an empty text"),
    ):
        assert status_of(*(word.replace("PATH", path) for word in argv)) == 2
        assert line in capsys.readouterr().err


def test_every_command_takes_a_path_as_it_was_typed(tmp_path, runs, capsys):
    folder = tmp_path / "epoch=9, ü"
    for argv in (["evaluate", runs / "dense"], ["data", "prepare", runs / "dense", "--out", tmp_path / "out"]):
        assert status_of(*argv, "data=folder", f"data.root={folder}") == 2
        assert str(folder) in capsys.readouterr().err
    assert status_of("verify", "--weights", folder, "dense=loftr") == 2
    assert f"{folder} does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["comapre", "a"], "comapre: there is no such command; did you mean compare? (see python -m ifvit --help)"),
        (["comp", "a"], "comp: there is no such command; did you mean compare or completion?"),
        (["data", "chekc"], "chekc: there is no such command; did you mean check? (see python -m ifvit data --help)"),
        (["data"], "expected a command, one of check, pairs, prepare (see python -m ifvit data --help)"),
        ([], "expected a command, one of train, register, compare"),
        (["xyz"], "xyz: there is no such command; known are train, register, compare, evaluate, table, data, "),
        (["compare", "a", "b", "--pictrue=x.png"], "--pictrue=x.png: there is no such option; did you mean --picture?"),
        (["compare", "a", "b", "--pictur", "x.png"], "--pictur: there is no such option; did you mean --picture?"),
        (["compare", "a", "--p=5"], "--p=5: there is no such option; did you mean --ppi or --picture?"),
        (["data", "pairs", "x", "--protoco", "all"], "--protoco: there is no such option; did you mean --protocol?"),
        (["--vers"], "--vers: there is no such option; did you mean --version?"),
        (["train", "--resolv"], "--resolv: there is no such option; did you mean --resolve?"),
        (["compare", "a", "b", "c"], "c: not expected here (see python -m ifvit compare --help)"),
        (["evaluate", "x", "root=y"], "root=y: the model comes from the run; only data=... and data.* are read; did "
         "you mean data.root?"),
        (["synthesize", "--out", "x", "wear=2"], "wear=2: only data.impression.* changes what is made (and --seed, ...)"
         "; did you mean data.impression.wear?"),
        (["evaluate", "x", "/"], "'/': expected KEY=VALUE; for the prints in it type data.root=/"),
        (["data", "prepare", "x", "/", "--out", "y"], "'/': expected KEY=VALUE; for the prints in it type data.root=/"),
    ],
)  # fmt: skip
def test_a_slip_is_answered_with_what_was_meant(argv, line, capsys):
    assert status_of(*argv) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {line}") and error.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "run_dir", "overrides"),
    [
        (["evaluate", "RUN", "data=fvc", "--out", "o", "data.root=x"], "RUN", ["data=fvc", "data.root=x"]),
        (["evaluate", "--out", "o", "RUN", "data=fvc", "--impostors", "5", "data.root=x"], "RUN", ["data=fvc",
         "data.root=x"]),
        (["evaluate", "data=fvc", "--out", "o", "data.root=x"], "data=fvc", ["data.root=x"]),
        (["evaluate", "RUN", "--out=o"], "RUN", []),
        (["data", "prepare", "RUN", "data=fvc", "--out", "o", "data.root=x"], "RUN", ["data=fvc", "data.root=x"]),
        (["synthesize", "data.impression.wear=2", "--out", "o", "data.impression.noise=0"], None,
         ["data.impression.wear=2", "data.impression.noise=0"]),
        (["verify", "dense=loftr", "--weights", "o", "seed=8"], None, ["dense=loftr", "seed=8"]),
    ],
)  # fmt: skip
def test_options_may_stand_between_overrides(argv, run_dir, overrides):
    arguments = cli._parser().parse(argv)
    assert str(getattr(arguments, "out", None) or arguments.weights) == "o"
    assert arguments.overrides == overrides and str(getattr(arguments, "run_dir", None)) == str(run_dir)


def test_roots_may_stand_around_options():
    arguments = cli._parser().parse(["data", "check", "a", "--ppi", "500", "b", "--json", "c"])
    assert [str(root) for root in arguments.roots] == ["a", "b"] and arguments.ppi == 500


def test_a_value_that_looks_like_no_option_is_left_to_its_option():
    arguments = cli._parser().parse(["compare", "a", "b", "--picture", "-- x.png"])
    assert str(arguments.picture) == "-- x.png"


def test_json_has_a_point_on_a_line():
    tree = {"map": [{"a": [1.5, 2.0], "b": [3, 4]}] * 2, "only_a": [[1, 2]], "none": [], "of": {"x": None, "y": {}}}
    assert json_text(tree).split("\n") == [
        "{",
        '  "map": [',
        '    {"a": [1.5, 2.0], "b": [3, 4]},',
        '    {"a": [1.5, 2.0], "b": [3, 4]}',
        "  ],",
        '  "only_a": [',
        "    [1, 2]",
        "  ],",
        '  "none": [],',
        '  "of": {',
        '    "x": null,',
        '    "y": {}',
        "  }",
        "}",
    ]
    assert json.loads(json_text(tree)) == tree


def test_prepare_asks_for_its_extra_before_it_begins(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert status_of("data", "prepare", "x", "data=fvc", "data.root=y", "--out", "z", "--enhancement", "pyfing") == 2
    line = capsys.readouterr().err
    assert line == "error: --enhancement: pyfing needs pyfing and keras: pip install 'ifvit[enhance]'\n"
