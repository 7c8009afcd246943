"""`.safetensors`: written for other programs, read with suspicion."""

import json
import os
import random
import struct

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ifvit.weights import WeightsError, convert, convert_state_dict, load_arrays, read_weights, write_weights
from ifvit.weights.official import Provenance
from ifvit.weights.safetensors import MAX_HEADER_BYTES, read_safetensors, write_safetensors
from tests.helpers.torch_zip import whole_state, write_torch_zip

ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.fixture(scope="module")
def state():
    return whole_state(np.random.default_rng(0), narrow=True, layers=2)


def write_raw(path, header, data=b"\0" * 4, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def same(arrays, other):
    assert arrays.keys() == other.keys()
    for name, array in arrays.items():
        assert array.shape == other[name].shape and array.dtype == other[name].dtype
        np.testing.assert_array_equal(array, other[name])


def test_any_kind_becomes_any_other(state, tmp_path):
    source = write_torch_zip(tmp_path / "a.ckpt", {"state_dict": {f"matcher.{n}": a for n, a in state.items()}})
    arrays = convert_state_dict(state).arrays
    for before, after in (("a.ckpt", "b.safetensors"), ("b.safetensors", "c.npz"), ("c.npz", "d.safetensors"),
                          ("d.safetensors", "e.safetensors"), ("a.ckpt", "f.npz"), ("f.npz", "g.npz")):  # fmt: skip
        convert(tmp_path / before, tmp_path / after)
        same(load_arrays(tmp_path / after)[0], arrays)
    assert (tmp_path / "b.safetensors").read_bytes() == (tmp_path / "e.safetensors").read_bytes()
    assert source.exists()


def test_other_programs_find_loftrs_names_shapes_and_types(state, tmp_path):
    write_weights(tmp_path / "w.safetensors", convert_state_dict(state).arrays, Provenance("x"))
    stored = load_file(tmp_path / "w.safetensors")
    same(stored, {name: np.zeros((), np.int64) if "num_batches" in name else array for name, array in state.items()})
    _, metadata = read_safetensors(tmp_path / "w.safetensors")
    assert metadata["format"] == "pt"


def test_a_prefix_takes_a_part_of_any_kind(state, tmp_path):
    write_weights(tmp_path / "w.npz", convert_state_dict(state).arrays, Provenance("x"))
    convert(tmp_path / "w.npz", tmp_path / "part.safetensors", "loftr_coarse")
    assert len(load_file(tmp_path / "part.safetensors")) == 20
    assert read_weights(tmp_path / "w.npz", "backbone").outside == 44
    with pytest.raises(WeightsError, match=r"w\.npz: no tensor lies under the prefix 'nothing'"):
        convert(tmp_path / "w.npz", tmp_path / "x.npz", "nothing")


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_other_precisions_become_float32(state, tmp_path, dtype):
    rounded = {n: a if a.dtype == np.int64 else a.astype(dtype) for n, a in state.items()}
    write_safetensors(tmp_path / "w.safetensors", rounded, {})
    arrays, _ = load_arrays(tmp_path / "w.safetensors")
    kernel = rounded["loftr_fine.layers.1.mlp.0.weight"].astype(np.float32).T
    np.testing.assert_array_equal(arrays["fine_transformer/layers.1.0/mlp.0/kernel"], kernel)
    assert all(array.dtype == np.float32 for array in arrays.values())


def test_transposed_and_fortran_arrays_are_written_right(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_safetensors(tmp_path / "w.safetensors", {"t": array.T, "s": np.asfortranarray(array)[:, ::2]}, {})
    stored = load_file(tmp_path / "w.safetensors")
    np.testing.assert_array_equal(stored["t"], array.T)
    np.testing.assert_array_equal(stored["s"], array[:, ::2])


def test_content_decides_not_the_suffix(state, tmp_path):
    save_file(state, tmp_path / "w.safetensors")
    os.rename(tmp_path / "w.safetensors", tmp_path / "w.ckpt")
    assert len(load_arrays(tmp_path / "w.ckpt")[0]) == 20 + 90 + 24
    write_torch_zip(tmp_path / "zip.safetensors", {"state_dict": state})
    assert len(load_arrays(tmp_path / "zip.safetensors")[0]) == 20 + 90 + 24


HOSTILE = {
    "twice": b'{"a":%s,"a":%s}' % (json.dumps(ENTRY).encode(), json.dumps(ENTRY | {"dtype": "I32"}).encode()),
    "overlap": {"a": ENTRY, "b": ENTRY},
    "data missing": {"a": ENTRY | {"shape": [2], "data_offsets": [0, 8]}},
    "data left over": {"a": ENTRY | {"shape": [0], "data_offsets": [0, 0]}},
    "beyond": {"a": ENTRY | {"data_offsets": [2**40, 2**40 + 4]}},
    "huge shape": {"a": ENTRY | {"shape": [2**40, 2**40]}},
    "negative shape": {"a": ENTRY | {"shape": [-1]}},
    "unknown type": {"a": ENTRY | {"dtype": "Q7"}},
    "a type we do not read": {"a": ENTRY | {"dtype": "U32"}},
    "metadata of numbers": {"a": ENTRY, "__metadata__": {"x": 3}},
    "metadata a list": {"a": ENTRY, "__metadata__": []},
    "nested deep": b'{"a":' * 100_000,
    "no text": b"{\xff\xfe}",
    "not closed": b'{"a":',
    "numbers of many digits": b'{"a":' + b"9" * 100_000 + b"}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_headers_are_refused(tmp_path, name):
    path = write_raw(tmp_path / "w.safetensors", HOSTILE[name])
    with pytest.raises(WeightsError, match=r"w\.safetensors: ") as caught:
        read_safetensors(path)
    assert name != "twice" or "holds 'a' twice" in str(caught.value)


def test_a_file_of_nothing_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"w\.safetensors: holds no tensors"):
        read_weights(write_raw(tmp_path / "w.safetensors", {}, b""))


@pytest.mark.parametrize("length", [2**63, 2**40, 200, 0])
def test_a_header_of_another_length_than_it_says_is_refused(tmp_path, length):
    with pytest.raises(WeightsError, match=r"w\.safetensors: "):
        read_weights(write_raw(tmp_path / "w.safetensors", {"a": ENTRY}, length=length))


def test_sizes_are_bounded(tmp_path, monkeypatch):
    long = json.dumps({"a": ENTRY}).encode() + b" " * MAX_HEADER_BYTES
    with pytest.raises(WeightsError, match=r"its header is .* at most"):
        read_weights(write_raw(tmp_path / "w.safetensors", long))
    monkeypatch.setattr("ifvit.weights.safetensors.MAX_BYTES", 50)
    with pytest.raises(WeightsError, match="at most 50 are read"):
        read_weights(write_raw(tmp_path / "w.safetensors", {"a": ENTRY}))


def test_a_damaged_file_is_refused_or_read(state, tmp_path):
    """Cut anywhere, it is refused; with a flipped bit too, or a number in it differs."""
    small = {n: a for n, a in state.items() if n.startswith("loftr_coarse.layers.0.")}
    path = tmp_path / "w.safetensors"
    write_safetensors(path, small, {})
    data = path.read_bytes()
    for length in range(1, len(data), 97):
        path.write_bytes(data[:length])
        with pytest.raises(WeightsError, match=r"w\.safetensors: "):
            read_weights(path)
    draw = random.Random(0)
    for _ in range(300):
        copy = bytearray(data)
        copy[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(copy)
        try:
            assert len(read_weights(path).arrays) == 10
        except WeightsError as error:
            assert str(error).startswith(str(path))


def test_the_same_checks_as_for_any_file(state, tmp_path):
    save_file(state | {"head.weight": np.zeros(3, np.float32)}, tmp_path / "u.safetensors")
    with pytest.raises(WeightsError, match=r"u\.safetensors: .*head\.weight: not a name of LoFTR's"):
        read_weights(tmp_path / "u.safetensors")
    save_file({n: a for n, a in state.items() if n != "backbone.conv1.weight"}, tmp_path / "m.safetensors")
    with pytest.raises(WeightsError, match=r"m\.safetensors: .*missing: backbone\.conv1\.weight"):
        read_weights(tmp_path / "m.safetensors")


def test_a_failed_write_keeps_the_old_file_and_another_suffix_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    write_safetensors(path, {"a": np.ones(3, np.float32)}, {})
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(WeightsError, match=r"w\.safetensors: cannot be written.*No space"):
        write_safetensors(path, {"a": np.zeros(3, np.float32)}, {})
    assert os.listdir(tmp_path) == ["w.safetensors"] and path.read_bytes() == before
    for name in ("w.ckpt", "w", "w.pt", "npz"):
        with pytest.raises(WeightsError, match=r"\.npz .*or \.safetensors"):
            write_weights(tmp_path / name, {}, Provenance("x"))
