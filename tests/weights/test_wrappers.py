"""LoFTR's network is found under whatever wraps it, and which one was taken is said."""

import json

import numpy as np
import pytest

from ifvit.weights import WeightsError, convert, convert_state_dict, read_weights, write_npz
from ifvit.weights.merge import MergeReport, merge
from ifvit.weights.safetensors import write_safetensors
from tests.helpers.torch_zip import View, whole_state, write_torch_zip

LAYER = "loftr_coarse.layers.0.q_proj.weight"
MOST = 400  # characters of a message, beside the file's name


def net(prefix="", seed=0):
    state = whole_state(np.random.default_rng(seed), narrow=True, layers=2)
    return {prefix + name: value for name, value in state.items()}


PLAIN = convert_state_dict(net())


def same(weights, expected=PLAIN):
    assert weights.arrays.keys() == expected.arrays.keys()
    return all(np.array_equal(array, expected.arrays[name]) for name, array in weights.arrays.items())


def file_of(tmp_path, value):
    return write_torch_zip(tmp_path / "w.ckpt", value)


def refusal(path, prefix=""):
    with pytest.raises(WeightsError) as caught:
        read_weights(path, prefix)
    text = str(caught.value).removeprefix(f"{path}: ")
    assert len(text) <= MOST and "\n" not in text
    return text


def within(marker):
    """Names that are wrapped below the network, as when a submodule alone is compiled."""
    return {
        name.replace("backbone.", f"backbone.{marker}.").replace("layers.0.", f"layers.0.{marker}."): value
        for name, value in net().items()
    }


# What a file holds, and what stands before LoFTR's names in it.
WRAPPED = {
    "torch.compile": (net("_orig_mod."), "_orig_mod"),
    "data parallel": (net("module."), "module"),
    "LoFTR's trainer": ({"state_dict": net("matcher.")}, "state_dict.matcher"),
    "Lightning and compiled": ({"state_dict": net("_orig_mod.module.matcher.")}, "state_dict._orig_mod.module.matcher"),
    "a name nobody knows": ({"state_dict": net("student.encoder.")}, "state_dict.student.encoder"),
    "model_state_dict": ({"model_state_dict": net()}, "model_state_dict"),
    "containers in one another": ({"ckpt": {"params": {"weights": net("net.")}}}, "ckpt.params.weights.net"),
    "a dictionary for each part": (
        {part: {n.partition(".")[2]: v for n, v in net().items() if n.startswith(part + ".")}
         for part in ("loftr_coarse", "loftr_fine", "fine_preprocess", "backbone")}, ""),
    "an average with its counter": (
        {"model_ema": net("module.") | {"n_averaged": np.array(3, np.int64)}}, "model_ema.module"),
    "an optimiser beside": (
        {"model": net(), "epoch": 3, "optimizer": {"state": {0: {"exp_avg": np.ones(3, np.float32)}},
                                                   "named": {"exp_avg": np.ones(3, np.float32)}}}, "model"),
    "a loss beside": ({"state_dict": net("net.") | {"loss.scale": np.ones(1, np.float32)}}, "state_dict.net"),
    "submodules compiled": (within("_orig_mod"), ""),
    "submodules in FSDP": (within("_fsdp_wrapped_module"), ""),
    "only a part is wrapped": (
        {("matcher." + name if name.startswith("backbone") else name): v for name, v in net().items()},
        "matcher and nothing"),
    "only a part is compiled": (
        {"state_dict": {f"net.{'_orig_mod.' if 'fine' in name else ''}{name}": v for name, v in net().items()}},
        "state_dict.net and state_dict.net._orig_mod"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRAPPED)
def test_every_wrapper_is_found_and_said(tmp_path, kind):
    value, wrapper = WRAPPED[kind]
    weights = read_weights(file_of(tmp_path, value))
    assert same(weights) and weights.wrapper == wrapper and not weights.note
    assert (f"in the file these names lie below {wrapper}\n" in weights.table()) == bool(wrapper)


@pytest.mark.parametrize("prefix", ["loftr_coarse", "_orig_mod.loftr_coarse", "state_dict._orig_mod.loftr_coarse",
                                    "_orig_mod.loftr_coarse.", "state_dict.loftr_coarse"])  # fmt: skip
def test_a_part_by_its_name_with_and_without_its_wrappers(tmp_path, prefix):
    path = file_of(tmp_path, {"state_dict": net("_orig_mod.")})
    converted = convert(path, tmp_path / "out.npz", prefix)
    assert same(converted, convert_state_dict(net(), "loftr_coarse"))
    assert len(converted.arrays) == 20 and converted.outside == len(net()) - 20


def test_a_wrapped_safetensors_file(tmp_path):
    write_safetensors(tmp_path / "w.safetensors", net("model._orig_mod."), {})
    weights = read_weights(tmp_path / "w.safetensors")
    assert same(weights) and weights.wrapper == "model._orig_mod"


TWO = {
    "model and average": ({"model": net("module."), "ema": net("module.", 1)}, "model.module", "ema.module"),
    "student and teacher": ({"state_dict": net("student.") | net("teacher.", 1)}, "state_dict.student",
                            "state_dict.teacher"),
}  # fmt: skip


@pytest.mark.parametrize("kind", TWO)
@pytest.mark.parametrize("part", ["", "loftr_coarse"])
def test_of_two_networks_none_is_guessed(tmp_path, kind, part):
    value, first, second = TWO[kind]
    path, dot = file_of(tmp_path, value), f".{part}" if part else ""
    text = refusal(path, part)
    assert f"--prefix {first}{dot} or --prefix {second}{dot}" in text and "network 2 times" in text
    for prefix, seed in ((first, 0), (second, 1)):
        weights = read_weights(path, prefix + dot)
        assert same(weights, convert_state_dict(net(seed=seed), part)) and weights.wrapper == prefix


def test_a_network_within_the_one_taken_is_said(tmp_path):
    path = file_of(tmp_path, {"state_dict": net() | net("ema.", 1)})
    weights = read_weights(path)
    assert same(weights) and weights.wrapper == "state_dict"
    assert weights.note in weights.warnings and "--prefix state_dict.ema" in weights.note
    assert same(read_weights(path, "state_dict.ema"), convert_state_dict(net(seed=1)))
    assert same(read_weights(path, "ema.loftr_coarse"), convert_state_dict(net(seed=1), "loftr_coarse"))


def test_one_network_under_two_names_is_one(tmp_path):
    """A trainer that keeps a module and its compiled twin saves every tensor twice, in one storage."""
    storages = {name: value.ravel() for name, value in net().items()}
    views = {
        prefix + name: View(storages[name], value.shape, tuple(s // value.itemsize for s in value.strides))
        for prefix in ("model.", "compiled._orig_mod.")
        for name, value in net().items()
    }
    weights = read_weights(file_of(tmp_path, {"state_dict": views}))
    assert same(weights) and weights.wrapper == "state_dict.model" and not weights.note


def test_other_tensors_below_the_wrapper_are_refused_and_those_beside_are_not(tmp_path):
    value = {"state_dict": net("net.") | {"net.head.weight": np.ones(3, np.float32), "loss": np.ones(1, np.float32)}}
    text = refusal(file_of(tmp_path, value))
    assert "1 of" in text and "head.weight: not a name of LoFTR's" in text and "loss" not in text


def test_a_wrong_prefix_names_what_is_there(tmp_path):
    text = refusal(file_of(tmp_path, {"state_dict": net("net.")}), "ema.loftr_coarse")
    assert "'ema.loftr_coarse'; LoFTR's are state_dict.net.backbone, state_dict.net.loftr_coarse" in text


def efficient_loftr():
    names = [f"backbone.layer{s}.{b}.rbr_dense.conv.weight" for s in range(4) for b in range(14)]
    parts = ("aggregate.weight", "q_proj.weight", "k_proj.weight", "merge.weight", "mlp.0.weight", "norm1.weight")
    names += [f"loftr_coarse.layers.{i}.{part}" for i in range(8) for part in parts]
    return {f"matcher.{name}": np.ones((2, 2), np.float32) for name in names}


OTHER_NETWORKS = {
    "EfficientLoFTR's": efficient_loftr(),
    "SuperGlue's": {f"{n}.weight": np.ones(2, np.float32) for n in
                    ("kenc.encoder.0", "gnn.layers.0.attn.merge", "final_proj")},
    "a ResNet classifier's": {f"{n}.weight": np.ones(2, np.float32) for n in ("conv1", "layer4.0.conv1", "fc")},
    "a vision transformer's": {n: np.ones(2, np.float32) for n in ("cls_token", "blocks.0.attn.qkv.weight")},
}  # fmt: skip


@pytest.mark.parametrize("owner", OTHER_NETWORKS)
@pytest.mark.parametrize("prefix", ["", "loftr_coarse"])
def test_another_architecture_is_said_in_one_line(tmp_path, owner, prefix):
    text = refusal(file_of(tmp_path, {"state_dict": OTHER_NETWORKS[owner]}), prefix)
    assert f"{len(OTHER_NETWORKS[owner])} tensors, by their names {owner}" in text and LAYER in text


def test_an_unknown_architecture_is_not_guessed(tmp_path):
    state = {f"decoder.{k}.{'x' * 500}.\x1b[2J{k}": np.ones(2, np.float32) for k in range(50)}
    text = refusal(file_of(tmp_path, state))
    assert "50 tensors, named like 0.xxx" in text and "by their names" not in text and "\x1b" not in text


def test_the_merge_reports_the_wrapper():
    variables = {"params": {"transformer": {"layers_0": {"q_proj": {"kernel": np.zeros((8, 8), np.float32)}}}}}
    arrays = {"layers.0.0/q_proj/kernel": np.ones((8, 8), np.float32)}
    _, report = merge(
        variables, arrays, layer_kinds=["self"], backbone="resnet18", source="w.ckpt", wrapper="state_dict._orig_mod"
    )
    assert "transformer 1 of 1 arrays, below state_dict._orig_mod in the file" in report.text()
    tree = json.loads(json.dumps(report.to_dict()))
    assert tree["wrapper"] == "state_dict._orig_mod" and MergeReport.from_dict(tree) == report
    del tree["wrapper"]
    assert MergeReport.from_dict(tree).wrapper == ""


def test_a_converted_file_takes_prefixes_too(tmp_path):
    write_npz(tmp_path / "w.npz", PLAIN.arrays)
    assert same(read_weights(tmp_path / "w.npz", "loftr_coarse"), convert_state_dict(net(), "loftr_coarse"))
    with pytest.raises(WeightsError, match="no tensor lies under the prefix 'ema'; LoFTR's are backbone, loftr_coarse"):
        read_weights(tmp_path / "w.npz", "ema")
