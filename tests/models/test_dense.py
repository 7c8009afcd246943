from enum import Enum
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifvit.models.backbones import STRIDES, make_backbone
from ifvit.models.dense import DenseModel
from ifvit.models.matching import extract_matches
from ifvit.models.transformer import position_code

pytestmark = pytest.mark.slow


KINDS = [
    dict(use_loftr=True, attention="linear"),
    dict(use_loftr=True, attention="full"),
    dict(use_loftr=False),
]


def images(*shapes):
    rng = np.random.default_rng(3)
    return [jnp.asarray(rng.uniform(size=shape), jnp.float32) for shape in shapes]


def loss_and_gradient(model, variables, *inputs):
    def loss(params):
        out, _ = model.apply(variables | {"params": params}, *inputs, train=True, mutable=["batch_stats"])
        return -jnp.mean(jnp.diagonal(out.log_p, axis1=1, axis2=2))

    return jax.jit(jax.value_and_grad(loss))(variables["params"])


def test_default_model_at_its_own_size():
    """Figures of the specification, by shape only: nothing is computed."""
    model = DenseModel()

    def run(key, image):
        out, variables = model.init_with_output(key, image, image)
        grid = model.grid(128, 128)
        matches = extract_matches(out.log_p, grid, grid, threshold=0.2, border=0, max_matches=100)
        return out, matches, variables

    out, matches, variables = jax.eval_shape(run, jax.random.key(0), jnp.zeros((2, 128, 128)))
    assert out.log_p.shape == (2, 64, 64) and out.log_p.dtype == jnp.float32
    assert matches.cells.shape == (2, 100, 2) and matches.confidence.shape == (2, 100)
    assert out.tokens_a.shape == out.coarse_b.shape == (2, 64, 256)
    assert out.backbone_a.shape == out.backbone_b.shape == (2, 8, 8, 256)
    assert set(variables) == {"params", "batch_stats"}
    assert set(variables["params"]) == {"backbone", "transformer"}
    assert set(variables["batch_stats"]) == {"backbone"}
    assert model.layer_kinds == ("self", "cross", "self", "cross")
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))


@pytest.mark.parametrize("backbone", STRIDES)
def test_images_of_different_sizes(backbone, small_dense):
    model, variables = small_dense(backbone)
    a, b = images((2, 32, 48), (2, 64, 16))
    out = jax.jit(model.apply)(variables, a, b)
    grid_a, grid_b = model.grid(32, 48), model.grid(64, 16)
    stride = STRIDES[backbone]
    assert model.stride == stride and grid_a == (32 // stride, 48 // stride)
    assert out.backbone_a.shape == (2, *grid_a, 8) and out.backbone_b.shape == (2, *grid_b, 8)
    assert out.log_p.shape == (2, grid_a[0] * grid_a[1], grid_b[0] * grid_b[1])
    assert bool(jnp.isfinite(out.log_p).all())
    code = position_code(*grid_b, 8, False)
    np.testing.assert_allclose(out.tokens_b, (out.backbone_b + code).reshape(2, -1, 8), atol=1e-6)


@pytest.mark.parametrize("fields", KINDS, ids=str)
def test_gradient_reaches_every_parameter(fields, small_dense):
    model, variables = small_dense(**fields)
    value, gradient = loss_and_gradient(model, variables, *images((2, 32, 32), (2, 32, 32)))
    assert np.isfinite(value)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.isfinite(leaf).all() and np.abs(leaf).max() > 0, jax.tree_util.keystr(path)


def test_equal_sizes_share_one_batch_and_its_statistics(small_dense):
    model, variables = small_dense()
    a, b = images((2, 32, 32), (2, 32, 32))
    out, state = jax.jit(lambda: model.apply(variables, a, b, train=True, mutable=["batch_stats"]))()
    backbone = make_backbone(model.backbone, model.stem_width, model.stage_widths, jnp.float32)
    inner = {name: tree["backbone"] for name, tree in variables.items()}
    both = jnp.concatenate([a, b])[..., None]
    (maps, _), expected = jax.jit(lambda: backbone.apply(inner, both, True, mutable=["batch_stats"]))()
    np.testing.assert_allclose(out.backbone_a, maps[:2], atol=1e-5)
    np.testing.assert_allclose(out.backbone_b, maps[2:], atol=1e-5)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5),
                 state["batch_stats"]["backbone"], expected["batch_stats"])  # fmt: skip


def test_masked_cells_change_nothing_for_others(small_dense):
    """Masked cells are out of attention and of P, and the cells left share the whole probability."""
    model, variables = small_dense()
    a, b = images((1, 48, 48), (1, 48, 48))
    mask = jnp.ones((1, 3, 3)).at[:, 2].set(0)
    run = jax.jit(lambda mask_a: model.apply(variables, a, b, mask_a))
    masked = run(mask)
    np.testing.assert_allclose(np.exp(masked.log_p[0, 6:]), 0, atol=1e-6)
    np.testing.assert_allclose(np.exp(masked.log_p[0, :6]).sum(), np.exp(masked.log_p).sum(), atol=1e-5)
    same = run(jnp.ones((1, 3, 3)))
    np.testing.assert_allclose(same.log_p, run(None).log_p, atol=1e-4)
    assert np.abs(masked.coarse_b - same.coarse_b).max() > 1e-4


def test_every_field_reaches_its_part(small_dense):
    a, b = images((1, 32, 32), (1, 32, 32))
    model, variables = small_dense()
    run = lambda **fields: jax.jit(model.clone(**fields).apply)(variables, a, b)  # noqa: E731
    usual = run()
    for field in (dict(temperature=0.2), dict(attention="full"), dict(norm_eps=0.1)):
        assert np.abs(run(**field).log_p - usual.log_p).max() > 1e-3, field
    fixed = run(temp_bug_fix=True)
    difference = (position_code(2, 2, 8, True) - position_code(2, 2, 8, False)).reshape(4, 8)
    np.testing.assert_allclose(fixed.tokens_a[0] - usual.tokens_a[0], difference, atol=1e-5)


def test_bfloat16_computes_small_and_keeps_float32_where_it_matters(small_dense):
    model, variables = small_dense()
    a, b = images((1, 32, 32), (1, 32, 32))
    exact = jax.jit(model.apply)(variables, a, b)
    coarse = jax.jit(model.clone(dtype=jnp.bfloat16).apply)(variables, a, b)
    assert coarse.backbone_a.dtype == coarse.coarse_a.dtype == jnp.bfloat16
    assert coarse.log_p.dtype == jnp.float32
    np.testing.assert_allclose(coarse.coarse_a.astype(jnp.float32), exact.coarse_a, atol=0.2)


def test_compiles_once_per_shape(small_dense):
    model, variables = small_dense()
    traces = []

    @jax.jit
    def run(a, b):
        traces.append((a.shape, b.shape))
        return model.apply(variables, a, b).log_p

    for shape in ((1, 32, 32), (1, 32, 32), (1, 16, 32), (1, 32, 32)):
        run(jnp.ones(shape), jnp.zeros(shape))
    assert len(traces) == 2


def test_from_config_takes_any_object_with_the_keys():
    class Backbone(Enum):
        FPN = "resnet_fpn_8_2"

    dense = SimpleNamespace(
        backbone=Backbone.FPN,
        stem_width=4,
        stage_widths=[4, 4, 8],
        d_model=8,
        num_heads=2,
        num_layers=3,
        use_loftr=False,
        attention="full",
        norm_eps=1e-6,
        temp_bug_fix=True,
        temperature=0.2,
        fine=Enum("Fine", {"LOFTR": "loftr"}).LOFTR,
        another_key=None,
    )
    model = DenseModel.from_config(dense, jnp.bfloat16)
    assert model.layer_kinds == ("self", "cross", "self") and model.stride == 8
    assert (model.stage_widths, model.dtype, model.norm_eps) == ((4, 4, 8), jnp.bfloat16, 1e-6)
    assert model.has_fine and model.fine_stride == 2
    assert hash(model) == hash(DenseModel.from_config(dense, jnp.bfloat16))


def test_what_does_not_fit_is_said(small_dense):
    with pytest.raises(ValueError, match="128 wide and the transformer 256"):
        DenseModel(stage_widths=(64, 64, 128))
    with pytest.raises(ValueError, match="3 heads do not divide the width 256"):
        DenseModel(num_heads=3)
    with pytest.raises(ValueError, match="attention is one of"):
        DenseModel(attention="softmax")
    with pytest.raises(ValueError, match="backbone is one of"):
        DenseModel("vgg")
    model, variables = small_dense()
    with pytest.raises(ValueError, match="image of 40 x 32 px: resnet18 needs multiples of 16 px"):
        model.apply(variables, jnp.zeros((1, 32, 32)), jnp.zeros((1, 40, 32)))
    with pytest.raises(ValueError, match=r"\(batch, height, width\)"):
        model.apply(variables, jnp.zeros((1, 32, 32, 1)), jnp.zeros((1, 32, 32)))
    with pytest.raises(ValueError, match=r"has shape \(1, 2, 2\), got \(1, 4\)"):
        model.apply(variables, *[jnp.zeros((1, 32, 32))] * 2, mask_a=jnp.ones((1, 4)))
