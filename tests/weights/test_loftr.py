"""LoFTR's names, layouts and the converted file."""

import os
import pickle

import ml_dtypes
import numpy as np
import pytest

from ifvit.weights import WeightsError, convert, convert_state_dict, layer_kind, load_arrays, read_npz, write_npz
from tests.helpers.torch_zip import official_state, whole_state, write_torch_zip

OTHER_PARTS = {
    "pos_encoding.pe": np.zeros((1, 4, 2, 2), np.float32),
    "coarse_matching.bin_score": np.float32(1).reshape(()),
}


def small_state(prefix: str = "") -> dict[str, np.ndarray]:
    """A narrow LoFTR with everything an official file may hold."""
    state = whole_state(np.random.default_rng(0), narrow=True, layers=4) | OTHER_PARTS
    return {prefix + name: value for name, value in state.items()}


def test_layouts():
    state = small_state()
    arrays = convert_state_dict(state).arrays
    np.testing.assert_array_equal(arrays["layers.3.0/mlp.2/kernel"], state["loftr_coarse.layers.3.mlp.2.weight"].T)
    np.testing.assert_array_equal(arrays["layers.1.0/norm2/scale"], state["loftr_coarse.layers.1.norm2.weight"])
    kernel, weight = arrays["backbone/layer2.0/conv1/kernel"], state["backbone.layer2.0.conv1.weight"]
    assert kernel.shape == (3, 3, 4, 6)
    assert kernel[2, 0, 3, 5] == weight[5, 3, 2, 0]
    pairs = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
    for new, old in pairs.items():
        np.testing.assert_array_equal(
            arrays[f"backbone/layer3.0/downsample.1/{new}"], state[f"backbone.layer3.0.downsample.1.{old}"]
        )
    assert "backbone/layer1_outconv2.3/kernel" in arrays and "backbone/bn1/var" in arrays
    assert all(array.dtype == np.float32 and array.flags.c_contiguous for array in arrays.values())


def test_what_is_left_out_and_why():
    converted = convert_state_dict(small_state())
    assert set(OTHER_PARTS) <= converted.dropped.keys()
    counters = [name for name in converted.dropped if name.endswith("num_batches_tracked")]
    assert len(counters) == sum(name.endswith("num_batches_tracked") for name in small_state())
    assert len(converted.arrays) + len(converted.dropped) == len(small_state())
    (warning,) = converted.warnings
    assert "bin_score" in warning and f"warning: {warning}" in converted.table()


def test_official_counts():
    converted = convert_state_dict(official_state(np.random.default_rng(0), backbone=True), "loftr_coarse")
    assert converted.summary() == "80 arrays, 5,251,072 parameters"
    assert converted.outside == 107
    assert converted.table().endswith("107 tensors elsewhere in the file\n80 arrays, 5,251,072 parameters")


@pytest.mark.parametrize(
    "prefix", ["loftr_coarse", "loftr_coarse.", "matcher.loftr_coarse", "module.matcher.loftr_coarse"]
)
def test_prefixes_the_user_may_give(prefix):
    assert len(convert_state_dict(small_state("matcher."), prefix).arrays) == 40


def test_a_prefix_ends_at_a_dot_and_an_empty_one_is_said():
    with pytest.raises(WeightsError, match=r"prefix 'loftr'.*loftr_coarse"):
        convert_state_dict(small_state(), "loftr")
    with pytest.raises(WeightsError, match="neither"):
        convert_state_dict(small_state(), "pos_encoding")
    with pytest.raises(WeightsError, match="missing: fine_preprocess.down_proj.bias"):
        convert_state_dict(small_state(), "loftr_fine")


def test_all_unknown_tensors_are_named_together():
    state = small_state() | {"head.weight": np.zeros(3, np.float32), "loss.scale": np.zeros(1, np.float32)}
    with pytest.raises(WeightsError, match=r"head\.weight.*loss\.scale"):
        convert_state_dict(state)


@pytest.mark.parametrize(
    "value",
    [
        np.full((8, 8), np.nan, np.float32),
        np.full((8, 8), 1e300),
        np.full((8, 8), np.inf, ml_dtypes.bfloat16),
        np.ones((8, 8), np.int64),
        np.ones((8, 8), np.complex64),
        np.ones((8, 8, 1), np.float32),
    ],
)
def test_arrays_of_the_wrong_kind_are_named(value):
    with pytest.raises(WeightsError, match=r"layers\.1.*q_proj"):
        convert_state_dict(small_state() | {"loftr_coarse.layers.1.q_proj.weight": value})


def test_bfloat16_becomes_float32():
    value = np.linspace(-2, 2, 64).reshape(8, 8).astype(ml_dtypes.bfloat16)
    arrays = convert_state_dict(small_state() | {"loftr_coarse.layers.1.q_proj.weight": value}).arrays
    np.testing.assert_array_equal(arrays["layers.1.0/q_proj/kernel"], value.astype(np.float32).T)


def test_convert_writes_what_read_npz_reads(tmp_path):
    source = write_torch_zip(tmp_path / "loftr.ckpt", {"state_dict": small_state("matcher.")})
    output = tmp_path / "new" / "folder" / "loftr.npz"
    converted = convert(source, output, "loftr_coarse")
    arrays = read_npz(output)
    assert list(arrays) == list(converted.arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, converted.arrays[name])
    assert os.listdir(output.parent) == ["loftr.npz"]
    with np.load(output, allow_pickle=False) as loaded:  # NumPy itself can read it too
        assert set(loaded.files) == set(arrays)


def test_files_of_earlier_converters_load(tmp_path):
    arrays = convert_state_dict(small_state(), "loftr_coarse").arrays
    for number, save in enumerate((np.savez, np.savez_compressed)):
        path = tmp_path / f"{number}.npz"
        save(path, **{name: np.asfortranarray(array) for name, array in arrays.items()})
        for name, array in read_npz(path).items():
            np.testing.assert_array_equal(array, arrays[name])


def test_load_arrays_goes_by_content(tmp_path):
    state = small_state()
    checkpoint = write_torch_zip(tmp_path / "really_a_checkpoint.npz", {"state_dict": state})
    arrays, dropped = load_arrays(checkpoint)
    assert arrays.keys() == convert_state_dict(state).arrays.keys() and "pos_encoding.pe" in dropped
    write_npz(tmp_path / "really_an_npz.ckpt", arrays)
    again, nothing = load_arrays(tmp_path / "really_an_npz.ckpt")
    assert again.keys() == arrays.keys() and nothing == {}


@pytest.mark.parametrize("name", ["damaged.npz", "damaged.ckpt"])
def test_load_arrays_names_a_damaged_file(tmp_path, name):
    write_npz(tmp_path / name, convert_state_dict(small_state()).arrays)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(WeightsError, match=name):
        load_arrays(tmp_path / name)


def _bad_npz(change: str) -> dict[str, np.ndarray]:
    arrays = dict(convert_state_dict(small_state(), "loftr_coarse").arrays)
    key = "layers.0.0/q_proj/kernel"
    if change == "foreign":
        arrays["decoder/kernel"] = np.zeros((2, 2), np.float32)
    elif change == "missing":
        del arrays[key]
    else:
        arrays[key] = {
            "object": np.array([{"a": 1}], object),
            "integer": np.zeros((8, 8), np.int32),
            "axes": np.zeros((8, 8, 1), np.float32),
            "finite": np.full((8, 8), np.nan, np.float32),
        }[change]
    return arrays


@pytest.mark.parametrize("change", ["foreign", "missing", "object", "integer", "axes", "finite"])
def test_a_bad_npz_is_refused_by_name(tmp_path, change, monkeypatch):
    np.savez(tmp_path / "bad.npz", **_bad_npz(change))
    monkeypatch.setattr(pickle, "load", lambda *a, **k: pytest.fail("unpickled"))
    expected = "decoder/kernel" if change == "foreign" else "layers.0.0/q_proj/kernel"
    with pytest.raises(WeightsError, match=rf"bad\.npz.*{expected}"):
        read_npz(tmp_path / "bad.npz")


def test_an_npz_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    zeros = np.zeros((2048, 2048), np.float32)
    np.savez_compressed(tmp_path / "bomb.npz", **{"layers.0.0/q_proj/kernel": zeros})
    assert (tmp_path / "bomb.npz").stat().st_size < 100_000
    monkeypatch.setattr("ifvit.weights.npz.MAX_BYTES", 2**24)
    with pytest.raises(WeightsError, match="unpacks to"):
        read_npz(tmp_path / "bomb.npz")


def test_a_failed_write_leaves_nothing_and_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "loftr.npz"
    write_npz(path, {"layers.0.0/q_proj/kernel": np.zeros((2, 2), np.float32)})
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WeightsError, match=r"loftr\.npz: cannot be written.*No space"):
        write_npz(path, {"a": np.ones(3, np.float32)})
    assert os.listdir(tmp_path) == ["loftr.npz"] and path.read_bytes() == before


def test_convert_refuses_to_overwrite_its_input_and_writes_nothing_on_error(tmp_path):
    state = small_state() | {"x": np.ones(1, np.float32)}
    source = write_torch_zip(tmp_path / "loftr.ckpt", {"state_dict": state})
    with pytest.raises(WeightsError, match="input file"):
        convert(source, source)
    with pytest.raises(WeightsError, match="no file name"):
        write_npz("", {})
    with pytest.raises(WeightsError, match=r"loftr\.ckpt.*x: not a name"):
        convert(source, tmp_path / "out.npz")
    assert os.listdir(tmp_path) == ["loftr.ckpt"]


def test_layer_kinds():
    assert [layer_kind(i) for i in range(4)] == ["self", "cross", "self", "cross"]


def test_the_real_student_converts(shared_dir, tmp_path):
    student = shared_dir / "golden" / "loftr_student.pt"
    transformer = convert(student, tmp_path / "student.npz", "loftr_coarse")
    assert transformer.summary() == "40 arrays, 41,472 parameters"
    arrays, dropped = load_arrays(student)
    groups = [name.startswith("backbone/") for name in arrays]
    assert (len(groups), sum(groups)) == (155, 115)
    assert len(dropped) == 22 and all(name.endswith("num_batches_tracked") for name in dropped)
