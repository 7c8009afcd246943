"""The result of a registration: whether two prints are aligned, and the map between them, as text, JSON or picture."""

from __future__ import annotations

from datetime import date
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ifvit.comparison.image_pair import MM2, SOURCES, ImagePair
from ifvit.comparison.synthetic_calibration import synthetic_calibration
from ifvit.comparison.verdict import verdict
from ifvit.pictures import picture_files

FMR = 0.01  # the share of impostor pairs that count as registered, at most


def is_registered(score: float) -> bool:
    """Whether a score of ridges and minutiae alone speaks for one finger, at an FMR of `FMR`."""
    return bool(verdict(score, FMR, None, synthetic_calibration(False)).accepted)


class Registration:
    """The registration of two images. pair: the images and their comparison."""

    def __init__(self, pair: ImagePair):
        self.pair = pair

    def __repr__(self) -> str:
        answer = "registered" if self.registered else "not registered"
        return f"<Registration of {self.pair.names}: {answer}>"

    def _repr_png_(self) -> bytes:
        """The picture as a PNG, for notebooks."""
        return picture_files.for_notebook(self.picture())

    @property
    def registered(self) -> bool:
        """Whether the ridges agree as those of one finger do."""
        return is_registered(self.pair.compared.ridge_score)

    @property
    def reason(self) -> str | None:
        """The guesses and how well the ridges agree under the best one; None where the pair is registered."""
        return None if self.registered else self.pair.guesses_text()

    def to_dict(self) -> dict[str, Any]:
        """The registration, for JSON; lengths in px of the files. Without one the map is the best guess's."""
        pair = self.pair
        tree = {
            "a": pair.name_a,
            "b": pair.name_b,
            "registered": self.registered,
            "reason": self.reason,
            "agreement": pair.agreement_dict(),
            "homography": None if pair.homography is None else pair.homography.tolist(),
            "map": pair.map_list(),
            **pair.files_dict(),
        }
        return tree if pair.compared.guess is None else tree | {"registration": pair.registration_list()}

    def text(self) -> str:
        """The registration in a few lines, for people."""
        pair, agreement = self.pair, self.pair.alignment.agreement
        if not self.registered:
            return "\n".join([f"not registered: {self.reason}", *pair.files_text()])
        lines = [
            f"registered: ridges agree at {agreement.mean:.2f} over {agreement.area * MM2:.0f} mm2, {pair.overlap:.0%} "
            f"of the smaller print (from a guess by {SOURCES[pair.alignment.source]})"
        ]
        if pair.homography is not None:
            rows = (" ".join(f"{value:11.6g}" for value in row) for row in pair.homography)
            lines += ["the nearest homography, pixels of A to pixels of B:", *(f"  {row}" for row in rows)]
        return "\n".join([*lines, *pair.files_text()])

    def picture(self, day: date | None = None) -> np.ndarray:
        """Both prints, the overlay, the agreement and the bent grid; uint8 RGB (H, W, 3).

        day: the date on the picture; None takes today.
        """
        answer, _, reason = self.text().split("\n")[0].partition(": ")
        score = (
            f"score {self.pair.compared.ridge_score:.2f} by ridges and minutiae; registered above 0, "
            f"where at most {100 * FMR:g} % of different fingers score as high"
        )
        return self.pair.draw(answer, [reason, score], day)

    def save(self, path: str | PathLike, day: date | None = None) -> None:
        """Write the picture, in the format that the ending of `path` names (`ifvit.pictures.picture_files`).

        day: as of `picture`.

        Raises:
            WriteError: the file cannot be written.
            PictureError: the ending names no format, or the format cannot hold so large a picture.
        """
        picture_files.save(Path(path), self.picture(day))
