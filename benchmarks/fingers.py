"""Statistics of synthetic fingers beside those of natural ones: classes, ridge period and minutiae of many masters.

    python benchmarks/fingers.py [--fingers 200] [--seed 0]

Of the masters, without impressions. benchmarks/difficulty.py has NBIS's measures of impressions.
"""

from __future__ import annotations

import argparse

import jax
import numpy as np

from ifvit.data.finger_pool import finger_keys
from ifvit.synthesis.each import each
from ifvit.synthesis.master import grow_finger
from ifvit.synthesis.minutiae import BORDER, TipKind, find_minutiae
from ifvit.synthesis.orientation import FRAME_HEIGHT, FRAME_PPI, FRAME_WIDTH, NATURAL_MIX, Pattern

AT_ONCE = 20


@jax.jit
def measure(seed: jax.Array, numbers: jax.Array):
    """Class, median ridge period in px, and the minutiae of N fingers: real (N, M) bool and kind (N, M)."""

    def measure_finger(key: jax.Array):
        master = grow_finger(key)
        minutiae = find_minutiae(master.wave, master.theta, master.period)
        return master.pattern, jax.numpy.median(master.period), minutiae.real, minutiae.kind

    return each(measure_finger, finger_keys(seed, numbers))


def main() -> None:
    """Print the statistics."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--fingers", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    blocks = np.arange(-(-arguments.fingers // AT_ONCE) * AT_ONCE).reshape(-1, AT_ONCE)
    parts = [jax.device_get(measure(arguments.seed, block)) for block in blocks]
    pattern, period, real, kind = (np.concatenate(part)[: arguments.fingers] for part in zip(*parts, strict=True))
    area = (FRAME_HEIGHT - 2 * BORDER) * (FRAME_WIDTH - 2 * BORDER) * (25.4 / FRAME_PPI) ** 2  # mm2
    density, ending = real.sum(1) / area, (real & (kind == TipKind.ENDING)).sum() / real.sum()
    print(f"{arguments.fingers} fingers of seed {arguments.seed}")
    for k, name in enumerate(Pattern):
        share = 100 * (pattern == k).mean()
        # The standard deviation of a share in a sample: sqrt(p (1 - p) / N).
        deviation = 100 * np.sqrt(NATURAL_MIX[k] / 100 * (1 - NATURAL_MIX[k] / 100) / arguments.fingers)
        print(f"  {name.name.lower():12} {share:5.1f} %   (in nature {NATURAL_MIX[k]:.1f}, +-{deviation:.1f})")
    print(f"  ridge period {period.mean():.2f} px at 500 ppi, 10-90 % {_spread(period, '.2f')}")
    print(
        f"  minutiae     {density.mean():.3f} per mm2, 10-90 % {_spread(density, '.3f')}; {100 * ending:.0f} % endings"
    )


def _spread(values: np.ndarray, form: str) -> str:
    return "-".join(format(v, form) for v in np.quantile(values, (0.1, 0.9)))


if __name__ == "__main__":
    main()
