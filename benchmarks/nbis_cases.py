"""The cases of `bench.py` that measure NIST's mindtct and bozorth3. Runs where the extra `peers` is installed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from io import BytesIO

from cases import prints
from PIL import Image
from rounds import Round, serve

from ifvit.evaluation.nbis_worker import NbisLibrary


def finding(compare: bool) -> Round:
    """Minutiae of the prints; or the scores of pairs whose minutiae are known."""
    nbis = NbisLibrary()
    pngs = []
    for grey in prints():
        buffer = BytesIO()
        Image.fromarray(grey).save(buffer, "png", dpi=(500, 500))
        pngs.append(buffer.getvalue())
    templates = [nbis.answer([png]) for png in pngs]

    def find() -> int:
        return len([nbis.answer([png]) for png in pngs])

    def score() -> int:
        return len([nbis.answer([a, b]) for a, b in zip(templates[::2], templates[1::2], strict=True)])

    return score if compare else find


CASES: dict[str, Callable[[], Round]] = {"mindtct": partial(finding, False), "bozorth3": partial(finding, True)}

if __name__ == "__main__":
    serve(CASES)
