"""How the program calls itself, and that it ends by a plain line however early it is stopped."""

import ast
import os
import platform
import signal
import subprocess
import sys
import time

import pytest

from ifvit import program
from ifvit.cli.common import BEGINS_AGAIN, RESUMES
from tests.helpers.places import REPOSITORY

STOPPED = "stopped; type the same command again"
# Runs a file or module as python does, and sends itself a signal where one of its modules is about to be imported.
EARLY = """
import os, runpy, signal, sys

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == {at!r}:
            os.kill(os.getpid(), signal.{number})

sys.meta_path.insert(0, Watch())
sys.argv = {argv!r}
sys.path.insert(0, "")
if sys.argv[0].endswith(".py"):
    runpy.run_path(sys.argv[0], run_name="__main__")
else:
    runpy.run_module("ifvit", run_name="__main__", alter_sys=True)
"""


def ended(*command, cwd=REPOSITORY):
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=cwd, env=environment)


@pytest.mark.parametrize(
    ("argv", "at", "line"),
    [
        (["ifvit", "compare", "a.png", "b.png"], "ifvit.cli.main", STOPPED),
        (["ifvit", "compare", "a.png", "b.png"], "argparse", STOPPED),
        (["ifvit", "data", "pairs", "x", "--protocol", "fvc", "--out", "p.csv"], "numpy", BEGINS_AGAIN),
        (["ifvit", "evaluate", "data=folder", "data.root=x"], "hydra", RESUMES),
        (["ifvit", "evaluate", "data=folder", "data.root=x"], "jax", RESUMES),
        (["ifvit", "train", "debug=smoke"], "omegaconf", STOPPED),
        (["train.py", "debug=smoke"], "ifvit.cli.train", STOPPED),
        (["train.py", "debug=smoke"], "jax.numpy", STOPPED),
    ],
)
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_command_that_still_imports_is_stopped_by_a_line(argv, at, line, number, tmp_path):
    argv = [str(REPOSITORY / word) if word == "train.py" else word for word in argv]
    stopped = ended("-c", EARLY.format(argv=argv, at=at, number=number), cwd=tmp_path)
    assert (stopped.returncode, stopped.stdout, stopped.stderr) == (75, "", f"{line}\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_is_stopped_from_outside_in_its_first_moments(number, tmp_path):
    """As a user does it: whenever the signal comes, it is the status and one line."""
    for wait in (0.0, 0.1, 0.3):
        command = [sys.executable, "-c", BEGUN, "train", "debug=smoke"]
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes) as process:
            assert process.stdout.read(1) == "."  # signals are heard
            time.sleep(wait)
            process.send_signal(number)
            _, error = process.communicate(timeout=60)
        assert process.returncode == 75 and "Traceback" not in error and error.startswith("stopped"), error


BEGUN = """
import ast
import os
import platform
from ifvit import __main__, program

listen = program.listen
program.listen = lambda: (listen(), os.write(1, b"."))
__main__.console_script()
"""


def test_between_imports_it_is_a_keyboard_interrupt(monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        program._stop(signal.SIGTERM, sys._getframe())


def test_what_is_ignored_stays_ignored():
    code = (
        "import os, signal\nfrom ifvit import program\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "with program.started('ifvit'): os.kill(os.getpid(), signal.SIGHUP)\nprint('on')"
    )
    assert ended("-c", code).stdout == "on\n"


@pytest.mark.parametrize(
    ("start", "commands"),
    [
        ({"name": "ifvit"}, ["ifvit", "ifvit train", "ifvit train seed=1", "ifvit data check"]),
        (
            {"name": program.MODULE},
            ["python -m ifvit", "python -m ifvit train", "python -m ifvit train seed=1", "python -m ifvit data check"],
        ),
        (
            {"name": program.MODULE, "script": "train.py"},
            ["python -m ifvit", "python train.py", "python train.py seed=1", "python -m ifvit data check"],
        ),
    ],
)
def test_commands_are_called_as_they_were_typed(start, commands, monkeypatch):
    monkeypatch.setattr(program, "listen", lambda: None)
    monkeypatch.setattr(program, "_start", dict(program._start))
    with program.started(**start):
        assert [program.command(words) for words in ("", "train", "train seed=1", "data check")] == commands
        assert (
            program.with_commands("`python train.py a` or `python -m ifvit b`")
            == f"`{commands[1]} a` or `{commands[0]} b`"
        )


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["-m", "ifvit"], "python -m ifvit"),
        (["-c", "from ifvit.__main__ import console_script; console_script()"], "ifvit"),
    ],
)
def test_each_way_to_start_it_is_named_in_usage_and_errors(command, name):
    assert ended(*command, "compare", "--help").stdout.startswith(f"usage: {name} compare ")
    assert ended(*command, "compare").stderr.endswith(f"(see {name} compare --help)\n")
    assert f"\n  {name} train experiment=quickstart " in ended(*command, "train", "--help").stdout
    assert f"type {name} completion bash" in ended(*command, "train", "--shell-completion").stderr


def test_the_front_door_is_named_in_its_help():
    assert "\n  python train.py experiment=quickstart " in ended("train.py", "--help").stdout
    line = ended("train.py", "stage=matcher", "init.dense=x", "data=prepared").stderr
    assert "x is no run directory" in line


def test_a_refusal_acts_on_no_terminal(capsys):
    with pytest.raises(SystemExit):
        program.refuse(["\x1b[2J.png is taken:\n  train.py seed=1"])
    assert capsys.readouterr().err == "error: ?[2J.png is taken:\n  train.py seed=1\n"


# A set's README.txt is the same wherever it was made.
MAY_NAME_IT = {"program.py", "data/finger_set.py"}


@pytest.mark.parametrize("path", sorted((REPOSITORY / "ifvit").rglob("*.py")), ids=lambda path: path.name)
def test_no_message_names_the_program_by_itself(path):
    tree = ast.parse(path.read_text())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = {id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, documented)
                  and node.body and isinstance(node.body[0], ast.Expr)}  # fmt: skip
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
             and id(node) not in docstrings]  # fmt: skip
    if str(path.relative_to(REPOSITORY / "ifvit")) not in MAY_NAME_IT:
        assert not [text for text in texts if "python -m ifvit" in text or "train.py " in text]


FREED_MEMORY = """
import resource
import sys

import numpy as np

from ifvit import program

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**26, np.uint8)  # 64 MB, freed at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

with program.started("a test"):
    faults()
    print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is set")
def test_freed_memory_is_kept_for_the_next_use():
    """A page that went back to the system costs a fault at its next use."""
    result = subprocess.run([sys.executable, "-c", FREED_MEMORY], capture_output=True, text=True, check=True)
    assert int(result.stdout) < 1000  # of 16,384 pages
