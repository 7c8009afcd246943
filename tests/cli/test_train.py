import logging

import pytest

from ifvit.cli import train as cli_train
from ifvit.launch import EXIT_REFUSED


@pytest.fixture
def trained(monkeypatch, capsys):
    """Runs `train`, which does not train: (exit status, config, stdout and stderr)."""

    def run(*argv):
        configs = []
        monkeypatch.setattr(cli_train, "run", lambda config, command: configs.append((config, command)))
        try:
            status = cli_train.train_command(argv) or 0
        except SystemExit as ended:
            status = ended.code
        return status, configs, "".join(capsys.readouterr())

    level, handlers = logging.root.level, logging.root.handlers[:]
    yield run
    logging.root.setLevel(level)  # Hydra's --info has it write everything to a stream that ends with the test
    logging.root.handlers[:] = handlers


@pytest.fixture
def conf(tmp_path):
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text("# @package _global_\nrun_dir: ~/theirs\n")
    (tmp_path / "conf" / "experiment" / "broken.yaml").write_text("a: [1\n")
    return tmp_path / "conf"


def test_flags_and_overrides_stand_in_any_order(trained, conf, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    for argv in (
        ["--config-dir", str(conf), "experiment=mine", "seed=3"],
        ["seed=3", "-cd", str(conf), "experiment=mine"],
    ):
        status, ((config, command),), _ = trained(*argv)
        assert (status, config.seed, config.run_dir) == (0, 3, "/home/ada/theirs")
        assert command.startswith("python -m ifvit train ") and "experiment=mine" in command
    status, configs, printed = trained("--config-dir", str(conf), "experiment=mina")
    assert status == EXIT_REFUSED and "did you mean mine? known are broken, mine, paper_dense" in printed


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ("override /debug: smoke", "error: experiment/mine.yaml: debug is set on the command line alone, like debug="),
        (
            "quikstart",
            "error: experiment/mine.yaml: experiment=quikstart: there is no such choice; did you mean quickst",
        ),
    ],
)
def test_what_an_experiment_cannot_build_on_is_named_with_its_file(trained, conf, entry, line):
    (conf / "experiment" / "mine.yaml").write_text(f"# @package _global_\ndefaults:\n  - {entry}\n")
    status, configs, printed = trained("--config-dir", str(conf), "experiment=mine")
    assert (status, configs) == (EXIT_REFUSED, []) and printed.startswith(line) and printed.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--config-dir", "nowhere"], "error: --config-dir: there is no folder "),
        (["--config-path", "~nobody-at-all"], "error: --config-path: ~nobody-at-all: there is no user"),
        (["hydra.searchpath=[nowhere]"], "error: hydra.searchpath: there is no folder "),
        (["hydra.searchpath=conf"], "error: hydra.searchpath=conf: expected a list of folders"),
        (["hydra.run.dir=x"], "error: hydra.run.dir=x: a run writes only into run_dir"),
        (["hydra.sweeper.max_batch_size=1"], "error: hydra.sweeper.max_batch_size=1: a run writes only into run_dir"),
        (["--config-dir"], "error: argument --config-dir/-cd: expected one argument"),
        (["--sweep"], "error: --sweep: there is no such option; did you mean --help?"),
        (["--resolve"], "error: --resolve: only with --cfg"),
        (["--experimental-rerun", "x.pickle"], "error: --experimental-rerun: runs code from a file"),
        (["--cfg", "job", "dense.temprature=1"], "error: dense.temprature: unknown key; did you mean"),
        (["--config-name", "absent"], "error: Cannot find primary config 'absent'"),
        (["--", "seed=one"], "error: seed: expected a whole number, got 'one'"),
    ],
)
def test_a_flag_that_cannot_be_followed_is_refused_in_a_line(trained, argv, line):
    status, configs, printed = trained(*argv)
    assert status == EXIT_REFUSED and configs == []
    assert printed.startswith(line) and printed.count("\n") == 1


def test_a_broken_file_of_ones_own_is_named(trained, conf):
    status, configs, printed = trained("--config-dir", str(conf), "experiment=broken")
    assert status == EXIT_REFUSED and str(conf / "experiment" / "broken.yaml") in printed and printed.count("\n") == 1


@pytest.mark.parametrize(
    ("node", "asked"),
    [
        ("{sweeper: {params: {seed: '1,2', optimizer.lr: '1e-3,3e-4'}}}", "hydra.sweeper.params: seed, optimizer.lr"),
        ("{mode: MULTIRUN}", "hydra.mode: MULTIRUN"),
    ],
)
def test_a_sweep_in_a_file_is_not_one_run(trained, conf, node, asked):
    (conf / "experiment" / "many.yaml").write_text(f"# @package _global_\nhydra: {node}\n")
    argv = ["--config-dir", str(conf), "experiment=many"]
    status, configs, printed = trained(*argv)
    assert status == EXIT_REFUSED and configs == []
    assert printed.splitlines() == [
        f"error: the config describes a sweep ({asked}), which needs -m; for one run without it add --run; for the "
        "sweep type:",
        f"  python -m ifvit train -m --config-dir {conf} experiment=many",
    ]
    status, ((config, _),), _ = trained(*argv, "--run")
    assert status == 0 and config.seed == 0


def test_hydra_shows_the_config_of_what_was_typed(trained, conf):
    status, configs, printed = trained("init.dense=a=b", "--config-dir", str(conf), "experiment=mine", "--cfg", "job")
    assert configs == [] and "dense: a=b" in printed and "run_dir: ~/theirs" in printed
    status, configs, printed = trained("--info", "searchpath", f"hydra.searchpath=[{conf}]")
    assert configs == [] and f"file://{conf}" in printed


def test_hydra_shows_what_an_auto_run_dir_stands_for(trained, conf):
    (conf / "experiment" / "auto.yaml").write_text("# @package _global_\nrun_dir: auto\n")
    for argv, name in (
        (["run_dir=auto", "seed=3"], "seed=3"),
        (["--config-dir", str(conf), "experiment=auto"], "experiment=auto"),
    ):
        _, ((config, _),), _ = trained(*argv)
        assert config.run_dir == f"checkpoints/auto/{name}"
        assert f"\nrun_dir: {config.run_dir}\n" in trained(*argv, "--cfg", "job", "--resolve")[2]
        assert "\nrun_dir: auto\n" in trained(*argv, "--cfg", "job")[2]
