"""From a database and a Module 1 to a folder of registered pairs, in one go or in many."""

import csv
import json
import shutil
from collections import Counter

import numpy as np
import pytest

from ifvit.cli import main as cli
from ifvit.comparison.matcher_print import matcher_prints
from ifvit.config import Enhancement
from ifvit.data.prepared import map_points, pair_blocks, print_blocks
from ifvit.databases.prepared_table import read_info, read_records
from ifvit.databases.splits import read_split
from ifvit.enhancement.enhancer import Enhancer
from ifvit.errors import DataError
from ifvit.image import ImageError, read
from ifvit.registration.similarity import transform
from ifvit.storage import blocks as blocks_module
from tests.helpers.aligned_prints import (
    EACH,
    FINGERS,
    SIDE,
    Aligner,
    cause_of,
    data_of,
    fvc_tree,
    homography_of,
    module1,
    prepare,
)

pytestmark = pytest.mark.slow


COUNT = 2 * FINGERS * EACH
GENUINE = 2 * FINGERS * EACH * (EACH - 1) // 2


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return fvc_tree(tmp_path_factory.mktemp("fvc"))


def pairs_in(out):
    summary = read_info(out)
    blocks = list(pair_blocks(out, summary.frame).read_all(summary.pairs))
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def prints_in(out):
    summary = read_info(out)
    blocks = list(print_blocks(out, summary.frame).read_all(summary.prints))
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def contents(out):
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_what_lies_there_afterwards(root, tmp_path, monkeypatch, small_blocks):
    out, model = tmp_path / "out", module1()
    summary = prepare(monkeypatch, out, model, data_of(root))
    assert summary == json.loads((out / "prepared.json").read_text()) and summary["module1"] == model.digest()
    records, pairs = read_records(out), pairs_in(out)
    assert len(records) == COUNT and pairs["genuine"].sum() == GENUINE
    assert {record.subject for record in records.values()} == {
        f"FVC2002/DB{d}_B/{101 + f}" for d in (1, 2) for f in range(FINGERS)
    }
    assert {record.ppi for record in records.values()} == {500.0, 569.0}
    part = read_split(out / "split.csv").part
    sides = [[records[k] for k in pairs[side].tolist()] for side in ("first", "second")]
    for a, b, genuine in zip(*sides, pairs["genuine"].tolist(), strict=True):
        assert (a.identity == b.identity) == genuine and a != b
        # An impostor pair is of one database, and of one part of the split: else nobody could be shown it.
        assert a.database == b.database and part[a.subject] == part[b.subject]
    assert (~pairs["genuine"]).sum() > GENUINE // 2
    prints = prints_in(out)
    for k in range(len(pairs["first"])):
        a, b = (prints["grey"][pairs[side][k]] for side in ("first", "second"))
        assert pairs["cause"][k] == cause_of(a, b, pairs["genuine"][k])
    np.testing.assert_array_equal(pairs["failed"], pairs["cause"] != "")
    assert not pairs["to_first"][pairs["failed"]].any() and 0 < pairs["failed"].sum() < len(pairs["failed"])
    for kind, chosen in (("genuine", pairs["genuine"]), ("impostor", ~pairs["genuine"])):
        expected = Counter(cause or "registered" for cause in pairs["cause"][chosen].tolist())
        assert summary["pairs"][kind] == dict(expected)
    assert summary["pairs"]["genuine"]["ridges_disagree"] > 0 and "ridges_disagree" not in summary["pairs"]["impostor"]


def test_the_maps_are_those_of_the_alignment_in_px_of_the_frames(root, tmp_path, monkeypatch):
    out, model = tmp_path / "out", module1()
    prepare(monkeypatch, out, model, data_of(root, "data.databases=[DB2_B]"))
    pairs, points = pairs_in(out), map_points((SIDE, SIDE))
    assert points.shape == (9, 9, 2) and points[-1, -1].tolist() == [64, 64]
    assert len(model.aligner.asked) == len(pairs["first"])
    for k, (a, b) in enumerate(model.aligner.asked):
        if pairs["failed"][k]:
            continue
        homography = homography_of(a.of_networks.canvas.grey, b.of_networks.canvas.grey)
        on_a = transform(homography, b.to_ridges(points, 250.0))
        np.testing.assert_allclose(pairs["to_first"][k], a.to_canvas(on_a, 250.0), atol=1e-3)
        on_b = transform(np.linalg.inv(homography), a.to_ridges(points, 250.0))
        np.testing.assert_allclose(pairs["to_second"][k], b.to_canvas(on_b, 250.0), atol=1e-3)


def test_a_print_without_ridges_at_500_ppi_costs_its_pairs(root, tmp_path, monkeypatch):
    out, model = tmp_path / "out", module1()
    data = data_of(root, "data.databases=[DB1_B]")
    real = Aligner.prints_of

    def without_one(aligner, scans, ppis):
        for k, shown in enumerate(real(aligner, scans, ppis)):
            yield ImageError("no ridges found") if k == 0 else shown

    monkeypatch.setattr(Aligner, "prints_of", without_one)
    prepare(monkeypatch, out, model, data)
    pairs = pairs_in(out)
    lost = pairs["cause"] == "no_ridges"
    assert 0 < lost.sum() < len(lost) and lost.sum() == len(lost) - len(model.aligner.asked)
    assert ((pairs["first"] == 0) | (pairs["second"] == 0))[lost].all()


@pytest.mark.parametrize("enhancement", [Enhancement.none, Enhancement.gabor])
def test_the_prints_are_those_of_inference(root, tmp_path, monkeypatch, small_blocks, enhancement):
    out, model = tmp_path / "out", module1(enhancement=enhancement)
    data = data_of(root, "data.databases=[DB2_B]", f"data.cache_dir={tmp_path / 'cache'}")
    prepare(monkeypatch, out, model, data, enhancement)
    prints, enhancer = prints_in(out), Enhancer(enhancement, str(tmp_path / "cache"))
    for k, record in read_records(out).items():
        ((canvas, lines),) = matcher_prints([read(record.path)], [record.ppi], model, enhancer)
        np.testing.assert_array_equal(prints["grey"][k], canvas.grey)
        np.testing.assert_array_equal(prints["enhanced"][k], lines)
        ridges = np.unpackbits(prints["ridges"][k]).reshape(SIDE, SIDE)
        np.testing.assert_array_equal(ridges, canvas.ridges)
        assert prints["background"][k] == canvas.background


def test_it_goes_on_where_it_was_stopped(root, tmp_path, monkeypatch, small_blocks):
    data, out = data_of(root), tmp_path / "out"
    prepare(monkeypatch, tmp_path / "whole", uninterrupted := module1(), data)
    total = len(uninterrupted.aligner.asked)
    with pytest.raises(KeyboardInterrupt):
        prepare(monkeypatch, out, module1(stop=17), data)
    with pytest.raises(DataError, match="is not complete: type the same command"):
        read_records(out)
    assert sorted(path.name for path in (out / "pairs").iterdir()) == ["00000.npz", "00001.npz"]
    monkeypatch.setattr("ifvit.data.prepare._print_block", lambda *_: pytest.fail("prints prepared again"))
    prepare(monkeypatch, out, again := module1(), data)
    assert len(again.aligner.asked) == total - 14
    assert contents(out) == contents(tmp_path / "whole")
    prepare(monkeypatch, out, third := module1(), data)
    assert third.aligner.asked == [] and contents(out) == contents(tmp_path / "whole")


def test_a_kill_while_prints_are_made(root, tmp_path, monkeypatch, small_blocks):
    asked, data = [], data_of(root)

    def interrupted_read(path):
        asked.append(path)
        if len(asked) > 12:
            raise KeyboardInterrupt
        return read(path)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("ifvit.image.each_image.read", interrupted_read)
        prepare(monkeypatch, tmp_path / "out", module1(), data)
    assert len(list((tmp_path / "out" / "prints").iterdir())) == 2
    prepare(monkeypatch, tmp_path / "out", module1(), data)
    prepare(monkeypatch, tmp_path / "whole", module1(), data)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_full_disk(root, tmp_path, monkeypatch, small_blocks):
    data, real = data_of(root), blocks_module.write_whole

    def write_to_full_disk(path, write):
        if path.parent.name == "pairs" and path.name == "00002.npz":
            raise OSError(28, "No space left on device", str(path))
        real(path, write)

    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space"):
        patched.setattr(blocks_module, "write_whole", write_to_full_disk)
        prepare(monkeypatch, tmp_path / "out", module1(), data)
    prepare(monkeypatch, tmp_path / "out", module1(), data)
    assert len(read_records(tmp_path / "out")) == COUNT


@pytest.fixture
def done(root, tmp_path, monkeypatch):
    prepare(monkeypatch, tmp_path / "out", module1(), data_of(root))
    return tmp_path / "out"


@pytest.mark.parametrize(
    "model, overrides, changes, differs",
    [
        (dict(weight=2.0), [], {}, "module1"),
        (dict(frame=(SIDE, 32)), [], {}, "frame"),
        (dict(ppi=200.0), [], {}, "ppi"),
        (dict(enhancement=Enhancement.gabor), [], {}, "ridges"),
        ({}, ["data.databases=[DB1_B]"], {}, "images, split"),
        ({}, ["data.val_fingers=2"], {}, "split"),
        ({}, ["data.file_ppi=600"], {}, "images"),
        ({}, [], dict(seed=1), "seed"),
        ({}, [], dict(impostors=3), "impostors"),
        ({}, [], dict(enhancement=Enhancement.gabor), "enhancement"),
    ],
)
def test_other_settings_are_refused_by_name(root, done, monkeypatch, model, overrides, changes, differs):
    before = contents(done)
    with pytest.raises(
        DataError, match=f"out holds what was prepared otherwise .{differs} differ.; name another --out"
    ):
        prepare(monkeypatch, done, module1(**model), data_of(root, *overrides), **changes)
    assert contents(done) == before


def test_another_folder_is_left_alone(root, tmp_path, monkeypatch):
    out = tmp_path / "mine"
    out.mkdir()
    (out / ".key.json-1-2.tmp").touch()  # as a kill leaves it
    prepare(monkeypatch, out, module1(), data_of(root))
    shutil.rmtree(out)
    out.mkdir()
    (out / "letters.txt").write_text("dear")
    with pytest.raises(DataError, match="mine holds something else than prepared prints"):
        prepare(monkeypatch, out, module1(), data_of(root))
    assert [path.name for path in out.iterdir()] == ["letters.txt"]
    with pytest.raises(DataError, match="letters.txt holds something else"):
        prepare(monkeypatch, out / "letters.txt", module1(), data_of(root))


def test_damaged_images_are_counted_named_and_left_out(root, tmp_path, monkeypatch, capsys):
    tree, out = shutil.copytree(root, tmp_path / "tree"), tmp_path / "out"
    (tree / "FVC2002" / "DB1_B" / "102_2.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"1 of 24 images cannot be used(.|\n)*max_damaged=1(.|\n)*102_2.png"):
        prepare(monkeypatch, out, module1(), data_of(tree))
    # Allowed, it goes on with what was read.
    summary = prepare(monkeypatch, out, module1(), data_of(tree, "data.max_damaged=1"))
    assert summary["prints"] == {"listed": COUNT, "unusable": 1} and len(read_records(out)) == COUNT - 1
    assert "102_2.png" in capsys.readouterr().err
    rows = list(csv.DictReader((out / "prints.csv").open()))
    (unusable,) = [row for row in rows if row["unusable"]]
    assert len(rows) == COUNT and "102_2.png" in unusable["unusable"] and unusable["impression"] == "2"
    assert rows.index(unusable) not in {*pairs_in(out)["first"].tolist(), *pairs_in(out)["second"].tolist()}


def test_one_image_of_two_fingers_is_refused(root, tmp_path, monkeypatch):
    tree = shutil.copytree(root, tmp_path / "tree") / "FVC2002" / "DB1_B"
    shutil.copy(tree / "101_1.png", tree / "103_2.png")
    with pytest.raises(DataError, match="101_1.png and .*103_2.png are one image"):
        prepare(monkeypatch, tmp_path / "out", module1(), data_of(tree.parents[1]))


def test_how_many_impostors(root, tmp_path, monkeypatch):
    for asked, expected_count in (
        (0, 0),
        (4, 4),
        (10**6, 2 * EACH * EACH * 3),
    ):  # of three fingers that train; alone none can
        prepare(monkeypatch, tmp_path / str(asked), module1(), data_of(root), impostors=asked)
        assert (~pairs_in(tmp_path / str(asked))["genuine"]).sum() == pytest.approx(expected_count, abs=1)


def test_what_cannot_be_prepared(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="synthetic fingers need no preparing"):
        prepare(monkeypatch, tmp_path / "out", module1(), data_of(tmp_path, "data=synthetic", "data.root=null"))
    alone = fvc_tree(tmp_path / "alone", ("DB1_B",), each=1)
    with pytest.raises(DataError, match="no finger has two impressions"):
        prepare(monkeypatch, tmp_path / "out", module1(), data_of(alone))


def test_the_command(finished, root, tmp_path, capsys):
    out = tmp_path / "my prints"

    def run(*more):
        overrides = ["data=fvc", f"data.root={root}", "data.databases=[DB1_B]"]
        options = ["--enhancement", "none", "--impostors", "5", "--out", str(out)]
        cli.main(["data", "prepare", str(finished[0]), *overrides, *more, *options])

    run()
    output = capsys.readouterr().out
    assert "of 12 pairs registered" in output and "of 5 pairs registered" in output and "12 prints in" in output
    assert f"stage=matcher data=prepared init.dense={finished[0]} 'data.root={out}'" in output
    assert read_info(out).frame == (64, 64) and len(read_records(out)) == 12
    for override, text in (
        ("dense=loftr", "dense=loftr: the model"),
        ("data.image_size=128", "data.image_size: the model"),
        ("data=prepared", "prepared pairs are Module 2's"),
        ("--seed=3", "(seed differ)"),
    ):
        with pytest.raises(SystemExit) as status:
            run(override)
        assert status.value.code == 2 and text in capsys.readouterr().err
    with pytest.raises(SystemExit) as status:
        cli.main(["data", "prepare", str(tmp_path), "data=fvc", f"data.root={root}", "--out", str(tmp_path / "o")])
    assert status.value.code == 2 and "no run directory" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
