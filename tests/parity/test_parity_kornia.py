"""The dense model against kornia's LoFTR, at its official size, with random weights, float32 on the CPU."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifvit.models.backbones import DEFAULT_WIDTHS, make_backbone
from ifvit.models.matching import extract_matches, log_dual_softmax
from ifvit.models.transformer import Transformer, position_code

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
    ours = Transformer(model.layer_kinds, model.num_heads, model.d_model, attention=attention)
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
    inner = {name: tree["backbone"] for name, tree in variables.items()}
    backbone = make_backbone(kind, *widths, jnp.float32)
    np.testing.assert_allclose(backbone.apply(inner, image[..., None])[0], want.numpy(), **TOLERANCE)


class TorchBlock(torch.nn.Module):
    """ResNet's basic block, written here from its paper: torchvision's may not be installed."""

    def __init__(self, before, width, stride):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(width)
        self.conv2 = torch.nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = torch.nn.BatchNorm2d(width)
        self.downsample = None
        if stride != 1 or before != width:
            skip = torch.nn.Conv2d(before, width, 1, stride, bias=False)
            self.downsample = torch.nn.Sequential(skip, torch.nn.BatchNorm2d(width))

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class TorchResNet18(torch.nn.Module):
    """ResNet-18 without its last stage, for one grey channel."""

    def __init__(self):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(1, 64, 7, 2, 3, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(64)
        self.layer1 = torch.nn.Sequential(TorchBlock(64, 64, 1), TorchBlock(64, 64, 1))
        self.layer2 = torch.nn.Sequential(TorchBlock(64, 128, 2), TorchBlock(128, 128, 1))
        self.layer3 = torch.nn.Sequential(TorchBlock(128, 256, 2), TorchBlock(256, 256, 1))

    def forward(self, x):
        x = torch.nn.functional.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.layer3(self.layer2(self.layer1(x)))


def test_resnet18_backbone(torch_random, transfer):
    holder = torch.nn.Module()
    holder.backbone = torch_random(TorchResNet18)
    _, variables, report = transfer(holder, backbone="resnet18")
    assert report.groups["backbone"] == (75, 75)
    (image,) = images((96, 64))
    with torch.no_grad():
        want = holder.backbone(to_torch(image)[:, None]).permute(0, 2, 3, 1)
    inner = {name: tree["backbone"] for name, tree in variables.items()}
    backbone = make_backbone("resnet18", None, None, jnp.float32)
    np.testing.assert_allclose(backbone.apply(inner, image[..., None])[0], want.numpy(), **TOLERANCE)


def kornia_matching(feat_a, feat_b, grids, masks=None, **options):
    """Kornia's P and its matches as (pair, i, j, confidence) rows."""
    matching = CoarseMatching(copy.deepcopy(default_cfg["match_coarse"]) | options).eval()
    data = {"hw0_c": grids[0], "hw1_c": grids[1], "hw0_i": [8 * s for s in grids[0]],
            "hw1_i": [8 * s for s in grids[1]], "stride_c": 8}  # fmt: skip
    flat = (None, None)
    if masks is not None:
        data["mask0"], data["mask1"] = map(to_torch, masks)
        flat = [data[name].flatten(1) for name in ("mask0", "mask1")]
    with torch.no_grad():
        matching(to_torch(feat_a), to_torch(feat_b), data, *flat)
    keys = ("b_ids", "i_ids", "j_ids", "mconf")
    return data["conf_matrix"].numpy(), sorted(zip(*(data[key].tolist() for key in keys), strict=True))


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("border", [0, 1])
def test_matches(padded, border, tokens, masks):
    a, b = tokens[0].copy(), 0.9 * tokens[1]
    a[:, ::2][:, : b.shape[1]] += 0.5 * b
    used = masks if padded else None
    p, expected = kornia_matching(a, b, (GRID_A, GRID_B), used, border_rm=border, thr=0.05)
    jax_masks = dict(zip(("mask_a", "mask_b"), masks, strict=True)) if padded else {}
    log_p = log_dual_softmax(jnp.asarray(a), jnp.asarray(b), 0.1, **jax_masks)
    valid = p > 0  # kornia blanks padded cells afterwards
    np.testing.assert_allclose(np.exp(log_p)[valid], p[valid], **TOLERANCE)
    got = extract_matches(log_p, GRID_A, GRID_B, threshold=0.05, border=border, max_matches=50, **jax_masks)
    rows = [
        (pair, *cells, score)
        for pair in range(2)
        for cells, score in zip(got.cells[pair].tolist(), got.confidence[pair].tolist(), strict=True)
        if score > 0
    ]
    assert len(expected) >= 4
    np.testing.assert_allclose(sorted(rows), expected, atol=1e-4)


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("sizes", [((64, 96), (64, 96)), ((64, 96), (80, 48))])
def test_coarse_path_end_to_end(fixed, sizes, torch_random, transfer):
    config = copy.deepcopy(default_cfg)
    config["coarse"]["temp_bug_fix"] = fixed
    loftr = torch_random(lambda: LoFTR(pretrained=None, config=config))
    fields = dict(backbone="resnet_fpn_8_2", num_layers=8, temp_bug_fix=fixed)
    model, variables, report = transfer(loftr, **fields)
    assert report.fresh == ()
    a, b = images(*sizes)
    got = jax.jit(model.apply)(variables, a, b)
    with torch.no_grad():
        tokens = [loftr.extract_features(to_torch(x)[:, None])["coarse"].flatten(2).mT for x in (a, b)]
        coarse = loftr.loftr_coarse(*tokens)
    p, _ = kornia_matching(*coarse, (model.grid(*sizes[0]), model.grid(*sizes[1])))
    for ours, theirs in zip((got.tokens_a, got.tokens_b), tokens, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), **TOLERANCE)
    for ours, theirs in zip((got.coarse_a, got.coarse_b), coarse, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), **TOLERANCE)
    assert p.max() > 0.01
    np.testing.assert_allclose(np.exp(got.log_p), p, **TOLERANCE)
