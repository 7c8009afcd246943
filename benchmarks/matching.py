"""Time of a pair through LoFTR, coarse only and with the fine stage, beside kornia's in the same run.

    pip install -e '.[parity]'
    python benchmarks/matching.py [--size 256] [--pairs 1] [--runs 15]

Both have the same random weights at the official size. They are timed in turn, so that other load on the machine
affects both alike. Prints medians and their ratio. Without kornia only this program is timed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from ifvit.models.dense import DenseModel
from ifvit.models.matching import extract_matches

MODEL = DenseModel("resnet_fpn_8_2", num_layers=8, fine="loftr")
THRESHOLD = 1e-4  # low, because random weights give low confidences
MAX_MATCHES = 256


def main() -> None:
    """Print ms a pair of each function, and the ratios."""
    arguments = _parser().parse_args()
    images = _shifted_pair(arguments.pairs, arguments.size)
    kornias, variables = _kornias()
    ours, traces = _ours(variables)
    functions: dict[str, Callable[[], object]] = {
        "ours, coarse": lambda: jax.block_until_ready(ours["coarse"](*images)),
        "ours, with fine": lambda: jax.block_until_ready(ours["fine"](*images)),
    } | ({f"kornia, {name}": (lambda run=run: run(*images)) for name, run in kornias.items()})
    first_seconds = {name: _seconds(run) for name, run in functions.items()}  # compiles
    times = {name: [] for name in functions}
    for _ in range(arguments.runs):
        for name, run in functions.items():
            times[name].append(_seconds(run))
    device = jax.devices()[0]
    print(f"{device.platform} {device.device_kind}; {arguments.pairs} pair(s) of {arguments.size}x{arguments.size} px")
    for name, seconds in times.items():
        seconds_a_pair = statistics.median(seconds) / arguments.pairs
        print(f"  {name:16} {1e3 * seconds_a_pair:8.1f} ms a pair   (first call {first_seconds[name]:.1f} s)")
    for stage in ("coarse", "with fine") if kornias else ():
        ratio = statistics.median(times[f"ours, {stage}"]) / statistics.median(times[f"kornia, {stage}"])
        print(f"  ours / kornia, {stage}: {ratio:.2f}")
    match_count = int((ours["coarse"](*images)[0][..., 0] >= 0).sum())
    print(f"  matches: {match_count} found of at most {MAX_MATCHES} a pair, all of which our fine stage computes")
    larger = _shifted_pair(arguments.pairs, arguments.size + 64)
    for _ in range(2):
        ours["fine"](*larger)
    print(f"  compilations with fine, two shapes called again and again: {traces['fine']}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=256, help="px a side, a multiple of 8")
    parser.add_argument("--pairs", type=int, default=1, help="pairs a call")
    parser.add_argument("--runs", type=int, default=15)
    return parser


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _shifted_pair(pairs: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    canvas = np.random.default_rng(0).uniform(size=(pairs, size + 8, size)).astype(np.float32)
    return canvas[:, :size].copy(), canvas[:, 8:].copy()


def _ours(variables) -> tuple[dict[str, Callable], dict[str, int]]:
    """The two functions of (image_a, image_b), and the number of compilations of each."""
    traces = {"coarse": 0, "fine": 0}

    def coarse(a, b):
        traces["coarse"] += 1
        return _coarse(a, b)[1]

    def _coarse(a, b):
        out = MODEL.apply(variables, a, b)
        grid = MODEL.grid(*a.shape[1:])
        return out, extract_matches(out.log_p, grid, grid, threshold=THRESHOLD, border=0, max_matches=MAX_MATCHES)

    def fine(a, b):
        traces["fine"] += 1
        out, matches = _coarse(a, b)
        return MODEL.apply(variables, out, matches.cells, method="refine").points_b

    return {"coarse": jax.jit(coarse), "fine": jax.jit(fine)}, traces


def _kornias():
    """Kornia's two functions (none where it is not installed), and our variables: its weights, or random ones."""
    image = jnp.zeros((1, 64, 64))
    try:
        import torch
        from kornia.feature.loftr.loftr import LoFTR, default_cfg
    except ImportError:
        return {}, jax.jit(MODEL.init)(jax.random.key(0), image, image)
    import copy

    from ifvit.weights.loftr import convert_state_dict
    from ifvit.weights.merge import merge

    torch.manual_seed(0)
    config = copy.deepcopy(default_cfg)
    config["match_coarse"] |= {"thr": THRESHOLD, "border_rm": 0}
    loftr = LoFTR(pretrained=None, config=config).eval()
    device = "cuda" if jax.devices()[0].platform == "gpu" and torch.cuda.is_available() else "cpu"
    state = {name: value.numpy() for name, value in loftr.state_dict().items()}
    arrays = convert_state_dict(state).arrays
    shapes = jax.eval_shape(MODEL.init, jax.random.key(0), image, image)
    variables, _ = merge(shapes, arrays, layer_kinds=MODEL.layer_kinds, backbone=MODEL.backbone, source="random")
    loftr = loftr.to(device)

    def pair(a, b):
        return {f"image{k}": torch.from_numpy(x)[:, None].to(device) for k, x in enumerate((a, b))}

    def with_fine(a, b):
        with torch.inference_mode():
            return loftr(pair(a, b))["keypoints1"].cpu()

    def coarse(a, b):
        with torch.inference_mode():
            features = [loftr.extract_features(image)["coarse"] for image in pair(a, b).values()]
            sizes = {f"hw{k}_c": feature.shape[2:] for k, feature in enumerate(features)}
            tokens = loftr.loftr_coarse(*(feature.flatten(2).mT.contiguous() for feature in features))
            data = sizes | {"bs": len(a), "stride_c": 8}
            loftr.coarse_matching(*tokens, data)
            return data["mkpts1_c"].cpu()

    return {"coarse": coarse, "with fine": with_fine}, variables


if __name__ == "__main__":
    main()
