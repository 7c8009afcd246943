"""Every name that a run or an evaluation writes is explained, in short and at length."""

import json
import shutil
from pathlib import Path

import pytest

from ifvit import glossary
from ifvit.cli import main as cli
from ifvit.evaluation import evaluate as run_module
from ifvit.evaluation.robustness import Robustness
from ifvit.metrics import over_matches
from tests.helpers.places import REPOSITORY

pytestmark = pytest.mark.slow


DOCS = (REPOSITORY / "docs" / "metrics.md").read_text()
NAMED = ("databases", "sources")  # whose keys are names that people give


def keys_of(tree, named=False):
    """Every key of a tree, but for names that people give."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            if not named:
                yield key
            yield from keys_of(value, named=key in NAMED)
    elif isinstance(tree, list):
        for value in tree:
            yield from keys_of(value)


@pytest.fixture(scope="module")
def written(runs, finished, prints, tmp_path_factory):
    """The keys of every file of figures: of both stages' runs, and of an evaluation."""
    copy = shutil.copytree(finished[0], tmp_path_factory.mktemp("glossary") / "run")
    (copy / "split.csv").unlink()  # it is judged on what it was trained on
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(run_module, "WORST", 0)
        data = ["data=folder", f"data.root={prints}", "data.file_ppi=250"]
        cli.main(["evaluate", str(copy), *data, "--out", str(copy / "out")])
    files = [runs / "dense" / "metrics.json", runs / "matcher" / "metrics.json", copy / "out" / "results.json"]
    trees = [json.loads(Path(file).read_text()) for file in files]
    more = {
        "robustness": dict.fromkeys(Robustness._fields),
        "baseline": {"name": "", "version": "", "databases": {}},
        "sources": {},
        "arc": 0,
        "fine": 0,
        **{f"{stage}_{name}": 0 for stage in ("coarse", "fine") for name in over_matches([])},
    }
    return set(keys_of([*trees, more]))


def test_every_name_is_in_the_glossary(written):
    assert {"exact", "pck_3", "coarse_pck_10", "global_embedding", "eer_low", "tar", "enough", "command"} <= written
    assert sorted(key for key in written if glossary.term_of(key) is None) == []


def test_every_term_is_in_the_docs():
    for terms in glossary.GROUPS.values():
        for term in terms:
            for name in term.name.removesuffix(", *").split(", "):
                assert name.strip("[]") in DOCS, name
            for key in term.keys:
                # Module 1's figures of a branch are told once for both.
                assert f"`{key}`" in DOCS or f"`{key.replace('local_', 'global_')}`" in DOCS, key


def test_the_docs_are_linked():
    assert "(metrics.md)" in (REPOSITORY / "docs" / "matching.md").read_text()
    assert (REPOSITORY / glossary.DOCS).is_file()


def test_a_number_in_a_key_is_any_number():
    assert glossary.term_of("pck_7") is glossary.term_of("pck_3") is not glossary.term_of("coarse_pck_3")
    assert glossary.term_of("pck_x") is None and glossary.term_of("nonsense") is None


def test_help_explains_the_figures(capsys):
    with pytest.raises(SystemExit):
        cli.main(["evaluate", "--help"])
    shown = capsys.readouterr().out
    for name in glossary.SHORT:
        assert f"  {name}" in shown
    assert "the lowest FNMR at an FMR of at most 0.1 %" in shown and "docs/metrics.md" in shown
    assert max(map(len, glossary.epilog().splitlines())) <= 100
