"""What was made is kept, block by block; what is damaged is made again, and never believed."""

import hashlib
import io
import zipfile

import numpy as np
import pytest

from ifvit.errors import DataError
from ifvit.progress import Progress
from ifvit.storage import blocks as module
from ifvit.storage.blocks import ArraySpec, Blocks, claim

KINDS = {"number": ArraySpec("<i4"), "square": ArraySpec("<f4", (2, 2)), "name": ArraySpec("<U8")}


@pytest.fixture
def blocks(tmp_path):
    return Blocks(tmp_path, KINDS, 4)


class Work:
    def __init__(self):
        self.asked = []

    def __call__(self, numbers):
        self.asked += numbers.tolist()
        squares = np.broadcast_to(numbers[:, None, None] ** 2, (len(numbers), 2, 2))
        return {"number": numbers, "square": squares, "name": [f"n{k}" for k in numbers]}


def run(blocks, work, count=10, progress=None):
    parts = list(blocks.read_or_compute(count, work, progress or Progress("working", count)))
    return {name: np.concatenate([part[name] for part in parts]) for name in KINDS}


def test_nothing_is_made_twice(blocks, capsys):
    first, again = Work(), Work()
    arrays = run(blocks, first)
    assert first.asked == list(range(10)) and arrays["square"].shape == (10, 2, 2)
    progress = Progress("working", 10)
    other = run(blocks, again, progress=progress)
    assert again.asked == []
    for name in KINDS:
        np.testing.assert_array_equal(arrays[name], other[name])
        assert arrays[name].dtype == other[name].dtype == np.dtype(KINDS[name].dtype)


def test_what_is_left_is_what_the_time_is_told_of(blocks, capsys, monkeypatch):
    """What lay there already is not counted: the rate would say that the rest is as fast."""
    monkeypatch.setattr("ifvit.progress.EVERY_S", 0.0)
    run(blocks, Work())
    blocks.path(1).unlink()
    capsys.readouterr()
    run(blocks, Work())
    assert "working: 4/6 " in capsys.readouterr().err


def test_a_kill_costs_a_block(blocks):
    class Killed(Work):
        def __call__(self, numbers):
            if numbers[0] == 8:
                raise KeyboardInterrupt
            return super().__call__(numbers)

    with pytest.raises(KeyboardInterrupt):
        run(blocks, Killed())
    work = Work()
    assert run(blocks, work)["number"].tolist() == list(range(10)) and work.asked == [8, 9]


def test_a_full_disk_leaves_no_half_block(blocks, tmp_path, monkeypatch):
    def full(path, write):
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space"):
        patched.setattr(module, "write_whole", full)
        run(blocks, Work())
    assert list(tmp_path.iterdir()) == []
    assert run(blocks, Work())["number"].tolist() == list(range(10))


def written(**changed):
    """A block's file of which some arrays are others."""
    arrays = {k: np.asarray(v, KINDS[k].dtype) for k, v in Work()(np.arange(4, 8)).items()}
    file = io.BytesIO()
    np.savez(file, **{k: v for k, v in (arrays | changed).items() if v is not None})
    return file.getvalue()


def claiming():
    """A file whose array claims terabytes."""
    file = io.BytesIO(written(number=None))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<i4", "fortran_order": False, "shape": (2**40,)})
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("number.npy", header.getvalue())
    return file.getvalue()


HOSTILE = {
    "empty": b"",
    "text": b"no zip",
    "cut": written()[:-200],
    "flipped": written().replace(b"n\0\0\0007", b"n\0\0\0008"),
    "rows": written(number=np.arange(3, dtype="<i4")),
    "dtype": written(number=np.arange(4, 8, dtype="<i8")),
    "shape": written(square=np.zeros((4, 4), "<f4")),
    "order": written(square=np.asfortranarray(np.zeros((4, 2, 2), "<f4"))),
    "missing": written(name=None),
    "pickle": written(name=np.array([{}, {}, {}, {}], object)),
    "claims": claiming(),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_damaged_block_is_made_again_and_never_believed(blocks, name):
    arrays = run(blocks, Work())
    blocks.path(1).write_bytes(HOSTILE[name])
    with pytest.raises(DataError, match="00001.npz: damaged, or no block"):
        list(blocks.read_all(10))
    work = Work()
    np.testing.assert_array_equal(run(blocks, work)["number"], arrays["number"])
    assert work.asked == [4, 5, 6, 7] and len(list(blocks.read_all(10))) == 3


def test_a_block_that_may_not_be_read_is_neither_damaged_nor_made_again(blocks, monkeypatch):
    run(blocks, Work())
    again = Work()

    def refused(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(module, "open", refused, raising=False)
    with pytest.raises(PermissionError, match="Permission denied: .*00000.npz"):
        run(blocks, again)
    assert again.asked == []


def test_a_block_that_is_missing_is_named(blocks):
    run(blocks, Work())
    blocks.path(2).unlink()
    with pytest.raises(DataError, match="00002.npz: is not there"):
        list(blocks.read_all(10))


def test_the_digest_is_of_the_files(blocks):
    run(blocks, Work())
    digests = [hashlib.sha256(), hashlib.sha256()]
    list(blocks.read_all(10, digests[0]))
    for number in range(3):
        digests[1].update(blocks.path(number).read_bytes())
    assert digests[0].digest() == digests[1].digest()


def test_a_folder_is_one_works(tmp_path):
    key = {"images": "x", "frame": [4, 4], "ppi": 250.0}
    claim(tmp_path / "out", key, "another work")
    claim(tmp_path / "out", key, "another work")
    for other in (key | {"ppi": 500.0}, {"images": "x", "frame": [4, 4]}):
        with pytest.raises(DataError, match="out holds another work .ppi differ.; name another --out"):
            claim(tmp_path / "out", other, "another work")
    for text in ("{", "[1]"):
        (tmp_path / "out" / "key.json").write_text(text)
        with pytest.raises(DataError, match="out.*; name another --out"):
            claim(tmp_path / "out", key, "another work")
