import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ifvit.cli.train import train_command
from ifvit.config.overrides import quote_overrides
from ifvit.launch import compose_tree
from ifvit.sweep import jobs as sweep
from tests.helpers.places import REPOSITORY

pytestmark = pytest.mark.slow


def ran(*command, cwd):
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=cwd, env=environment)


@pytest.fixture
def swept(monkeypatch, capsys):
    """Runs a sweep whose jobs are no processes: (exit status, the jobs' arguments, lines of stderr).

    values: what each job in turn comes to. What was printed on standard output is the fixture's `out` afterwards.
    """

    def run(*argv, statuses=(), values=()):
        jobs = []

        def job(_, command, environment):
            jobs.append(command[command.index("--run") + 1 :])
            if len(jobs) <= len(values):
                folder = Path(jobs[-1][-1].removeprefix("run_dir=").strip("'"))
                folder.mkdir(parents=True)
                (folder / "metrics.json").write_text(json.dumps({"step": 4, "exact": values[len(jobs) - 1]}))
            return dict(statuses).get(len(jobs), 0)

        monkeypatch.setattr(sweep.Interruptions, "run", job)
        try:
            train_command(["-m", *argv])
            status = 0
        except SystemExit as ended:
            status = ended.code
        run.out, err = capsys.readouterr()
        return status, jobs, err.splitlines()

    return run


def names(*argv):
    return list(sweep.jobs_of(quote_overrides(argv, sweep=True), sweep.Configs()))


def test_each_job_is_a_process_with_its_own_directory_and_one_that_diverges_stops_no_other(overrides, tmp_path):
    ended = ran(str(REPOSITORY / "train.py"), "-m", "optimizer.lr=1e30,1e-3", *overrides("swept"), cwd=tmp_path)
    assert ended.returncode == 1 and ended.stdout.count("IFViT") == 2
    assert "1 of 2 sweep jobs did not finish: optimizer.lr=1e+30" in ended.stderr
    folders = sorted(path.parent for path in (tmp_path / "swept_sweep").glob("*/config.json"))
    assert [folder.name for folder in folders] == ["optimizer.lr=0.001", "optimizer.lr=1e+30"]
    configs = [json.loads((folder / "config.json").read_text())["config"] for folder in folders]
    assert [config["optimizer"]["lr"] for config in configs] == [1e-3, 1e30]
    assert json.loads((folders[0] / "metrics.json").read_text())["step"] == 4
    assert not (tmp_path / "outputs").exists() and not (tmp_path / "swept").exists()


@pytest.mark.parametrize("typo", ["dense.temprature=1,2", "+dense.temprature=1", "dense.temprature=1"])
def test_a_typing_error_in_a_sweep_is_one_line(typo, tmp_path):
    ended = ran("-m", "ifvit", "train", "-m", "seed=1,2", typo, cwd=tmp_path)
    lines = ["error: dense.temprature: unknown key; did you mean dense.temperature?"]
    assert ended.returncode == 2 and ended.stderr.splitlines() == lines
    assert list(tmp_path.iterdir()) == []


def test_a_refused_job_is_named_before_the_first_begins_and_keeps_no_other_from_running(swept):
    status, jobs, lines = swept("debug=smoke", "dense.num_heads=2,3,4,5", "run_dir=r")
    assert status == 1 and [job[1] for job in jobs] == ["dense.num_heads=2", "dense.num_heads=4"]
    assert lines == [
        "error: sweep job dense.num_heads=3: dense.num_heads: 3 heads do not divide the width dense.d_model=32",
        "error: sweep job dense.num_heads=5: dense.num_heads: 5 heads do not divide the width dense.d_model=32",
        "2 of 4 sweep jobs cannot be run; the others are",
        "error: 2 of 4 sweep jobs did not finish: dense.num_heads=3, dense.num_heads=5",
    ]


def test_a_job_that_cannot_even_be_composed_is_one_of_them(swept):
    status, jobs, lines = swept("dense=loftr,lofter", "run_dir=r")
    assert status == 1 and [job[0] for job in jobs] == ["dense=loftr"]
    assert lines[0].startswith(
        "error: sweep job dense=lofter: dense=lofter: there is no such choice; did you mean loftr"
    )


def test_where_no_job_can_be_run_none_begins(swept):
    status, jobs, lines = swept("debug=smoke", "dense.num_heads=3,5", "trainer.max_steps=0")
    assert status == 2 and jobs == []
    assert [line.split(":")[1] for line in lines] == [
        " trainer.max_steps",
        *[f" sweep job dense.num_heads={n}" for n in (3, 5)],
    ]


@pytest.mark.parametrize("ended", [1, 2, -9])
def test_a_job_that_ends_badly_keeps_no_other_from_running(swept, ended):
    status, jobs, lines = swept("seed=1,2,3", "run_dir=r", statuses={2: ended})
    assert status == 1 and len(jobs) == 3
    assert lines == [
        f"error: sweep job seed=2 ended with status {ended}",
        "error: 1 of 3 sweep jobs did not finish: seed=2",
    ]


def test_a_job_that_stops_ends_the_sweep(swept):
    status, jobs, lines = swept("seed=1,2,3", "run_dir=r", statuses={1: 1, 2: 75})
    assert status == 75 and len(jobs) == 2
    assert lines[-2:] == ["the sweep was stopped; to go on:", "  python -m ifvit train -m seed=1,2,3 run_dir=r"]


def test_a_sweep_ends_with_a_table_of_its_jobs(swept, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    swept("seed=1,2", "run_dir=r", values=[0.25, 0.5])
    assert swept.out.splitlines()[-4:] == [
        "job     status     exact    run_dir",
        "seed=1  finished  0.2500    r_sweep/seed=1",
        "seed=2  finished  0.5000 *  r_sweep/seed=2",
        "* the best finished job: exact at the last step (4), higher is better",
    ]


def test_the_table_also_tells_of_jobs_that_failed_were_refused_or_never_began(swept, tmp_path, monkeypatch):
    """A job that did not finish is not the best, whatever its last validation."""
    monkeypatch.chdir(tmp_path)
    status, _, _ = swept("seed=-1,1,2,3,4", "run_dir=r", values=[0.9, 0.25, None], statuses={1: 1, 3: 75})
    assert status == 75
    rows = [line.split() for line in swept.out.splitlines()[-7:-1]]
    assert rows == [
        ["job", "status", "exact", "run_dir"],
        ["seed=-1", "refused", "-", "-"],
        ["seed=1", "failed", "(1)", "0.9000", "r_sweep/seed=1"],
        ["seed=2", "finished", "0.2500", "*", "r_sweep/seed=2"],
        ["seed=3", "stopped", "-", "r_sweep/seed=3"],
        ["seed=4", "not", "begun", "-", "-"],
    ]
    assert swept.out.splitlines()[-1].startswith("* the best finished job: exact at the last step (4), higher")
    assert swept("seed=-1,-2", "run_dir=r")[0] == 2 and "job  " not in swept.out


def test_every_job_has_a_folder_of_its_own_that_stays(swept, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for root in ("x/a/b", "x/a_b", "x/a,b", "2002"):
        (tmp_path / root).mkdir(parents=True)
    roots = "data.root=x/a/b,x/a_b,'x/a,b',2002,null"
    status, jobs, _ = swept("data=folder", "+data.mixture={}", roots, "run_dir=r")
    folders = [job[-1] for job in jobs]
    assert len(set(folders)) == len(folders) == 4  # null is refused: data=folder needs a root
    assert folders[3] == "run_dir='r_sweep/data.root=2002'"
    before = names("data.root=/x/a/b,/x/a_b")
    assert len(set(before)) == 2 and all(name.startswith("data.root=_x_a_b-") for name in before)
    assert names("data.root='/x/a_b',/y,/x/a/b")[::2] == before[::-1]  # in another order, quoted, with one more


def test_names_of_plain_values_are_the_values():
    assert names("seed=1,2", "optimizer.lr=1e-3,3e-4", "run_dir=r") == [
        "optimizer.lr=0.001,seed=1", "optimizer.lr=0.0003,seed=1",
        "optimizer.lr=0.001,seed=2", "optimizer.lr=0.0003,seed=2",
    ]  # fmt: skip
    assert names("seed=1") == ["only"] and names("seed=choice(7)") == ["seed=7"] and names("seed=1,1") == ["seed=1"]
    long = [sweep.job_name([f"run_dir={'x' * 300}{k}"], {"run_dir"}) for k in (1, 2)]
    assert long[0] != long[1] and max(map(len, long)) < 200


def test_an_auto_run_dir_is_one_folder_for_all_jobs(swept, conf):
    for argv in (["run_dir=auto"], ["--config-dir", str(conf), "experiment=auto"]):
        status, jobs, lines = swept(*argv, "seed=1,2", "optimizer.lr=3e-4", "trainer.max_hours=1")
        assert status == 0, lines
        own = "experiment=auto," if "experiment=auto" in argv else ""
        folder = f"checkpoints/auto/{own}optimizer.lr=3e-4_sweep"
        assert [job[-1] for job in jobs] == [f"run_dir='{folder}/seed={seed}'" for seed in (1, 2)]


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """Makes a folder that of a run with a saved state: of the overrides, after so many steps."""
    monkeypatch.chdir(tmp_path)

    def begin(folder, *overrides, step=4):
        (tmp_path / folder / "states" / str(step)).mkdir(parents=True)
        tree = compose_tree([*overrides, f"run_dir='{folder}'"])
        (tmp_path / folder / "config.json").write_text(json.dumps({"config": tree}))

    return begin


def test_a_sweep_whose_folders_are_taken_is_refused_whole_with_a_command(swept, begun, tmp_path):
    for seed in (1, 2):
        begun(f"r_sweep/seed={seed}", f"seed={seed}", "optimizer.lr=0.5")
    status, jobs, lines = swept("seed=1,2,3", "run_dir=r")
    assert status == 2 and jobs == []
    assert lines == [
        "error: run_dir: r_sweep/seed=1 holds a run of another config (optimizer.lr: 0.5 -> 0.001), and 1 more of 3 "
        "jobs' folders are taken too; no job was begun: repeat the earlier settings to go on with that sweep, or set "
        "another run_dir:",
        "  python -m ifvit train -m seed=1,2,3 run_dir=r-2",
    ]
    assert swept("seed=1,2,3", "run_dir=r", "optimizer.lr=0.5")[0] == 0
    (tmp_path / "r-2_sweep").mkdir()
    assert swept("seed=1,2,3", "run_dir=r")[2][-1].endswith(" run_dir=r-3")
    assert swept("seed=1,2,3", "run_dir=r-2")[0] == 0


def test_a_sweep_without_a_run_dir_is_offered_one(swept, begun):
    begun("checkpoints/quickstart_sweep/seed=2", "experiment=quickstart", "seed=2", step=4000)
    status, jobs, lines = swept("experiment=quickstart", "trainer.max_steps=100", "seed=1,2")
    assert status == 2 and jobs == [] and "already holds step 4000, beyond trainer.max_steps=100" in lines[0]
    assert lines[1].endswith("-m experiment=quickstart trainer.max_steps=100 seed=1,2 run_dir=checkpoints/quickstart-2")


def test_what_cannot_be_run_is_said_beside_what_is_taken(swept, begun):
    begun("r_sweep/seed=2", "seed=2", "optimizer.lr=0.5")
    status, jobs, lines = swept("seed=-1,2", "run_dir=r")
    assert status == 2 and jobs == [] and len(lines) == 3
    assert lines[0].startswith("error: sweep job seed=-1: seed: ") and lines[1].startswith("error: run_dir: r_sweep")


def test_a_root_that_is_not_there_is_one_line_before_the_first_job(swept):
    status, jobs, lines = swept("data=folder", "data.root=/nowhere", "seed=1,2", "run_dir=r")
    assert (status, jobs, lines) == (2, [], ["error: data.root: /nowhere is not there"])


def test_the_parent_of_a_sweep_imports_no_jax(begun):
    begun("r_sweep/seed=1", "seed=1", "optimizer.lr=0.5")
    program = (
        "import sys; from ifvit.cli.train import train_command\n"
        "try: train_command(['-m', 'seed=1,2', 'run_dir=r'])\nexcept SystemExit: print('jax' in sys.modules)"
    )
    ended = ran("-c", program, cwd=".")
    assert ended.stdout == "False\n" and "another config" in ended.stderr


@pytest.fixture
def conf(tmp_path):
    """A folder of one's own configs."""
    folder = tmp_path / "conf"
    (folder / "experiment").mkdir(parents=True)
    for name in ("mine", "mine_too"):
        (folder / "experiment" / f"{name}.yaml").write_text("# @package _global_\nrun_dir: theirs\n")
    (folder / "experiment" / "auto.yaml").write_text("# @package _global_\nrun_dir: auto\n")
    (folder / "own.yaml").write_text("defaults:\n  - train\n  - _self_\nrun_dir: own\n")
    return folder


@pytest.mark.parametrize("flags", ["--config-dir {}", "--config-dir={}", "-cd {}", "hydra.searchpath=[{}]"])
def test_ones_own_configs_reach_parent_check_and_job(swept, conf, monkeypatch, flags):
    monkeypatch.chdir(conf.parent)
    for folder in ("conf", str(conf)):
        place = flags.format(folder).split()
        for argv in ([*place, "experiment=mine"], ["experiment=mine", *place]):
            status, jobs, lines = swept(*argv, "seed=1,2")
            assert status == 0, lines
            assert [job[-1] for job in jobs] == ["run_dir='theirs_sweep/seed=1'", "run_dir='theirs_sweep/seed=2'"]
    # What a job is given composes: it stops at the first thing that lies outside the config.
    ended = ran("-m", "ifvit", "train", "--run", *jobs[0], "dense=loftr", cwd="/")
    assert ended.returncode == 2 and ended.stderr.startswith("error: dense.loftr_pretrained_ckpt: checkpoints/")
    status, jobs, lines = swept(*place, "experiment=glob(mine*)")
    assert [job[1] for job in jobs] == ["experiment=mine", "experiment=mine_too"]


def test_a_main_config_of_ones_own_reaches_the_jobs(swept, conf):
    for argv in (["--config-dir", str(conf), "--config-name", "own"], ["--config-path", str(REPOSITORY / "configs")]):
        status, jobs, lines = swept(*argv, "seed=1,2", "dense=loftr")
        assert status == 0, lines
        ended = ran("-m", "ifvit", "train", "--run", *jobs[0], cwd="/")
        assert ended.returncode == 2 and "loftr_transformer.npz does not exist" in ended.stderr
    assert jobs[0][-1] == "run_dir='checkpoints/dense-loftr-synthetic_sweep/seed=1'"


def test_a_sweep_that_a_config_describes(swept, conf):
    text = "hydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n      seed: 5,6\n      init.resume_from: ü,a=b\n"
    (conf / "experiment" / "many.yaml").write_text("# @package _global_\n" + text)
    status, jobs, lines = swept("--config-dir", str(conf), "experiment=many", "seed=7,8", "run_dir=r")
    assert status == 0 and len({job[-1] for job in jobs}) == 4
    assert {job[1] for job in jobs} == {"seed=7", "seed=8"}
    assert {job[2] for job in jobs} == {"init.resume_from='ü'", "init.resume_from='a=b'"}
    with pytest.raises(SystemExit) as ended:
        train_command(["--config-dir", str(conf), "experiment=many"])
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("hydra.sweep.dir=x", "error: hydra.sweep.dir=x: a run writes only into run_dir, and the jobs of a sweep"),
        ("hydra/launcher=basic", "error: hydra/launcher=basic: a run writes only into run_dir"),
        ("seed=interval(0,1)", "error: seed=interval(0,1): these values cannot be counted; type them, seed=A,B"),
        ("init.dense=a/lr=1,seed=2", "error: init.dense=a/lr=1,seed=2: with -m a comma separates"),
        ("--cfg=job", "error: --cfg: is of one run; leave out -m"),
    ],
)
def test_what_a_sweep_cannot_do_is_refused_in_a_line(swept, argument, line):
    status, jobs, lines = swept(argument)
    assert status == 2 and jobs == [] and len(lines) == 1 and lines[0].startswith(line)


PLUGIN = """
from hydra.plugins.sweeper import Sweeper
from hydra.core.plugins import Plugins

class Draws(Sweeper):
    def __init__(self, n): self.n = n
    def setup(self, *, hydra_context, task_function, config):
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config)
    def sweep(self, arguments):
        jobs = [[a for a in arguments if "interval" not in a] + [f"seed={k}"] for k in range(-1, self.n)]
        print([job.return_value for job in self.launcher.launch(jobs, initial_job_idx=0)])
"""


def test_a_sweeper_of_a_plugin_draws_the_jobs(overrides, conf, tmp_path):
    (tmp_path / "hydra_plugins").mkdir()
    (tmp_path / "hydra_plugins" / "draws.py").write_text(PLUGIN)
    (conf / "hydra" / "sweeper").mkdir(parents=True)
    (conf / "hydra" / "sweeper" / "draws.yaml").write_text("_target_: hydra_plugins.draws.Draws\nn: 1\n")
    argv = ["--config-dir", str(conf), "hydra/sweeper=draws", "seed=interval(0,1)", *overrides("swept")]
    ended = ran("-m", "ifvit", "train", "-m", *argv, cwd=tmp_path)
    assert "error: sweep job seed=-1: seed: expected 0 or more, got -1" in ended.stderr
    assert "error: 1 sweep jobs did not finish: seed=-1" in ended.stderr and ended.returncode == 1, ended.stderr
    value = json.loads((tmp_path / "swept_sweep" / "seed=0" / "metrics.json").read_text())["exact"]
    assert f"[nan, {value}]" in ended.stdout
