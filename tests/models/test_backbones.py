from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifvit.models.backbones import (
    DEFAULT_WIDTHS,
    FINE_STRIDES,
    STRIDES,
    BasicBlock,
    fine_width,
    make_backbone,
    resolve_widths,
    upsample,
)

pytestmark = pytest.mark.slow


# The receptive field of a cell reaches this many px to either side, counted by hand from kernels and strides.
REACH = {"resnet18": 105, "resnet_fpn_8_2": 53, "resnet_fpn_16_4": 109}
BLOCK = {"conv1", "bn1", "conv2", "bn2"}
SKIP = {"downsample_0", "downsample_1"}


def small(kind):
    return make_backbone(kind, 2, (2,) * len(DEFAULT_WIDTHS[kind][1]), jnp.float32)


def test_tables_name_the_same_backbones():
    assert STRIDES.keys() == DEFAULT_WIDTHS.keys() == REACH.keys()


@pytest.mark.parametrize("kind", STRIDES)
def test_default_widths_and_stride(kind):
    model = make_backbone(kind, None, None, jnp.float32)
    ((out, fine), variables) = jax.eval_shape(model.init_with_output, jax.random.key(0), jnp.zeros((1, 96, 64, 1)))
    assert fine is None
    assert out.shape == (1, 96 // STRIDES[kind], 64 // STRIDES[kind], 256)
    stem, stages = DEFAULT_WIDTHS[kind]
    assert variables["params"]["conv1"]["kernel"].shape == (7, 7, 1, stem)
    for stage, width in enumerate(stages, start=1):
        assert variables["params"][f"layer{stage}_1"]["conv2"]["kernel"].shape == (3, 3, width, width)


@pytest.mark.parametrize("kind, stages", [("resnet18", 3), ("resnet_fpn_8_2", 3), ("resnet_fpn_16_4", 4)])
def test_parameter_names(kind, stages):
    params = jax.eval_shape(small(kind).init, jax.random.key(0), jnp.zeros((1, 16, 16, 1)))["params"]
    blocks = {f"layer{s}_{b}" for s in range(1, stages + 1) for b in (0, 1)}
    outconv = set() if kind == "resnet18" else {f"layer{stages}_outconv"}
    assert set(params) == {"conv1", "bn1"} | blocks | outconv
    for name in blocks:
        down = name.endswith("_0") and name != "layer1_0"
        assert set(params[name]) == (BLOCK | SKIP if down else BLOCK)
    convs = [path for path, _ in jax.tree_util.tree_leaves_with_path(params) if "conv" in str(path)]
    assert not any("bias" in str(path) for path in convs)


@pytest.mark.parametrize("kind, top", [("resnet_fpn_8_2", 3), ("resnet_fpn_16_4", 4)])
def test_fine_map(kind, top):
    """Two stages below the coarse map, as wide as its stage, with LoFTR's names."""
    model = make_backbone(kind, None, None, jnp.float32, fine_map=True)
    (_, fine), variables = jax.eval_shape(model.init_with_output, jax.random.key(0), jnp.zeros((1, 96, 64, 1)))
    stride, widths = FINE_STRIDES[kind], DEFAULT_WIDTHS[kind][1]
    assert fine.shape == (1, 96 // stride, 64 // stride, 128) and fine_width(kind) == 128
    params = variables["params"]
    for stage in (top - 1, top - 2):
        above = params[f"layer{stage}_outconv"]["kernel"]
        assert above.shape == (1, 1, widths[stage - 1], widths[stage])
        assert params[f"layer{stage}_outconv2_0"]["kernel"].shape == (3, 3, widths[stage], widths[stage])
        assert params[f"layer{stage}_outconv2_3"]["kernel"].shape == (3, 3, widths[stage], widths[stage - 1])
        assert set(variables["batch_stats"][f"layer{stage}_outconv2_1"]) == {"mean", "var"}


@pytest.mark.parametrize("height, width", [(1, 1), (2, 3), (5, 4)])
def test_upsampling_keeps_the_corners(height, width, rng):
    """Output i reads the input at i (n - 1) / (2n - 1), linearly, along both sides."""
    x = rng.normal(size=(2, height, width, 3)).astype(np.float32)
    got = np.asarray(upsample(jnp.asarray(x)))
    assert got.shape == (2, 2 * height, 2 * width, 3)
    rows, columns = (np.arange(2 * n) * (n - 1) / (2 * n - 1) for n in (height, width))
    for i, r in enumerate(rows):
        for j, c in enumerate(columns):
            top, left = int(r), int(c)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            upper = x[:, top, left] * (1 - (c - left)) + x[:, top, right] * (c - left)
            lower = x[:, bottom, left] * (1 - (c - left)) + x[:, bottom, right] * (c - left)
            np.testing.assert_allclose(got[:, i, j], upper * (1 - (r - top)) + lower * (r - top), atol=1e-5)


def test_a_skip_that_changes_width_is_projected():
    model = make_backbone("resnet_fpn_16_4", 6, (2, 2, 2, 2), jnp.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 16, 16, 1)))["params"]
    assert params["layer1_0"]["downsample_0"]["kernel"].shape == (1, 1, 6, 2)


@pytest.mark.parametrize("kind", STRIDES)
def test_cell_is_centred_on_its_pixel(kind, random_variables):
    """Cell r looks at the pixels s r - reach … s r + reach: padding is symmetric at every stride."""
    stride, reach = STRIDES[kind], REACH[kind]
    model = small(kind)
    image = jnp.ones((1, 256, 16, 1))
    # Positive weights leave every ReLU open, so the gradient shows the whole field.
    variables = jax.tree.map(jnp.abs, random_variables(model, image))
    row = 128 // stride
    cell = lambda x: model.apply(variables, x)[0][0, row, 0].sum()  # noqa: E731
    if kind == "resnet18":  # the max-pool passes one of equal pixels on: let it be any of them in turn
        ramp = jnp.arange(256.0)[None, :, None, None]
        gradient = sum(map(jax.jit(jax.grad(cell)), (image + 1e-3 * ramp, image - 1e-3 * ramp)))
    else:
        gradient = jax.jit(jax.grad(cell))(image)
    field = np.flatnonzero(np.asarray(gradient[0, :, :, 0]).max(axis=1))
    assert (field[0], field[-1]) == (128 - reach, 128 + reach)


def test_batch_norm_momentum_and_eps(rng, random_variables):
    model = small("resnet_fpn_8_2")
    image = jnp.asarray(rng.normal(size=(2, 16, 16, 1)), jnp.float32)
    variables = random_variables(model, image)
    variables["params"]["bn1"] = {"scale": jnp.ones(2), "bias": jnp.zeros(2)}
    old = variables["batch_stats"]["bn1"]
    run = partial(model.apply, mutable=["batch_stats", "intermediates"], capture_intermediates=True)
    _, state = jax.jit(run, static_argnums=2)(variables, image, True)
    conv = np.asarray(state["intermediates"]["conv1"]["__call__"][0])
    stats = state["batch_stats"]["bn1"]
    np.testing.assert_allclose(stats["mean"], 0.9 * old["mean"] + 0.1 * conv.mean((0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(stats["var"], 0.9 * old["var"] + 0.1 * conv.var((0, 1, 2)), rtol=1e-4)

    tiny = jax.tree.map(lambda x: x, variables)
    tiny["batch_stats"]["bn1"] = {"mean": stats["mean"], "var": jnp.full(2, 1e-5)}
    _, state = jax.jit(run)(tiny, image)
    normed = state["intermediates"]["bn1"]["__call__"][0]
    np.testing.assert_allclose(normed, (conv - stats["mean"]) / np.sqrt(1e-5 + 1e-5), rtol=1e-3, atol=1e-2)


def test_evaluation_leaves_statistics_alone_and_training_moves_all(rng, random_variables):
    model = small("resnet18")
    image = jnp.asarray(rng.uniform(size=(2, 32, 32, 1)), jnp.float32)
    variables = random_variables(model, image)
    run = jax.jit(lambda train: model.apply(variables, image, train, mutable=["batch_stats"])[1],
                  static_argnums=0)  # fmt: skip
    old = jax.tree.leaves(variables["batch_stats"])
    assert all((a == b).all() for a, b in zip(old, jax.tree.leaves(run(False)["batch_stats"]), strict=True))
    assert all((a != b).any() for a, b in zip(old, jax.tree.leaves(run(True)["batch_stats"]), strict=True))


def test_kernels_start_he_normal_over_fan_out():
    model = BasicBlock(32, 2)
    params = jax.jit(model.init, static_argnums=2)(jax.random.key(0), jnp.zeros((1, 2, 2, 64)), False)
    for kernel in (params["params"][name]["kernel"] for name in ("conv1", "conv2", "downsample_0")):
        fan_out = kernel.shape[0] * kernel.shape[1] * kernel.shape[3]
        assert float(kernel.std()) == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)


def test_what_does_not_exist_is_said():
    with pytest.raises(ValueError, match="backbone is one of.*'resnet50'"):
        resolve_widths("resnet50")
    with pytest.raises(ValueError, match="resnet18 has no fine map; resnet_fpn_16_4 and resnet_fpn_8_2 have one"):
        make_backbone("resnet18", None, None, jnp.float32, fine_map=True)
    assert fine_width("resnet18") is None
    with pytest.raises(ValueError, match="resnet_fpn_16_4 has 4 stages"):
        resolve_widths("resnet_fpn_16_4", None, (1, 2, 3))
