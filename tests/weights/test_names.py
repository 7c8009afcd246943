"""The table of names, read both ways, and what makes a set of names whole."""

import numpy as np
import pytest

from ifvit.weights import WeightsError, convert_state_dict, state_dict
from ifvit.weights.names import CONV, COUNTER, LINEAR, RULES, array_name, matching_rules, model_path, source_name
from tests.helpers.places import REPOSITORY
from tests.helpers.torch_zip import whole_state

NOT_NEEDED = {
    "pos_encoding.pe": np.zeros((1, 4, 2, 2), np.float32),
    "coarse_matching.bin_score": np.ones((), np.float32),
}


@pytest.fixture(scope="module")
def full_state():
    return whole_state(np.random.default_rng(0), narrow=True)


def sixteen(state):
    """The same network with the names of ResNet-FPN 16/4: one stage more, the top-down path one stage higher."""
    stage = {n: a for n, a in state.items() if n.startswith("backbone.layer3.")}
    moved = {n: a for n, a in state.items() if "outconv" in n}
    rest = {n: a for n, a in state.items() if "outconv" not in n}
    one_up = {n.replace("layer3", "layer4"): a for n, a in stage.items()}
    for old, new in (("layer3_", "layer4_"), ("layer2_", "layer3_"), ("layer1_", "layer2_")):
        one_up |= {n.replace(old, new): a for n, a in moved.items() if old in n}
    return rest | one_up


def test_the_layout_of_an_official_file():
    """The figures of LoFTR as kornia has it."""
    state = whole_state(np.random.default_rng(0))
    assert len(state) == 211 and sum(array.size for array in state.values()) == 11_568_177


def test_every_tensor_meets_exactly_one_rule_and_every_rule_is_met(full_state):
    met = set()
    for name in [*full_state, *sixteen(full_state), *NOT_NEEDED]:
        rules = matching_rules(name)
        assert len(rules) == 1, name
        met |= set(rules)
    assert met == set(RULES)


def test_near_misses_meet_no_rule():
    for name in (
        "loftr_coarse.layers.0.q_proj.bias",
        "loftr_coarse.layers.00.q_proj.weight",
        "loftr_coarse.layers.100.q_proj.weight",
        "loftr_coarse.layers.0.mlp.1.weight",
        "loftr_coarse/layers.0.mlp.0.weight",
        "loftr_fine.layers.0.norm3.weight",
        "loftr_fine.a",
        "fine_preprocess.up_proj.weight",
        "fine_matching.weight",
        "backbone.layer5.0.conv1.weight",
        "backbone.layer1.0.conv3.weight",
        "backbone.layer1.0.conv1.weight\n",
        "backbone.layer1_outconv2.2.weight",
        "backbone.conv1.bias",
        "backbone.conv1.num_batches_tracked",
        "backbone.fc.weight",
        "xbackbone.conv1.weight",
    ):
        assert matching_rules(name) == [], name


def test_names_there_and_back(full_state):
    for state in (full_state, sixteen(full_state)):
        sources = convert_state_dict(state).sources
        assert len(sources) == len(state) - sum("num_batches" in name for name in state)
        for ours, theirs in sources.items():
            assert source_name(ours) == theirs
            assert array_name(model_path(ours)) == ours
    for name in ("layers.0.1/q_proj/kernel", "layers.0.0/q_proj/scale", "fc/kernel", "backbone/layer1/0/conv1/kernel"):
        assert source_name(name) is None


def test_model_paths():
    for name, path in {
        "layers.7.0/mlp.2/kernel": "params/transformer/layers_7/mlp_2/kernel",
        "fine_transformer/layers.1.0/norm2/bias": "params/fine_transformer/layers_1/norm2/bias",
        "fine_preprocess/merge_feat/kernel": "params/fine_preprocess/merge_feat/kernel",
        "backbone/layer2.0/downsample.1/var": "batch_stats/backbone/layer2_0/downsample_1/var",
        "backbone/layer2_outconv2.1/scale": "params/backbone/layer2_outconv2_1/scale",
        "backbone/layer1_outconv2.3/kernel": "params/backbone/layer1_outconv2_3/kernel",
        "backbone/layer3_outconv/kernel": "params/backbone/layer3_outconv/kernel",
    }.items():
        assert "/".join(model_path(name)) == path and array_name(tuple(path.split("/"))) == name
    for path in (
        "params/transformer/final_norm/scale",
        "params/transformer/layers_0/query/kernel",
        "params/head/kernel",
    ):
        assert array_name(tuple(path.split("/"))) is None
    assert array_name(("params", "backbone", "bn1", "mean")) is None  # statistics lie elsewhere


def test_a_state_dict_comes_back_bit_for_bit(full_state):
    back = state_dict(convert_state_dict(full_state).arrays)
    assert back.keys() == full_state.keys()
    for name, array in back.items():
        assert (
            array.shape == full_state[name].shape and array.dtype == full_state[name].dtype and array.flags.c_contiguous
        )
        np.testing.assert_array_equal(array, 0 if name.endswith("num_batches_tracked") else full_state[name])


def test_each_missing_tensor_is_refused_by_its_name(full_state):
    for state in (full_state, sixteen(full_state)):
        for lost in state:
            if not lost.endswith("num_batches_tracked"):
                with pytest.raises(WeightsError) as caught:
                    convert_state_dict({name: array for name, array in state.items() if name != lost})
                assert f"missing: {lost}. " in str(caught.value)


@pytest.mark.parametrize(
    ("lost", "named"),
    [
        ("loftr_coarse.layers.2.", ["loftr_coarse.layers.2.k_proj.weight", "and 6 more"]),
        ("loftr_fine.layers.1.", ["loftr_fine.layers.1.mlp.0.weight"]),
        ("loftr_fine.", ["loftr_fine.layers.0.k_proj.weight", "and 16 more"]),
        ("fine_preprocess.", ["fine_preprocess.down_proj.bias", "fine_preprocess.merge_feat.weight"]),
        ("backbone.layer2.0.downsample.", ["backbone.layer2.0.downsample.0.weight"]),
        ("backbone.layer1.", ["backbone.layer1.0.bn1.bias", "and 6 more"]),
        ("backbone.layer3.", ["backbone.layer3.0.bn1.bias"]),
        ("backbone.conv1", ["backbone.conv1.weight"]),
        ("backbone.layer1_", ["backbone.layer1_outconv.weight", "and 3 more"]),
        ("backbone.layer2_", ["backbone.layer2_outconv.weight"]),
    ],
)
def test_missing_parts_are_named(full_state, lost, named):
    with pytest.raises(WeightsError) as caught:
        convert_state_dict({name: v for name, v in full_state.items() if not name.startswith(lost)})
    assert all(name in str(caught.value) for name in named)


@pytest.mark.parametrize(
    "lost",
    [
        ("backbone.", "fine_", "loftr_fine."),  # the coarse transformer
        ("fine_", "loftr_fine."),  # no fine stage
        ("fine_", "loftr_fine.", "backbone.layer1_", "backbone.layer2_"),  # the coarse map alone
        ("fine_", "loftr_", "backbone.layer1_", "backbone.layer2_", "backbone.layer3_"),  # resnet18
        ("loftr_coarse.layers.6.", "loftr_coarse.layers.7."),
    ],
)
def test_whole_parts_may_be_absent(full_state, lost):
    state = {name: v for name, v in full_state.items() if not name.startswith(lost)}
    assert len(convert_state_dict(state).arrays) == sum("num_batches" not in name for name in state)


@pytest.mark.parametrize("name", ["backbone.layer1_outconv.weight", "backbone.layer4_outconv2.0.weight"])
def test_a_convolution_that_this_fpn_does_not_have_is_named(full_state, name):
    state = {n: a for n, a in sixteen(full_state).items()} | {name: np.zeros((2, 2, 1, 1), np.float32)}
    with pytest.raises(WeightsError, match=f"no place in a ResNet-FPN.*{name}"):
        convert_state_dict(state)


def test_one_unknown_tensor_is_refused_by_its_name(full_state):
    for name in ("loftr_fine.layers.0.q_proj.bias", "fine_matching.scale", "backbone.bn2.weight"):
        with pytest.raises(WeightsError, match=f"{name}: not a name of LoFTR's"):
            convert_state_dict(full_state | {name: np.zeros(3, np.float32)})


def test_a_layer_far_beyond_the_others_is_refused_in_few_words(full_state):
    far = {"loftr_coarse.layers.99.q_proj.weight": np.zeros((8, 8), np.float32)}
    with pytest.raises(WeightsError, match="and 915 more") as caught:
        convert_state_dict(full_state | far)
    assert len(str(caught.value)) < 400


def test_the_document_has_the_table():
    layouts = {LINEAR: "(in, out)", CONV: "(height, width, in, out)"}
    rows = []
    for rule in RULES:
        array = f"`{rule.array_template}`" if rule.array_template else "not converted"
        rows.append(f"| `{rule.loftr_template}` | {array} | {rule.reason or layouts.get(rule.axes, 'as it is')} |")
    counters = [row for row in rows if row.endswith(f"{COUNTER} |")]
    assert len(counters) == 3
    document = (REPOSITORY / "docs" / "weights.md").read_text()
    table = [line for line in document.splitlines() if line.startswith("| `")]
    assert table == rows, "\n".join(rows)
