"""The hook that merges LoFTR's weights into a model, and its report."""

import copy
import json

import ml_dtypes
import numpy as np
import pytest

from ifvit.weights import MergeReport, WeightsError, arrays_of, convert_state_dict, load_arrays, merge
from ifvit.weights.names import BIN_SCORE
from tests.helpers.torch_zip import official_state, resnet_fpn_8_2_state, whole_state

KINDS = ("self", "cross", "self", "cross")
WIDTH = 8


def transformer(layers: int = 8, width: int = WIDTH) -> dict[str, np.ndarray]:
    state = official_state(np.random.default_rng(1), layers=layers, width=width)
    return convert_state_dict(state).arrays


def fpn_8_2() -> dict[str, np.ndarray]:
    return convert_state_dict(resnet_fpn_8_2_state(np.random.default_rng(2), 4, (4, 6, 8))).arrays


def coarse_only(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The coarse path of `fpn_8_2`: all but the arrays of the fine map."""
    return {n: a for n, a in arrays.items() if "outconv" not in n or "layer3_outconv/" in n}


def resnet18(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array for name, array in arrays.items() if "outconv" not in name}


def model(*parts: dict[str, np.ndarray], dtype: object = np.float32) -> dict:
    """Variables of a model that has a zero for each array in `parts`, plus a head that no file fills.

    Written out here, not taken from the code under test: layers.1.0/mlp.2 is layers_1/mlp_2, and so on.
    """
    variables: dict = {"params": {"head": {"kernel": np.zeros((8, 3), dtype)}}, "batch_stats": {}}
    for name, array in {name: array for part in parts for name, array in part.items()}.items():
        place = name if name.startswith(("backbone/", "fine_preprocess/")) else name.replace(".0/", "/", 1)
        place = f"transformer/{place}" if place.startswith("layers.") else place
        *modules, leaf = place.replace(".", "_").split("/")
        node = variables["batch_stats" if leaf in ("mean", "var") else "params"]
        for module in modules:
            node = node.setdefault(module, {})
        node[leaf] = np.zeros(array.shape, dtype)
    return variables


def complete_arrays() -> dict[str, np.ndarray]:
    """A narrow LoFTR with everything an official file holds."""
    return convert_state_dict(whole_state(np.random.default_rng(3), narrow=True)).arrays


def part(arrays: dict[str, np.ndarray], *starts: str) -> dict[str, np.ndarray]:
    return {name: array for name, array in arrays.items() if name.startswith(starts)}


def put(variables: dict, arrays: dict, *, kinds: tuple = KINDS, backbone: str = "resnet18", **more: object):
    return merge(variables, arrays, layer_kinds=kinds, backbone=backbone, source="in/loftr.npz", **more)


def test_four_of_eight_layers():
    arrays = transformer(8)
    merged, report = put(model(transformer(4)), arrays)
    layers = merged["params"]["transformer"]
    np.testing.assert_array_equal(layers["layers_3"]["mlp_2"]["kernel"], arrays["layers.3.0/mlp.2/kernel"])
    np.testing.assert_array_equal(layers["layers_0"]["norm1"]["scale"], arrays["layers.0.0/norm1/scale"])
    assert sorted(layers) == ["layers_0", "layers_1", "layers_2", "layers_3"]
    assert report.merged["layers.3.0/q_proj/kernel"] == "params/transformer/layers_3/q_proj/kernel"
    assert report.groups == {"transformer": (40, 80), "backbone": (0, 0), "fine": (0, 0)}
    assert report.fresh == ("params/head/kernel",) and report.fresh_parameters == 24
    text = report.text()
    assert text.startswith("loftr.npz: 40 of 80 arrays (2,688 parameters) merged")
    assert "layers 4-7 (40 arrays): the model has 4 layers" in text


def test_the_official_numbers():
    arrays = transformer(8, 256)
    _, report = put(model(transformer(4, 256)), arrays)
    assert "40 of 80 arrays (2,625,536 parameters) merged" in report.text()


def test_the_model_handed_in_is_not_changed():
    arrays = transformer(4)
    variables = model(arrays)
    before = copy.deepcopy(variables)
    merged, _ = put(variables, arrays)
    np.testing.assert_equal(variables, before)
    assert merged["params"]["head"]["kernel"] is variables["params"]["head"]["kernel"]


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_values_take_the_models_dtype(dtype):
    arrays = transformer(4)
    merged, _ = put(model(arrays, dtype=dtype), arrays)
    leaf = merged["params"]["transformer"]["layers_1"]["q_proj"]["kernel"]
    assert leaf.dtype == dtype
    np.testing.assert_array_equal(leaf, arrays["layers.1.0/q_proj/kernel"].astype(dtype))


def test_model_layers_beyond_the_files_stay_fresh():
    merged, report = put(model(transformer(6)), transformer(4), kinds=("self", "cross") * 3)
    assert report.groups["transformer"] == (40, 40)
    assert "params/transformer/layers_4/q_proj/kernel" in report.fresh and len(report.fresh) == 21
    assert not merged["params"]["transformer"]["layers_5"]["merge"]["kernel"].any()


def test_a_backbone_of_the_same_kind_merges_with_its_statistics():
    arrays = fpn_8_2()
    model_part = coarse_only(arrays)
    merged, report = put(model(transformer(4), model_part), transformer(4) | arrays, backbone="resnet_fpn_8_2")
    block = merged["params"]["backbone"]["layer2_0"]
    np.testing.assert_array_equal(block["downsample_0"]["kernel"], arrays["backbone/layer2.0/downsample.0/kernel"])
    statistics = merged["batch_stats"]["backbone"]
    np.testing.assert_array_equal(statistics["bn1"]["var"], arrays["backbone/bn1/var"])
    np.testing.assert_array_equal(
        statistics["layer2_0"]["downsample_1"]["mean"], arrays["backbone/layer2.0/downsample.1/mean"]
    )
    assert report.groups["backbone"] == (len(model_part), len(arrays)) == (len(arrays) - 14, len(arrays))
    assert f"backbone {len(model_part)} of {len(arrays)} arrays" in report.text()
    assert (
        "skipped: layer2_outconv, layer2_outconv2, layer1_outconv, layer1_outconv2 (14 arrays): "
        "the model has no fine stage (dense.fine=none)"
    ) in report.text()


def test_a_backbone_of_another_kind_is_skipped_and_said():
    arrays = transformer(4) | fpn_8_2()
    merged, report = put(model(transformer(4), resnet18(fpn_8_2())), arrays)
    assert not merged["params"]["backbone"]["conv1"]["kernel"].any()
    assert report.groups == {"transformer": (40, 40), "backbone": (0, len(fpn_8_2())), "fine": (0, 0)}
    assert "the file's backbone is resnet_fpn_8_2, the model's resnet18" in report.text()


def test_resnet18_and_16_4_are_told_by_their_names():
    plain = resnet18(fpn_8_2())
    assert put(model(plain), plain)[1].groups["backbone"] == (len(plain), len(plain))
    sixteen = plain | {"backbone/layer4_outconv/kernel": np.ones((1, 1, 8, 8), np.float32)}
    _, report = put(model(sixteen), sixteen, backbone="resnet_fpn_16_4")
    assert report.groups["backbone"] == (len(sixteen), len(sixteen))
    with pytest.raises(WeightsError, match="backbone is resnet_fpn_16_4, the model's resnet_fpn_8_2"):
        put(model(coarse_only(fpn_8_2())), sixteen, backbone="resnet_fpn_8_2")


def test_all_problems_are_listed_at_once():
    arrays = transformer(4) | fpn_8_2()
    variables = model(transformer(4), fpn_8_2())
    variables["params"]["transformer"]["layers_0"]["q_proj"]["kernel"] = np.zeros((8, 9), np.float32)
    variables["params"]["backbone"]["conv1"]["kernel"] = np.zeros((7, 7, 1, 5), np.float32)
    variables["params"]["backbone"]["layer1_2"] = {"conv1": {"kernel": np.zeros((3, 3, 4, 4), np.float32)}}
    variables["params"]["transformer"]["layers_1"]["norm3"] = {"scale": np.zeros(8, np.float32)}
    del variables["params"]["transformer"]["layers_3"]["merge"]
    before = copy.deepcopy(variables)
    with pytest.raises(WeightsError) as caught:
        put(variables, arrays, kinds=("self", "cross", "cross", "cross"), backbone="resnet_fpn_8_2")
    for expected in (
        "in/loftr.npz: does not fit the model (6 problems)",
        "layers.0.0/q_proj/kernel: shape (8, 8) in the file, (8, 9) in the model",
        "backbone/conv1/kernel: shape (7, 7, 1, 4) in the file, (7, 7, 1, 5) in the model",
        "params/backbone/layer1_2/conv1/kernel: the model has it, the file does not",
        "params/transformer/layers_1/norm3/scale: the model has it, the file does not",
        "layers.3.0/merge/kernel: the model has no params/transformer/layers_3/merge/kernel",
        "layer 2 is a self layer in the file and a cross layer in the model",
    ):
        assert expected in str(caught.value), expected
    np.testing.assert_equal(variables, before)


def test_missing_statistics_are_a_problem_too():
    plain = resnet18(fpn_8_2())
    with pytest.raises(WeightsError, match="batch_stats/backbone/bn1/mean: the model has it"):
        put(model(plain), {name: array for name, array in plain.items() if name != "backbone/bn1/mean"})


def test_nothing_merged_is_an_error():
    with pytest.raises(WeightsError, match="nothing in it can be merged.*the model's resnet18"):
        put(model(transformer(4)), fpn_8_2())
    with pytest.raises(WeightsError, match="nothing in it can be merged"):
        put(model(transformer(4)), {})


def test_the_report_survives_json_and_names_what_was_dropped():
    dropped = {"coarse_matching.bin_score": BIN_SCORE}
    _, report = put(model(transformer(4)), transformer(8), dropped=dropped)
    assert MergeReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report
    assert "warning: unused: coarse_matching.bin_score: belongs to optimal-transport matching" in report.text()


EIGHT = ("self", "cross") * 4


def test_the_whole_file_goes_into_the_whole_model_and_back():
    arrays = complete_arrays()
    variables = model(arrays)
    del variables["params"]["head"]
    merged, report = put(variables, arrays, kinds=EIGHT, backbone="resnet_fpn_8_2")
    assert report.fresh == () and report.skipped == {} and len(report.merged) == len(arrays)
    assert report.groups == {"transformer": (80, 80), "backbone": (90, 90), "fine": (24, 24)}
    assert "transformer 80 of 80 arrays, backbone 90 of 90 arrays, fine 24 of 24 arrays" in report.text()
    params, statistics = merged["params"], merged["batch_stats"]
    np.testing.assert_array_equal(
        params["fine_transformer"]["layers_1"]["mlp_2"]["kernel"], arrays["fine_transformer/layers.1.0/mlp.2/kernel"]
    )
    np.testing.assert_array_equal(
        params["fine_preprocess"]["down_proj"]["bias"], arrays["fine_preprocess/down_proj/bias"]
    )
    np.testing.assert_array_equal(
        statistics["backbone"]["layer1_outconv2_1"]["var"], arrays["backbone/layer1_outconv2.1/var"]
    )
    assert params["backbone"]["layer2_outconv2_3"]["kernel"].any()
    np.testing.assert_equal(arrays_of(merged), arrays)


def test_a_model_without_a_fine_stage_skips_it_by_name():
    arrays = complete_arrays()
    coarse = coarse_only(part(arrays, "backbone/")) | part(arrays, "layers.")
    merged, report = put(model(coarse), arrays, kinds=EIGHT, backbone="resnet_fpn_8_2")
    assert report.skipped.keys() == arrays.keys() - coarse.keys()
    assert "fine 0 of 24 arrays" in report.text()
    (line,) = (line for line in report.text().splitlines() if "skipped" in line)
    assert line.endswith("(38 arrays): the model has no fine stage (dense.fine=none)")
    assert all(name in line for name in ("layer1_outconv2", "layer2_outconv,", "fine_preprocess", "fine_transformer"))
    assert "fine_transformer" not in merged["params"]


@pytest.mark.parametrize(
    ("lost", "text"),
    [
        (("fine_",), "fresh: 25 model arrays"),
        (
            ("fine_", "backbone/layer1_outconv", "backbone/layer2_outconv"),
            "head, the backbone's top-down path, the fine",
        ),
        (("backbone/",), "backbone, the backbone's top-down path"),
    ],
)
def test_parts_that_the_file_lacks_stay_fresh_and_are_reported(lost, text):
    arrays = complete_arrays()
    file = {name: array for name, array in arrays.items() if not name.startswith(lost)}
    merged, report = put(model(arrays), file, kinds=EIGHT, backbone="resnet_fpn_8_2")
    assert text in report.text()
    assert len(report.fresh) == 1 + len(arrays) - len(file)
    if "fine_" in lost:
        assert not merged["params"]["fine_preprocess"]["down_proj"]["kernel"].any()


@pytest.mark.parametrize(
    "name",
    ["fine_preprocess/merge_feat/bias", "fine_transformer/layers.1.0/norm2/scale", "backbone/layer1_outconv/kernel"],
)
def test_half_a_part_is_a_problem(name):
    arrays = complete_arrays()
    path = name.replace(".0/", "/").replace(".", "_")
    with pytest.raises(WeightsError, match=f"params/{path}: the model has it, the file does not"):
        file = {key: array for key, array in arrays.items() if key != name}
        put(model(arrays), file, kinds=EIGHT, backbone="resnet_fpn_8_2")


def test_a_third_fine_layer_and_another_fine_width_are_problems():
    arrays = complete_arrays()
    extra = {name.replace("layers.1", "layers.2"): a for name, a in part(arrays, "fine_transformer/layers.1").items()}
    wide = {"fine_preprocess/down_proj/bias": np.zeros(5, np.float32)}
    with pytest.raises(WeightsError) as caught:
        put(model(arrays), arrays | extra | wide, kinds=EIGHT, backbone="resnet_fpn_8_2")
    assert "the model has no params/fine_transformer/layers_2/q_proj/kernel" in str(caught.value)
    assert "and 7 more; fine_preprocess/down_proj/bias" in str(caught.value)  # a few of each kind
    assert "fine_preprocess/down_proj/bias: shape (5,) in the file, (4,) in the model" in str(caught.value)


def test_arrays_without_a_name_of_loftrs_are_named():
    with pytest.raises(WeightsError, match="no names for these arrays of the model: params/head/kernel$"):
        arrays_of(model(transformer(2)))


def test_notes_are_kept_and_printed_and_earlier_reports_load():
    _, report = put(model(transformer(4)), transformer(4), notes=["mind this"])
    assert report.text().endswith("  warning: mind this")
    tree = json.loads(json.dumps(report.to_dict()))
    assert MergeReport.from_dict(tree) == report
    del tree["notes"], tree["arrays"]["fine"]
    assert MergeReport.from_dict(tree).groups == {"transformer": (40, 40), "backbone": (0, 0)}


def test_the_real_student(shared_dir):
    arrays, dropped = load_arrays(shared_dir / "golden" / "loftr_student.pt")
    fine = ("layer3_outconv", "layer2_outconv")
    coarse = {
        name: array for name, array in arrays.items() if not name.startswith(tuple(f"backbone/{f}" for f in fine))
    }
    _, report = put(model(coarse), arrays, backbone="resnet_fpn_16_4", dropped=dropped)
    assert report.groups == {"transformer": (40, 40), "backbone": (101, 115), "fine": (0, 0)}
    assert "transformer 40 of 40 arrays, backbone 101 of 115 arrays" in report.text()
    assert len(report.skipped) == 14 + 22
