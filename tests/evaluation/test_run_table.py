"""Runs side by side, of JSON files alone."""

import csv
import io
import json
import subprocess
import sys

import pytest

from ifvit.cli import main as cli
from ifvit.evaluation.run_files import RunError
from ifvit.evaluation.run_table import shared_name, table
from ifvit.launch import EXIT_REFUSED

RATES = {"fmr100": 0.02, "fmr1000": None, "zero_fmr": 0.04}


@pytest.fixture(scope="module")
def tree():
    from ifvit.config import to_dict
    from ifvit.launch import compose_config

    return to_dict(compose_config([]))


@pytest.fixture
def run(tree, tmp_path):
    """Writes a run's folder: its config with the given seed and rate, its figures, its evaluations' EER by database."""

    def make(name, seed=0, lr=1e-3, exact=0.5, eers=None, **more):
        folder = tmp_path / name
        config = tree | {"seed": seed, "run_dir": str(folder), "optimizer": tree["optimizer"] | {"lr": lr}}
        write(folder / "config.json", {"config": config})
        write(folder / "metrics.json", {"step": 600, "exact": exact, "best": {"step": 400, "exact": 0.75}} | more)
        for database, eer in (eers or {}).items():
            figures = {"eer": eer, **RATES, "enough": {"eer": True, "zero_fmr": False}}
            results = {"protocol": "fvc", "score": "likelihood", "databases": {database: figures}}
            write(folder / "evaluation" / database.replace("/", "_") / "results.json", results)
        return folder

    return make


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def rows_of(text):
    return [dict(row) for row in csv.DictReader(io.StringIO(text))]


def test_runs_that_differ_in_their_seed_are_a_mean_and_a_spread(run):
    folders = [run("a", seed=1, exact=0.5), run("b", seed=2, exact=0.7), run("c", seed=1, lr=0.01)]
    first, second = rows_of(table(folders, "csv"))
    assert first["run"] == "a, b" and first["seeds"] == "1, 2" and second["run"] == "c"
    assert float(first["val. exact"]) == pytest.approx(0.6) and first["val. exact runs"] == "2"
    assert float(first["val. exact deviation"]) == pytest.approx(0.02**0.5)
    assert second["val. exact deviation"] == ""
    assert "0.600 ± 0.141" in table(folders, "markdown") and r"0.600 $\pm$ 0.141" in table(folders, "latex")


@pytest.mark.parametrize(
    ("names", "shared"),
    [
        ("lr=0.1,seed=1 lr=0.1,seed=10 lr=0.1,seed=2", "lr=0.1"), ("x-seed1 x-seed2", "x"), ("x_s1_b x_s2_b", "x_s_b"),
        ("seed1-big seed2-big", "big"), ("run1 run12", "run"), ("seed=1 seed=2", "x_sweep"), ("seed=1", "seed=1"),
        ("alpha beta", "alpha, beta"), ("x-seed=1,lr=1 x-seed=2,lr=1", "x,lr=1"), ("linseed1 linseed2", "linseed"),
    ],
)  # fmt: skip
def test_a_group_is_called_by_what_its_runs_share(tmp_path, names, shared):
    assert shared_name([tmp_path / "x_sweep" / name for name in names.split()]) == shared


def test_only_what_differs_is_a_column(run):
    (row, other) = rows_of(table([run("a"), run("b", lr=0.01)], "csv"))
    assert {key for key in row if "." in key and "val." not in key} == {"optimizer.lr"}
    assert (row["optimizer.lr"], other["optimizer.lr"]) == ("0.001", "0.01")


def test_a_seed_that_comes_twice_is_no_further_run_of_its_mean(run):
    assert [row["seeds"] for row in rows_of(table([run("a"), run("copy"), run("b", seed=1)], "csv"))] == ["0, 1", "0"]


def test_every_database_has_its_figures_and_what_is_missing_is_a_dash(run):
    folder = run("a", eers={"FVC/DB1": 0.0125, "FVC/DB2": 0.5})
    text = table([folder, run("b", lr=0.01, eers={"FVC/DB1": 0.02})], "markdown", ["eer", "zero_fmr"])
    heading, _, first, second = (line.strip("| ").split(" | ") for line in text.splitlines()[:4])
    first, second = (dict(zip(map(str.strip, heading), map(str.strip, row), strict=True)) for row in (first, second))
    assert first["FVC/DB1 EER %"] == "1.25" and first["FVC/DB2 EER %"] == "50.00"
    assert second["FVC/DB1 EER %"] == "2.00" and second["FVC/DB2 EER %"] == "-"
    assert "FMR1000" not in table([folder], "markdown")  # none has it
    assert first["FVC/DB1 ZeroFMR %"] == r"4.00\*" and "means little: too few pairs" in text


def test_few_figures_are_shown_the_objective_first_and_others_where_they_are_named(run):
    folder = run("a", eers={"FVC/DB1": 0.01}, within_one=0.9, loss=1.5)
    assert figures_of(table([folder], "csv")) == ["val. exact", "val. best exact", "val. within one", "FVC/DB1 EER"]
    (row,) = rows_of(table([folder], "csv", ["zero_fmr", "loss", "best.step"]))
    assert figures_of(table([folder], "csv", ["zero_fmr", "loss", "best.step"])) == [
        "val. loss", "val. best step", "FVC/DB1 ZeroFMR",
    ]  # fmt: skip
    assert (row["val. loss"], row["val. best step"], row["FVC/DB1 ZeroFMR"]) == ("1.5", "400.0", "0.04")


def figures_of(text):
    """The columns of figures, without their deviations and numbers of runs."""
    columns = text.splitlines()[0].split(",")
    return columns[columns.index("steps") + 1 :: 3]


@pytest.mark.parametrize(
    ("names", "line"),
    [("exat", "error: --figures: no run has exat; did you mean exact?\n"), ("eer", "no run has eer; there are best."),
     ("exact,,loss", "expected names with commas between them, like best.exact,eer")],
)  # fmt: skip
def test_a_figure_that_no_run_has_is_refused_with_those_there_are(run, capsys, names, line):
    assert line in refused(capsys, str(run("a")), "--figures", names)


def test_two_evaluations_of_one_name_are_not_taken_for_one(run):
    folder = run("a", eers={"FVC/DB1": 0.01})
    other = json.loads((folder / "evaluation" / "FVC_DB1" / "results.json").read_text())
    write(folder / "evaluation" / "results.json", other)
    assert float(rows_of(table([folder], "csv"))[0]["FVC/DB1 EER"]) == 0.01
    other["databases"]["FVC/DB1"]["eer"] = 0.3
    write(folder / "evaluation" / "results.json", other)
    with pytest.raises(RunError, match=r"both evaluate FVC/DB1 \(protocol fvc\), with other figures; move one of them"):
        table([folder], "csv")
    other["protocol"] = "all"
    write(folder / "evaluation" / "results.json", other)
    row = rows_of(table([folder], "csv"))[0]
    assert (row["FVC/DB1 fvc EER"], row["FVC/DB1 all EER"]) == ("0.01", "0.3")


@pytest.fixture
def evaluation(tmp_path):
    """Writes the folder of an evaluation that lies in no run."""

    def make(name, eer, run="none: ridges and minutiae alone", enhancement="gabor", database="FVC/DB1"):
        figures = {"eer": eer, **RATES, "enough": {"eer": True}}
        results = {"protocol": "fvc", "score": "likelihood", "run": run, "enhancement": enhancement}
        write(tmp_path / "alone" / name / "results.json", results | {"databases": {database: figures}})
        return tmp_path / "alone" / name

    return make


def test_evaluations_without_a_run_stand_beside_runs(run, evaluation):
    trained = run("a", eers={"FVC/DB1": 0.01})
    alone = evaluation("one", 0.02), evaluation("two", 0.03, database="FVC/DB2")
    row, ridges = rows_of(table([alone[1], trained, alone[0]], "csv"))
    assert (row["run"], ridges["run"]) == ("a", "none: ridges and minutiae alone")
    assert (row["FVC/DB1 EER"], ridges["FVC/DB1 EER"], ridges["FVC/DB2 EER"]) == ("0.01", "0.02", "0.03")
    assert (ridges["seeds"], ridges["steps"], ridges["val. exact"]) == ("-", "-", "")
    assert [key for key in row if "." in key and "val." not in key] == ["data.ridge_mask"]
    assert rows_of(table([alone[0].parent], "csv")) == rows_of(table(alone, "csv"))  # a folder of them


def test_evaluations_are_grouped_by_their_scorers(evaluation, capsys):
    folders = [evaluation("one", 0.02), evaluation("two", 0.03, enhancement="pyfing"), evaluation("three", 0.04, "x")]
    rows = [(row["run"], row["data.ridge_mask"], row["FVC/DB1 EER"]) for row in rows_of(table(folders, "csv"))]
    ridges = "none: ridges and minutiae alone"
    assert rows == [(ridges, "gabor", "0.02"), (ridges, "pyfing", "0.03"), ("x", "gabor", "0.04")]
    again = evaluation("again", 0.5)
    assert refused(capsys, str(folders[0]), str(again)).endswith("with other figures; leave one of them out\n")
    write(again / "results.json", {"databases": {}})
    assert "again/results.json: not an evaluation's results.json" in refused(capsys, str(again))


def test_a_sweeps_folder_is_its_runs_and_each_counts_once(run, tmp_path):
    folder = run("x_sweep/seed=1", seed=1)
    run("x_sweep/seed=2", seed=2)
    (tmp_path / "x_sweep" / "refused").mkdir()
    (row,) = rows_of(table([tmp_path / "x_sweep", folder], "csv"))
    assert row["seeds"] == "1, 2"


def test_a_run_that_was_not_validated_yet_has_dashes(run):
    folder = run("b", seed=1)
    (folder / "metrics.json").unlink()
    untrained = run("c", seed=2, lr=0.2, step=0, best=None)
    _, *others = rows_of(table([run("a", lr=0.1), folder, untrained], "csv"))
    assert [row["steps"] for row in others] == ["-", "0"]
    assert {(row["val. exact"], row["val. exact runs"]) for row in others} == {("", "0")}


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("config.json", "{", "config.json: not a run's config.json"),
        ("config.json", '{"config": 3}', "config.json: not a run's config.json"),
        ("config.json", '{"config": {"stage": "dense", "seed": Infinity}}', "config.json: not a run's config.json"),
        ("config.json", '{"config": ' + 900 * '{"a": ' + "1" + 901 * "}", "config.json: "),
        ("metrics.json", "[1]", "metrics.json: not a run's metrics.json"),
        ("evaluation/results.json", '{"databases": 1}', "results.json: not an evaluation's results.json"),
    ],
)
def test_a_damaged_file_is_refused_by_name(run, capsys, name, content, line):
    folder = run("a")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(content)
    assert refused(capsys, str(folder)).startswith(f"error: {folder / name}".rpartition("/")[0] + f"/{line}")


def refused(capsys, *argv):
    with pytest.raises(SystemExit) as ended:
        cli.main(["table", *argv])
    assert ended.value.code == EXIT_REFUSED
    return capsys.readouterr().err


@pytest.mark.parametrize("number", [10**400, 1.7e308, True, "0.5", [0.5]])
def test_what_can_be_no_figure_is_none(run, number):
    folders = [run("a", exact=number), run("b", seed=1, exact=number)]
    assert "val. exact" not in rows_of(table(folders, "csv"))[0]


def test_a_folder_that_is_no_run_is_refused_by_name(run, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    assert refused(capsys, str(run("a")), str(tmp_path / "photos")) == (
        f"error: {tmp_path / 'photos'}: no run, no evaluation and no folder of such (has neither config.json nor "
        "results.json); give the run_dir of a training run or the --out of an evaluation\n"
    )
    assert "(is not there)" in refused(capsys, str(tmp_path / "absent"))


def test_the_table_is_written_and_needs_no_jax(run, tmp_path):
    out = tmp_path / "t" / "table.tex"
    argv = ["table", str(run("a")), "--format", "latex", "--out", str(out)]
    program = f"import sys; from ifvit.cli.main import main; main({argv})\nsys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
    assert out.read_text().startswith("% \\usepackage{booktabs}\n\\begin{tabular}")


def test_a_real_run_has_a_row(finished):
    (row,) = rows_of(table([finished[0]], "csv"))
    assert float(row["val. exact"]) == pytest.approx(finished[1].value, abs=1e-6) and row["steps"] == "4"
