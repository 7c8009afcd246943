"""What a shell offers; and, where the shells are installed, that the scripts bring it into them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ifvit.cli import main as cli
from ifvit.cli.completion import SHELLS, TAKES, candidates, script
from tests.helpers.places import REPOSITORY


def offered(line):
    """What may follow a command line, the program's name left out."""
    return candidates(line.split(" "), cli._parser())


@pytest.mark.parametrize(
    ("line", "texts"),
    [
        ("comp", ["compare ", "completion "]),
        ("data p", ["pairs ", "prepare "]),
        ("--v", ["--version "]),
        ("compare a.png b.png --p", ["--picture ", "--ppi "]),
        ("compare a.png", []),  # files
        ("compare a b --picture ", []),
        ("evaluate RUN --protocol s", ["sd302 ", "sd4 "]),
        ("evaluate RUN dat", ["data.", "data="]),
        ("evaluate RUN data=m", ["data=manifest ", "data=mixture ", "data=molf "]),
        ("evaluate RUN optim", []),  # comes from the run
        ("data prepare RUN data.impression.w", ["data.impression.wear="]),
        ("synthesize data=", []),
        ("synthesize data.impression.sensors=i", ["data.impression.sensors=inked "]),
        ("verify dense=loftr_", ["dense=loftr_full "]),
        ("train optimizer", ["optimizer.", "optimizer="]),
        ("train optimizer.l", ["optimizer.lr="]),
        ("train -m seed=1,2 experiment=q", ["experiment=quickstart "]),
        ("train dense.use_loftr=", ["dense.use_loftr=false ", "dense.use_loftr=true "]),
        ("train trainer.device=g", ["trainer.device=gpu "]),
        ("train data.root=/da", []),
        ("train data.mixture.fvc2002.r", ["data.mixture.fvc2002.root="]),
        ("train --c", ["--cfg ", "--config-dir ", "--config-name ", "--config-path "]),
        ("train --cfg j", ["job "]),
        ("train --config-dir ", []),
        ("completion ", ["bash ", "fish ", "zsh "]),
        ("nonsense ", []),
    ],
)
def test_words_are_completed(line, texts):
    assert offered(line) == texts


def test_base_files_are_not_offered():
    assert "data=base " not in offered("train data=") and "data=fvc " in offered("train data=")


def test_files_of_ones_own_are_offered_where_no_shell_could_obey_them(tmp_path):
    (tmp_path / "experiment").mkdir()
    for name in ("mine", "$(touch x)", "a;b"):
        (tmp_path / "experiment" / f"{name}.yaml").touch()
    texts = candidates(["train", "--config-dir", str(tmp_path), "experiment="], cli._parser())
    assert "experiment=mine " in texts and not any(sign in text for text in texts for sign in "$;()")


def test_every_command_of_the_table_exists():
    for names in TAKES:
        parser = cli._parser()
        for name in names.split():
            parser = parser.commands[name]


def test_an_answer_needs_neither_hydra_nor_jax():
    code = (
        "import sys; from ifvit.cli import main\nmain.main(['--complete', 'train', 'seed'])\n"
        "print([name for name in ('hydra', 'omegaconf', 'jax', 'numpy') if name in sys.modules])"
    )
    assert ran(sys.executable, "-c", code) == "seed=\n[]\n"


def ran(*command):
    environment = os.environ | {
        "PYTHONPATH": str(REPOSITORY),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=REPOSITORY).stdout


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_is_printed_for_each_shell(shell, capsys):
    cli.main(["completion", shell])
    assert capsys.readouterr().out == script(shell)
    assert "--complete" in script(shell)


IN_BASH = """
eval "$(python -m ifvit completion bash)"
compopt() { :; }  # of the line editor
try() { COMP_LINE="$1" COMP_POINT=${#1}; COMPREPLY=(); _ifvit_complete python; printf '%s|' "${COMPREPLY[@]}"; echo; }
try "python -m ifvit comp"; try "python -m ifvit train dense=l"; try 'python -m ifvit train "$(echo owned >&2)" see'
COMPREPLY=(untouched); try "python -m json"; complete -p ifvit python | cut -d' ' -f7-
"""


def test_bash_completes_what_is_typed():
    assert ran("bash", "-c", IN_BASH).splitlines() == [
        "compare |completion |", "loftr |loftr_full |", "seed=|", "|", "_ifvit_complete ifvit", "_ifvit_complete python"
    ]  # fmt: skip


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed")
def test_fish_completes_what_is_typed():
    code = (
        "python -m ifvit completion fish | source; for line in 'python -m ifvit comp' 'python -m ifvit train dense=l' "
        "'python -m ifvit train data.root=/tm'; complete -C $line; end"
    )
    assert ran("fish", "-c", code).split() == [
        "compare",
        "completion",
        "dense=loftr",
        "dense=loftr_full",
        "data.root=/tmp/",
    ]


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed")
def test_zsh_takes_the_script():
    code = (
        'autoload -Uz compinit && compinit -u -D; eval "$(python -m ifvit completion zsh)"; '
        "print -r -- $_comps[ifvit] $_comps[python]"
    )
    assert ran("zsh", "-f", "-c", code) == "_ifvit_complete _ifvit_complete\n"
