"""The dense model against kornia's LoFTR, at its official size, with random weights, float32 on the CPU."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifvit.models.backbones import DEFAULT_WIDTHS
from ifvit.models.matching import extract_matches
from ifvit.models.transformer import position_code

torch = pytest.importorskip("torch")
pytest.importorskip("kornia")
from kornia.feature.loftr.backbone.resnet_fpn import ResNetFPN_8_2, ResNetFPN_16_4  # noqa: E402
from kornia.feature.loftr.loftr import LoFTR, default_cfg  # noqa: E402
from kornia.feature.loftr.loftr_module.transformer import LocalFeatureTransformer  # noqa: E402
from kornia.feature.loftr.utils.coarse_matching import CoarseMatching  # noqa: E402
from kornia.feature.loftr.utils.position_encoding import PositionEncodingSine  # noqa: E402

TOLERANCE = dict(atol=1e-4, rtol=0)
GRID_A, GRID_B = (6, 8), (5, 4)
# Kornia, like LoFTR, cannot project a first stage that is not as wide as the stem.
FPN_16_4_WIDTHS = (64, (64, 128, 196, 256))


def to_torch(x):
    return torch.from_numpy(np.array(x))


def images(*sizes):
    rng = np.random.default_rng(5)
    return [rng.uniform(size=(2, *size)).astype(np.float32) for size in sizes]


@pytest.fixture(scope="module")
def tokens():
    rng = np.random.default_rng(6)
    return [rng.normal(size=(2, h * w, 256)).astype(np.float32) for h, w in (GRID_A, GRID_B)]


@pytest.fixture(scope="module")
def masks():
    """Float masks of one whole and one padded image each."""
    mask_a, mask_b = np.ones((2, *GRID_A), np.float32), np.ones((2, *GRID_B), np.float32)
    mask_a[1, 4:], mask_a[1, :, 5:], mask_b[0, 3:] = 0, 0, 0
    return mask_a, mask_b


def transformer_pair(attention, torch_random, transfer):
    """(kornia's transformer, ours as a function of tokens and masks) with the same weights."""
    config = copy.deepcopy(default_cfg["coarse"]) | {"attention": attention}
    holder = torch.nn.Module()
    holder.loftr_coarse = torch_random(lambda: LocalFeatureTransformer(config))
    model, variables, report = transfer(holder, num_layers=8, attention=attention)
    assert report.groups["transformer"] == (80, 80)
    ours = model.transformer()
    params = {"params": variables["params"]["transformer"]}
    return holder.loftr_coarse, jax.jit(lambda *inputs: ours.apply(params, *inputs))


@pytest.mark.parametrize("attention", ["linear", "full"])
def test_transformer(attention, tokens, torch_random, transfer):
    theirs, ours = transformer_pair(attention, torch_random, transfer)
    with torch.no_grad():
        expected = theirs(*map(to_torch, tokens))
    for got, want in zip(ours(*tokens), expected, strict=True):
        np.testing.assert_allclose(got, want.numpy(), **TOLERANCE)


def test_transformer_with_float_masks(tokens, masks, torch_random, transfer):
    theirs, ours = transformer_pair("linear", torch_random, transfer)
    flat = [mask.reshape(2, -1) for mask in masks]
    with torch.no_grad():
        expected = theirs(*map(to_torch, tokens), *map(to_torch, flat))
    for got, want in zip(ours(*tokens, *flat), expected, strict=True):
        np.testing.assert_allclose(got, want.numpy(), **TOLERANCE)


@pytest.mark.parametrize("fixed", [True, False])
def test_position_code(fixed):
    want = PositionEncodingSine(256, temp_bug_fix=fixed).pe[0, :, :60, :80].permute(1, 2, 0)
    np.testing.assert_allclose(position_code(60, 80, 256, fixed), want.numpy(), **TOLERANCE)


@pytest.mark.parametrize(
    "kind, build, widths",
    [
        ("resnet_fpn_8_2", ResNetFPN_8_2, DEFAULT_WIDTHS["resnet_fpn_8_2"]),
        ("resnet_fpn_16_4", ResNetFPN_16_4, FPN_16_4_WIDTHS),
    ],
)
def test_fpn_backbone(kind, build, widths, torch_random, transfer):
    config = {"initial_dim": widths[0], "block_dims": list(widths[1])}
    holder = torch.nn.Module()
    holder.backbone = torch_random(lambda: build(config))
    model, variables, _ = transfer(holder, backbone=kind, stem_width=widths[0], stage_widths=widths[1])
    (image,) = images((96, 64))
    with torch.no_grad():
        want = holder.backbone(to_torch(image)[:, None])[0].permute(0, 2, 3, 1)
    got = jax.jit(model.apply)(variables_without_transformer(model, variables), image, image)
    np.testing.assert_allclose(got.backbone_a, want.numpy(), **TOLERANCE)
