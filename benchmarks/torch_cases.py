"""The cases of `bench.py` that measure PyTorch: the same networks and updates, by torch 2.13 and kornia's LoFTR parts.

Runs in the environment of the parity tests (`make parity`), where this package is not needed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import kornia.feature as KF
import torch
import torch.nn.functional as F
from kornia.feature.loftr.loftr_module.transformer import LocalFeatureTransformer
from kornia.feature.loftr.utils.position_encoding import PositionEncodingSine
from rounds import Round, serve
from torch import nn

BATCH, STEPS = 16, 3
WIDTHS = (64, 64, 128, 256)


class Block(nn.Module):
    """ResNet's basic block."""

    def __init__(self, before: int, width: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.skip = nn.Identity()
        if stride != 1 or before != width:
            self.skip = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(self.skip(x) + y)


class Dense(nn.Module):
    """Module 1 as `dense=loftr`: ResNet-18 to stride 16, kornia's transformer, dual softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, WIDTHS[0], 7, 2, 3, bias=False), nn.BatchNorm2d(WIDTHS[0])
        stages = []
        for stage in range(3):
            before, width = WIDTHS[stage], WIDTHS[stage + 1]
            stages += [Block(before, width, 2 if stage else 1), Block(width, width, 1)]
        self.stages = nn.Sequential(*stages)
        self.position = PositionEncodingSine(256, (256, 256), temp_bug_fix=False)
        layers = {"d_model": 256, "nhead": 8, "layer_names": ["self", "cross"] * 4, "attention": "linear"}
        self.transformer = LocalFeatureTransformer(layers | {"temp_bug_fix": False})

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        x = torch.cat([a, b])[:, None]
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        tokens = self.position(self.stages(x)).flatten(2).transpose(1, 2)
        of_a, of_b = self.transformer(*tokens.chunk(2))
        similarity = torch.einsum("bnc,bmc->bnm", of_a / (256 * 0.1), of_b)
        return F.log_softmax(similarity, 1) + F.log_softmax(similarity, 2)


def training(height: int, width: int, compiled: bool) -> Round:
    """Steps with the same loss and AdamW; channels last, the fastest layout here."""
    torch.manual_seed(0)
    model = Dense().train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    a, b = torch.rand(BATCH, height, width), torch.rand(BATCH, height, width)
    cells = (height // 16) * (width // 16)
    labels, lone = torch.randint(-1, cells, (BATCH, cells)), torch.rand(BATCH, cells) < 0.1

    def loss_of(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        log_p = model(a, b)
        labelled = labels >= 0
        positive = -(log_p.gather(2, labels.clamp(min=0)[..., None])[..., 0] * labelled).sum() / labelled.sum()
        pairs = lone[:, :, None] | lone[:, None, :]
        negative = -(torch.log1p(-(1 - 1e-6) * log_p.exp()) * pairs).sum() / pairs.sum()
        return positive + negative

    loss = torch.compile(loss_of) if compiled else loss_of

    def run_round() -> int:
        for _ in range(STEPS):
            optimizer.zero_grad(set_to_none=True)
            loss(a, b).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        return STEPS * BATCH

    return run_round


def loftr_full(side: int = 256) -> Round:
    """kornia's LoFTR on a pair; without a threshold, so that random weights give matches for the fine stage."""
    torch.manual_seed(0)
    config = dict(KF.loftr.loftr.default_cfg)
    config["match_coarse"] = config["match_coarse"] | {"thr": 0.0}
    model = KF.LoFTR(pretrained=None, config=config).eval()
    images = torch.rand(2, 1, 1, side, side)

    def run_round() -> int:
        with torch.inference_mode():
            for _ in range(STEPS):
                model({"image0": images[0], "image1": images[1]})
        return STEPS

    return run_round


CASES: dict[str, Callable[[], Round]] = {
    "training 128x128, eager": partial(training, 128, 128, False),
    "training 128x128, compiled": partial(training, 128, 128, True),
    "training 192x160, eager": partial(training, 192, 160, False),
    "training 192x160, compiled": partial(training, 192, 160, True),
    "loftr_full 256x256": loftr_full,
}

if __name__ == "__main__":
    serve(CASES)
