"""The whole of LoFTR against kornia's: backbone, coarse and fine stage, at the official size, with random weights."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifvit.models.matching import extract_matches
from ifvit.weights.loftr import write_weights
from ifvit.weights.merge import arrays_of
from ifvit.weights.official import Provenance

torch = pytest.importorskip("torch")
pytest.importorskip("kornia")
from kornia.feature.loftr.loftr import LoFTR, default_cfg  # noqa: E402

TOLERANCE = dict(atol=1e-4, rtol=0)
POINT_TOLERANCE = dict(atol=1e-3, rtol=0)  # px
THRESHOLD = 1e-4  # random weights are sure of nothing
LEAST_MATCHES = 20
WIDTHS = {"resnet_fpn_8_2": (128, (128, 196, 256)), "resnet_fpn_16_4": (64, (64, 128, 196, 256))}


@pytest.fixture(scope="module", params=[("resnet_fpn_8_2", False), ("resnet_fpn_8_2", True), ("resnet_fpn_16_4", True)],
                ids=lambda p: f"{p[0]}, temp_bug_fix={p[1]}")  # fmt: skip
def both(request, torch_random, transfer):
    """(kornia's LoFTR, our model, its variables) with the same weights."""
    kind, fixed = request.param
    stem, stages = WIDTHS[kind]
    config = copy.deepcopy(default_cfg)
    config["coarse"]["temp_bug_fix"] = fixed
    config["match_coarse"] |= {"thr": THRESHOLD, "border_rm": 0}
    config["resolution"] = (8, 2) if kind == "resnet_fpn_8_2" else (16, 4)
    config["resnetfpn"] = {"initial_dim": stem, "block_dims": list(stages)}
    loftr = torch_random(lambda: LoFTR(pretrained=None, config=config))
    with torch.no_grad():  # random sums grow from layer to layer: bring maps and windows back to values of about 1
        for name, weight in loftr.backbone.named_parameters():
            if name.endswith(("outconv2.3.weight", "layer4_outconv.weight")):
                weight *= 0.1
        for linear in (loftr.fine_preprocess.down_proj, loftr.fine_preprocess.merge_feat):
            linear.weight *= 0.3
    fields = dict(backbone=kind, stem_width=stem, stage_widths=stages, num_layers=8, temp_bug_fix=fixed, fine="loftr")
    model, variables, report = transfer(loftr, **fields)
    assert report.fresh == () and set(report.skipped) == {n for n in loftr.state_dict() if "num_batches" in n}
    return loftr, model, variables


def shifted(size_a, size_b, stride, seed=5):
    """Two pairs of noise; B is A moved by whole cells, cut or continued to its own size."""
    rng = np.random.default_rng(seed)
    height, width = np.maximum(size_a, size_b) + 2 * stride
    canvas = rng.uniform(size=(2, height, width)).astype(np.float32)
    return canvas[:, : size_a[0], : size_a[1]], canvas[:, stride : stride + size_b[0], : size_b[1]]


def kornias(loftr, images, masks=None):
    """What kornia computes on the way, as NumPy, and the matches by (pair, point of A)."""
    seen = {}
    hooks = [
        getattr(loftr, name).register_forward_hook(
            lambda module, inputs, output, name=name: seen.update({name: output, f"{name} in": inputs})
        )
        for name in ("loftr_coarse", "loftr_fine", "coarse_matching")
    ]
    data = {f"image{k}": torch.from_numpy(image.copy())[:, None] for k, image in enumerate(images)}
    if masks is not None:
        data |= {f"mask{k}": torch.from_numpy(mask) for k, mask in enumerate(masks)}
    with torch.no_grad():
        found = loftr(data)
        fine = [loftr.extract_features(data[f"image{k}"])["fine"].permute(0, 2, 3, 1).numpy() for k in (0, 1)]
    for hook in hooks:
        hook.remove()
    inner = seen["coarse_matching in"][2]
    return found, inner, [x.numpy() for x in seen["loftr_coarse"]], [x.numpy() for x in seen["loftr_fine"]], fine


def ours(model, variables, images, masks=None):
    grids = [model.grid(*image.shape[1:]) for image in images]
    flat = [None, None] if masks is None else [mask[:, :: model.stride, :: model.stride] for mask in masks]

    @jax.jit
    def run(a, b, *cell_masks):
        out = model.apply(variables, a, b, *cell_masks)
        options = dict(threshold=THRESHOLD, border=0, max_matches=out.log_p.shape[1])
        found = extract_matches(out.log_p, *grids, **options, mask_a=cell_masks[0], mask_b=cell_masks[1])
        refined, inner = model.apply(
            variables, out, found.cells, method="refine", mutable=["intermediates"], capture_intermediates=True
        )
        return out, found, refined, inner["intermediates"]["fine_transformer"]["__call__"][0]

    return run(*map(jnp.asarray, images), *flat)


def compare(both, images, masks=None):
    loftr, model, variables = both
    found, inner, coarse, fine, fine_maps = kornias(loftr, images, masks)
    out, matches, refined, windows = ours(model, variables, images, masks)
    for got, want in zip((out.fine_a, out.fine_b), fine_maps, strict=True):
        np.testing.assert_allclose(got, want, **TOLERANCE)
    for got, want in zip((out.coarse_a, out.coarse_b), coarse, strict=True):
        np.testing.assert_allclose(got, want, **TOLERANCE)
    p = inner["conf_matrix"].numpy()
    real = p > 0  # kornia blanks padded cells afterwards
    np.testing.assert_allclose(np.exp(out.log_p)[real], p[real], **TOLERANCE)

    rows = {(pair, i, j): m for pair, cells in enumerate(matches.cells.tolist())
            for m, (i, j) in enumerate(cells) if i >= 0}  # fmt: skip
    expected = [tuple(map(int, ids)) for ids in zip(inner["b_ids"], inner["i_ids"], inner["j_ids"], strict=True)]
    assert len(expected) >= LEAST_MATCHES and set(rows) == set(expected)
    pair, place = np.array([(key[0], rows[key]) for key in expected]).T
    np.testing.assert_allclose(matches.confidence[pair, place], found["confidence"], **TOLERANCE)
    for got, want in zip(windows, fine, strict=True):
        each = np.asarray(got).reshape(*matches.cells.shape[:2], *want.shape[1:])
        np.testing.assert_allclose(each[pair, place], want, **TOLERANCE)
    expected_spread = inner["expec_f"][:, 2].numpy()
    np.testing.assert_allclose(refined.spread[pair, place], expected_spread, **POINT_TOLERANCE)
    cell = matches.cells[pair, place, 0]
    columns = images[0].shape[2] // model.stride
    points_a = model.stride * np.stack([cell % columns, cell // columns], -1)
    np.testing.assert_allclose(points_a, found["keypoints0"], **POINT_TOLERANCE)
    np.testing.assert_allclose(refined.points_b[pair, place], found["keypoints1"], **POINT_TOLERANCE)


@pytest.mark.parametrize("cells", [((12, 12), (12, 12)), ((10, 15), (10, 15)), ((14, 9), (11, 13))], ids=str)
def test_every_stage(both, cells):
    """Three sizes in a batch of two, the third with A and B of different size."""
    stride = both[1].stride
    compare(both, shifted(*(np.array(side) * stride for side in cells), stride))


def test_every_stage_with_padding_masks(both):
    """Float masks of one whole and one padded image on each side; kornia ignores masks at a border."""
    stride = both[1].stride
    images = shifted((14 * stride, 12 * stride), (12 * stride, 14 * stride), stride)
    masks = [np.ones(image.shape, np.float32) for image in images]
    masks[0][1, 10 * stride :], masks[0][1, :, 11 * stride :], masks[1][0, 9 * stride :] = 0, 0, 0
    compare(both, images, masks)


def test_a_model_of_ours_computes_the_same_in_kornia(both, tmp_path):
    """Weights written as .safetensors load there strictly, without any of our code."""
    from safetensors.torch import load_file

    theirs, model, variables = both
    rng = np.random.default_rng(9)
    variables = jax.tree.map(lambda x: np.asarray(x) * rng.uniform(0.8, 1.2, x.shape).astype(np.float32), variables)
    path = tmp_path / "ours.safetensors"
    write_weights(path, arrays_of(variables), Provenance("a test", temp_bug_fix=model.temp_bug_fix))
    loftr = LoFTR(pretrained=None, config=theirs.config).eval()
    state = load_file(path)
    assert set(state) == set(loftr.state_dict())
    loftr.load_state_dict(state, strict=True)
    side = 12 * model.stride
    compare((loftr, model, variables), shifted((side, side), (side, side), model.stride))
