"""The reader of PyTorch files: it reads what PyTorch writes, and nothing a file says is ever run."""

import pickle
import random
import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest

from ifvit.weights import WeightsError, read_state_dict
from ifvit.weights.torch_file import LONGEST_NAME, MAX_TENSORS, open_torch
from ifvit.weights.unpickle import MAX_PICKLE_BYTES
from tests.helpers.torch_zip import Call, Global, PickleWriter, Raw, View, refusal, refusal_of, write_torch_zip

NAME = "loftr_coarse.layers.0.norm1.bias"
WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.mark.parametrize("container", ["state_dict", "model_state_dict", "a.b", None])
def test_the_state_dict_is_found_in_every_container(tmp_path, container):
    state = {"b": WEIGHT, "a": WEIGHT + 1}
    value = {container: state, "epoch": 3, "optimizer": {"state": [1.5, None, True]}} if container else state
    read = read_state_dict(write_torch_zip(tmp_path / "file.pt", value))
    above = f"{container}." if container else ""
    assert list(read) == [f"{above}b", f"{above}a"]
    np.testing.assert_array_equal(read[f"{above}a"], WEIGHT + 1)


@pytest.mark.parametrize(
    "dtype", ["float64", "float32", "float16", ml_dtypes.bfloat16, "int64", "int32", "uint8", "bool"]
)
def test_values_and_dtype_are_kept(tmp_path, dtype):
    array = np.array([0, 1, 1, 0, 1, 0]).reshape(3, 2).astype(dtype)
    read = read_state_dict(write_torch_zip(tmp_path / "file.pt", {"a": array, "scalar": array[1, 0]}))
    assert read["a"].dtype == array.dtype and read["scalar"].shape == ()
    np.testing.assert_array_equal(read["a"], array)


def test_views_of_a_shared_storage(tmp_path):
    numbers = np.arange(24, dtype=np.float32)
    grid = numbers.reshape(4, 6)
    state = {
        "whole": View(numbers, (4, 6), (6, 1)),
        "transposed": View(numbers, (6, 4), (1, 6)),
        "offset and stepped": View(numbers, (3, 3), (6, 2), offset=7),
        "expanded": View(numbers, (5, 3), (0, 1), offset=20),
        "one row, odd stride": View(numbers, (1, 6), (10**12, 1)),
        "empty": View(numbers, (0, 3), (3, 1)),
    }
    path = write_torch_zip(tmp_path / "file.pt", state)
    assert sum("/data/" in name for name in zipfile.ZipFile(path).namelist()) == 1
    read = read_state_dict(path)
    np.testing.assert_array_equal(read["whole"], grid)
    np.testing.assert_array_equal(read["transposed"], grid.T)
    np.testing.assert_array_equal(read["offset and stepped"], grid[1:, 1::2])
    np.testing.assert_array_equal(read["expanded"], np.tile(numbers[20:23], (5, 1)))
    np.testing.assert_array_equal(read["one row, odd stride"], grid[:1])
    assert read["empty"].shape == (0, 3)
    assert all(array.flags.c_contiguous for array in read.values())


def test_parameters_and_named_dtypes(tmp_path):
    writer = PickleWriter()
    pid = ("storage", Global("torch.storage", "UntypedStorage"), "0", "cpu", 12)
    raw = Raw(writer.encode(pid) + pickle.BINPERSID)
    third = Call(
        Global("torch._utils", "_rebuild_tensor_v3"),
        (raw, 1, (2, 2), (2, 1), False, None, Global("torch", "uint16")),
    )
    parameter = Call(Global("torch._utils", "_rebuild_parameter"), (third, True, None))
    state = {"v3": third, "parameter": parameter}
    words = np.arange(6, dtype=np.uint16)
    read = read_state_dict(write_torch_zip(tmp_path / "file.pt", state, replace={"data/0": words.tobytes()}))
    for array in read.values():
        assert array.dtype == np.uint16
        np.testing.assert_array_equal(array, words[1:5].reshape(2, 2))


def test_only_the_storages_needed_are_read(tmp_path):
    value = {"state_dict": {"a": WEIGHT}, "optimizer": {"momentum": WEIGHT + 1}}
    path = write_torch_zip(tmp_path / "file.pt", value, replace={"data/1": None})
    with open_torch(path) as file:
        assert list(file.tensors) == ["state_dict.a", "optimizer.momentum"]
        read = file.read({"mine": file.tensors["state_dict.a"]})
    np.testing.assert_array_equal(read["mine"], WEIGHT)
    assert "data/1) are missing" in refusal(path)


def test_a_checkpoint_full_of_foreign_objects_is_read(tmp_path):
    config = Call(Global("omegaconf.dictconfig", "DictConfig"), ({"lr": 0.1},), state={"_parent": None})
    value = {
        "callbacks": {Global("lightning.callbacks", "Best"): {"path": Call(Global("pathlib", "PosixPath"))}},
        "hyper_parameters": config,
        "sizes": Call(Global("torch", "Size"), ((2, 3),)),
        "a set": Call(Global("__builtin__", "set"), ([1, 2],)),
        "filled": Raw(
            PickleWriter().encode(config)
            + pickle.MARK + pickle.NONE + pickle.APPENDS
            + pickle.NONE + pickle.NONE + pickle.SETITEM
        ),
        "state_dict": {"a": WEIGHT},
    }  # fmt: skip
    read = read_state_dict(write_torch_zip(tmp_path / "file.pt", value))
    np.testing.assert_array_equal(read["state_dict.a"], WEIGHT)


def test_an_entry_made_from_a_foreign_object_is_refused_by_its_name(tmp_path):
    assert "my.Tensor" in refusal_of(tmp_path, {"a": WEIGHT, NAME: Call(Global("my", "Tensor"))})
    quantised = Raw(
        PickleWriter().encode(("storage", Global("torch", "QInt8Storage"), "0", "cpu", 4)) + pickle.BINPERSID
    )
    rebuilt = Call(Global("torch._utils", "_rebuild_tensor_v2"), (quantised, 0, (4,), (1,), False, None))
    message = refusal_of(tmp_path, {"state_dict": {"a": WEIGHT, NAME: rebuilt}})
    assert f"{NAME}'" in message and "torch.QInt8Storage" in message
    assert "whole objects: its top level (my.Network)" in refusal_of(tmp_path, Call(Global("my", "Network")))
    assert "'model' (my.Network)" in refusal_of(tmp_path, {"epoch": 1, "model": Call(Global("my", "Network"))})


def test_a_refusal_says_how_to_save_the_state_dict_alone(tmp_path):
    message = refusal_of(tmp_path, {"state_dict": {"a": WEIGHT}, "extra": Global("types", "FunctionType")})
    assert "types.FunctionType" in message and len(message) < len(str(tmp_path)) + 400
    assert "torch.save({'state_dict': torch.load(FILE, weights_only=False)['state_dict']}, NEW_FILE)" in message
    assert "that line runs the file's code" in message


def test_dictionaries_that_hold_one_another_are_looked_at_once(tmp_path):
    encode = PickleWriter().encode
    cycle = pickle.EMPTY_DICT + pickle.BINPUT + b"\x01" + encode("again") + pickle.BINGET + b"\x01" + pickle.SETITEM
    keep, item = pickle.BINPUT + b"\x01" + pickle.POP, pickle.BINGET + b"\x01" + pickle.SETITEM
    level = pickle.EMPTY_DICT + encode("l") + item + encode("r") + item + keep
    doubled = pickle.EMPTY_DICT + keep + 60 * level + pickle.BINGET + b"\x01"  # 2**60 ways down
    for extra in (cycle, doubled):
        value = {"state_dict": {"a": WEIGHT}, "extra": Raw(extra)}
        assert list(read_state_dict(write_torch_zip(tmp_path / "file.pt", value))) == ["state_dict.a"]


def test_long_names_and_many_tensors_are_bounded(tmp_path):
    long = {"n" * LONGEST_NAME: {"a": WEIGHT}, "b": WEIGHT}
    assert list(read_state_dict(write_torch_zip(tmp_path / "file.pt", long))) == ["b"]
    writer = PickleWriter()
    tensor = writer.encode(WEIGHT) + pickle.BINPUT + b"\x01"
    items = b"".join(writer.encode(f"{n}") + pickle.BINGET + b"\x01" for n in range(MAX_TENSORS))
    many = Raw(pickle.EMPTY_DICT + pickle.MARK + writer.encode("a") + tensor + items + pickle.SETITEMS)
    path = write_torch_zip(tmp_path / "file.pt", many, replace={"data/0": WEIGHT.tobytes()})
    assert "more than 100,000 tensors" in refusal(path)


def test_sizes_are_bounded(tmp_path):
    padding = b"\x80\x02" + pickle.BINBYTES + struct.pack("<I", MAX_PICKLE_BYTES) + b"0" * MAX_PICKLE_BYTES
    assert "at most" in refusal_of(tmp_path, {}, replace={"data.pkl": padding})
    bomb = {"a": View(np.zeros(1, np.float32), (2**20, 2**20), (0, 0))}
    assert "at most" in refusal_of(tmp_path, bomb)
    several = {f"a{n}": View(np.zeros(1, np.float32), (2**26,), (0,)) for n in range(8)}
    assert "at most" in refusal_of(tmp_path, several)


@pytest.mark.parametrize(
    "view",
    [
        View(np.zeros(6, np.float32), (7,), (1,)),
        View(np.zeros(6, np.float32), (2, 3), (4, 1)),
        View(np.zeros(6, np.float32), (6,), (1,), offset=1),
        View(np.zeros(6, np.float32), (6,), (-1,), offset=5),
        View(np.zeros(6, np.float32), (-1,), (1,)),
        View(np.zeros(6, np.float32), (3,), (1,), offset=-1),
        View(np.zeros(6, np.float32), (3, 2), (1,)),
        View(np.zeros(6, np.float32), (2,), (2**61,)),
        View(np.zeros(6, np.float32), (2**80,), (1,)),
    ],
)
def test_views_beyond_their_storage_are_refused(tmp_path, view):
    refusal_of(tmp_path, {"a": view})


def test_storages_missing_cut_or_grown_are_refused(tmp_path):
    assert "missing" in refusal_of(tmp_path, {"a": WEIGHT}, replace={"data/0": None})
    assert "declared as 24 bytes" in refusal_of(tmp_path, {"a": WEIGHT}, replace={"data/0": b"\0" * 20})
    assert "holds 28" in refusal_of(tmp_path, {"a": WEIGHT}, replace={"data/0": b"\0" * 28})


def test_archives_pytorch_does_not_write_are_refused(tmp_path):
    assert "byte order b'big'" in refusal_of(tmp_path, {"a": WEIGHT}, replace={"byteorder": b"big"})
    assert "without data.pkl" in refusal_of(tmp_path, {"a": WEIGHT}, replace={"data.pkl": None})
    assert "TorchScript" in refusal_of(tmp_path, {"a": WEIGHT}, replace={"constants.pkl": b""})
    assert "compressed" in refusal_of(tmp_path, {"a": WEIGHT}, compression=zipfile.ZIP_DEFLATED)
    path = write_torch_zip(tmp_path / "file.pt", {"a": WEIGHT})
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("archive/data/0", WEIGHT.tobytes())
    assert "twice" in refusal(path)


def test_what_is_not_a_state_dict_is_said(tmp_path):
    assert f"'{NAME}' is a int" in refusal_of(tmp_path, {NAME: 1, "b": WEIGHT})
    assert "is a dict without tensors" in refusal_of(tmp_path, {"state_dict": {}})
    assert "is empty without tensors" in refusal_of(tmp_path, {})
    assert "is a list without tensors" in refusal_of(tmp_path, [WEIGHT])
    assert "is a dict without tensors" in refusal_of(tmp_path, {3: WEIGHT})


OTHER_FILES = {
    "old, non-zip": pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2) + b"rest",
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 46\n",
    "web page": b"\n<!DOCTYPE html><html><body>quota exceeded</body></html>",
    "safetensors": struct.pack("<Q", 20) + b'{"__metadata__":{}}',
    "single NumPy array": b"\x93NUMPY\x01\x00",
    "bare pickle": pickle.dumps({"a": 1}),
    "empty": b"",
    "not a PyTorch checkpoint": b"anything else",
    "damaged or cut short": b"PK\x03\x04 and then nothing",
}


@pytest.mark.parametrize("description", OTHER_FILES)
def test_other_files_are_called_by_their_name(tmp_path, description):
    path = tmp_path / "weights.ckpt"
    path.write_bytes(OTHER_FILES[description])
    assert description in refusal(path)


def test_no_file_a_folder_and_a_converted_file(tmp_path):
    assert "no such file" in refusal(tmp_path / "none.ckpt")
    assert "is a folder" in refusal(tmp_path)
    assert "cannot be read" in refusal(tmp_path / ("long" * 100))
    np.savez(tmp_path / "converted.npz", a=WEIGHT)
    assert "already converted" in refusal(tmp_path / "converted.npz")


def test_a_damaged_file_is_refused_or_read_rightly(tmp_path):
    """Truncations and a thousand flipped bits: the error is always ours, and what is read is always right."""
    path = write_torch_zip(tmp_path / "whole.pt", {"state_dict": {"a": WEIGHT}, "epoch": 1})
    content = path.read_bytes()
    damaged = tmp_path / "damaged.pt"
    for length in range(0, len(content), 7):
        damaged.write_bytes(content[:length])
        refusal(damaged)
    draw = random.Random(0)
    read_rightly = 0
    for _ in range(1000):
        copy = bytearray(content)
        copy[draw.randrange(len(copy))] ^= 1 << draw.randrange(8)
        damaged.write_bytes(copy)
        try:
            (array,) = read_state_dict(damaged).values()
            np.testing.assert_array_equal(array, WEIGHT)
            read_rightly += 1
        except WeightsError:
            pass
    assert 0 < read_rightly < 1000


def test_the_real_student_is_read(shared_dir):
    read = read_state_dict(shared_dir / "golden" / "loftr_student.pt")
    assert len(read) == 177
    assert sum(array.size for array in read.values()) == 159_870
    assert read["model_state_dict.loftr_coarse.layers.0.q_proj.weight"].shape == (32, 32)
