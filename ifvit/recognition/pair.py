"""Two files in, their registration out, in the files' own pixels: what a person, a program or a picture wants of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ifvit import pictures, plots
from ifvit.image import Canvas, PpiFrom
from ifvit.recognition.registration import Registered
from ifvit.recognition.trained import Trained

SAID = {PpiFrom.given: "as given", PpiFrom.file: "by its own tag", PpiFrom.assumed: "assumed, nothing says it"}


class Pair(NamedTuple):
    """A registration of two files. canvas_a, canvas_b: as the model saw them, at `ppi`; seconds: without loading."""

    path_a: Path
    path_b: Path
    canvas_a: Canvas
    canvas_b: Canvas
    ppi: float
    registered: Registered
    seconds: float

    def homography(self) -> np.ndarray | None:
        """From pixels (x, y) of file A to those of file B, float64 (3, 3) with lower right 1; None if refused."""
        if self.registered.homography is None:
            return None
        return between_files(self.registered.homography, self.canvas_a, self.canvas_b, self.ppi)

    def tree(self) -> dict[str, Any]:
        """For JSON: lengths in px of the files, angles in degrees."""
        registered, homography = self.registered, self.homography()
        matches = registered.matches
        points = self.canvas_a.to_file(matches.points_a, self.ppi), self.canvas_b.to_file(matches.points_b, self.ppi)
        return {
            "a": str(self.path_a),
            "b": str(self.path_b),
            "registered": registered.refusal is None,
            "cause": registered.refusal and str(registered.refusal.cause),
            "reason": registered.refusal and registered.refusal.text,
            "homography": None if homography is None else homography.tolist(),
            "overlap": registered.aligned and round(registered.aligned.share, 4),
            "matches": [
                {"a": a, "b": b, "confidence": round(float(c), 4), "inlier": bool(right)}
                for a, b, c, right in zip(
                    *(np.round(p, 2).tolist() for p in points), matches.confidence, registered.inliers, strict=True
                )
            ],
            "ppi": {name: {"value": c.ppi, "from": c.ppi_from.value} for name, c in self._canvases()},
            "inverted": {name: c.inverted for name, c in self._canvases()},
            "seconds": round(self.seconds, 3),
        }

    def text(self) -> str:
        """A few lines for a person."""
        registered = self.registered
        agree, made = int(registered.inliers.sum()), len(registered.inliers)
        lines = []
        if registered.refusal:
            lines.append(f"not registered: {registered.refusal.text}")
        else:
            lines.append(
                f"registered: {agree} of {made} matches agree, {registered.aligned.share:.0%} of the smaller print "
                "overlaps"
            )
            rows = (" ".join(f"{value:11.6g}" for value in row) for row in self.homography())
            lines += ["homography, pixels of A to pixels of B:", *(f"  {row}" for row in rows)]
        for name, canvas in self._canvases():
            turned = "; light ridges, turned over" if canvas.inverted else ""
            lines.append(f"{name.upper()}: {canvas.ppi:g} ppi, {SAID[canvas.ppi_from]}{turned}")
        return "\n".join([*lines, f"in {self.seconds:.2f} s"])

    def picture(self) -> np.ndarray:
        """Both prints, their matches and the overlay, uint8 RGB (H, W, 3).

        Raises:
            ValueError: the pair was refused.
        """
        registered, aligned = self.registered, self.registered.aligned
        if aligned is None:
            raise ValueError(f"the pair was not registered: {registered.refusal}")
        laid = plots.Laid(
            self.canvas_a.grey, self.canvas_b.grey, aligned.grey_a, aligned.ridges_a, self.canvas_b.ridges,
            registered.matches.points_a, registered.matches.points_b, registered.matches.confidence,
            registered.inliers, tuple(aligned.roi),
        )  # fmt: skip
        return plots.draw_registration(
            laid, [f"A: {self.path_a.name}   B: {self.path_b.name}", self.text().split("\n")[0]]
        )

    def save(self, path: Path) -> None:
        """Write the picture, in the format that the ending of `path` names (`ifvit.pictures`).

        Raises:
            OSError: it cannot be written.
            ValueError: the pair was refused, or the ending names no format.
        """
        pictures.save(path, self.picture())

    def _canvases(self) -> tuple[tuple[str, Canvas], ...]:
        return ("a", self.canvas_a), ("b", self.canvas_b)


def register_files(trained: Trained, path_a: Path, path_b: Path, ppi: float | None = None) -> Pair:
    """Lay the print of one file on another's.

    ppi: of both files, over their own tags; 500 where nobody says it.

    Raises:
        ImageError: a file cannot be used; names it.
        EnhancementError: what found the ridges in training is not installed.
    """
    enhancer = trained.enhancer()
    canvases = trained.canvas(path_a, ppi, enhancer), trained.canvas(path_b, ppi, enhancer)
    registrar = trained.registrar()
    started = time.perf_counter()
    registered = registrar.register(*canvases)
    return Pair(path_a, path_b, *canvases, trained.ppi, registered, time.perf_counter() - started)


def between_files(homography: np.ndarray, canvas_a: Canvas, canvas_b: Canvas, ppi: float) -> np.ndarray:
    """A homography of two frames at `ppi` as one of the files' pixels, lower right 1."""
    whole = _to_file(canvas_b, ppi) @ homography @ np.linalg.inv(_to_file(canvas_a, ppi))
    return whole / whole[2, 2]


def _to_file(canvas: Canvas, ppi: float) -> np.ndarray:
    """`Canvas.to_file` as a homography."""
    origin, right = (canvas.to_file(np.array(point, np.float64), ppi) for point in ((0, 0), (1, 0)))
    scale = right[0] - origin[0]
    return np.array([[scale, 0, origin[0]], [0, scale, origin[1]], [0, 0, 1]])
