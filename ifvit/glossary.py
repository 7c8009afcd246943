"""The meaning of the metrics, for `evaluate --help` and the report; docs/metrics.md explains them further.

`term_of` finds the term of a key in a file. N in a key stands for a number.
"""

from __future__ import annotations

import re
from typing import NamedTuple

DOCS = "docs/metrics.md"


class Term(NamedTuple):
    """A metric or another entry of a result."""

    name: str  # for people
    means: str  # its meaning, in a sentence
    keys: tuple[str, ...] = ()  # its names in metrics.json and results.json
    more: str = ""  # further sentences


VERIFICATION = (
    Term("genuine pair", "two impressions of one finger (mates)", ("genuine",)),
    Term("impostor pair", "impressions of two different fingers", ("impostor", "impostors")),
    Term(
        "failed", "pairs without a score: an image that cannot be used, or too little that is seen of a print",
        ("failed_genuine", "failed_impostor"), "They count as the lowest score: rejected at every useful threshold.",
    ),
    Term("score", "how much speaks for one finger; higher for mates", ("score",)),
    Term("threshold", "pairs that score at or above it are accepted", ("threshold", "eer_threshold")),
    Term("FMR", "false match rate: the share of impostor pairs that are accepted", ("fmr", "far"), "Also called FAR."),
    Term("FNMR", "false non-match rate: the share of genuine pairs that are rejected", ("fnmr",)),
    Term(
        "EER", "equal error rate: where FMR and FNMR are equal", ("eer", "eer_low", "eer_high"),
        "They seldom meet in a point: the EER is the middle of the interval between them (`between`), by FVC's rule.",
    ),
    Term("FMR100", "the lowest FNMR at an FMR of at most 1 % (one in 100)", ("fmr100",)),
    Term("FMR1000", "the lowest FNMR at an FMR of at most 0.1 % (one in 1000)", ("fmr1000",)),
    Term("ZeroFMR", "the lowest FNMR that accepts no impostor pair", ("zero_fmr",)),
    Term("ZeroFNMR", "the lowest FMR that rejects no genuine pair", ("zero_fnmr",)),
    Term(
        "TAR", "true accept rate, 1 - FNMR: genuine pairs accepted, at the FAR named with it", ("tar",),
        "FAR is the FMR.",
    ),
    Term("AUC", "how often a genuine pair scores above an impostor pair; 1 is all, 0.5 is chance", ("auc",)),
    Term(
        "[low, high]", "the 95 % interval of a figure, over fingers", ("intervals",),
        "Fingers, not pairs, are drawn again 1000 times; other fingers would give figures like these.",
    ),
    Term(
        "means little, *", "the pairs are too few: N of them tell no rate below 3 / N from none",
        ("enough", "least_fmr", "least_fnmr"), "No interval is shown with such a figure.",
    ),
    Term("DET", "the curve of FNMR over FMR, at all thresholds", ("det",)),
    Term("histogram", "pairs by score", ("histogram", "edges")),
    Term(
        "calibration", "how often, at most, different fingers reach a score", ("calibration", "above"),
        "The upper end of a one-sided 95 % interval, by the impostor pairs of one evaluation.",
    ),
)  # fmt: skip

REGISTRATION = (
    Term("exact", "the share of cells that are matched with their true cell", ("exact",)),
    Term("within_one", "the share at most one cell off, in row and in column", ("within_one",)),
    Term("end_point_error", "the mean distance of a cell's match from its true place, px", ("end_point_error",)),
    Term("pck_N", "the share of ALL labelled cells whose best cell lies within N px of the truth", ("pck_N",)),
    Term(
        "coarse_pck_N, fine_pck_N", "the share of the matches THAT ARE MADE that lie within N px of the truth",
        ("coarse_pck_N", "fine_pck_N"),
        "coarse: at the cell's pixel. fine: moved by LoFTR's fine stage. A model that matches little can be high here "
        "and low in pck_N.",
    ),
    Term(
        "coarse_median, fine_median", "how far off those matches are, px: their median, and their mean",
        ("coarse_median", "coarse_mean", "fine_median", "fine_mean"),
    ),
    Term("precision", "the share of the matches made that are within one cell of the truth", ("precision",)),
    Term("recall", "the share of labelled cells that have a match made, and a right one", ("recall",)),
    Term("matches", "matches made, a pair", ("matches",)),
    Term(
        "positive", "the loss of cells that have a true cell: the mean of -log P of it", ("positive",),
        "0 is sure and right. P is the probability of a match.",
    ),
    Term(
        "negative", "the loss of cells that have none: the mean of -log(1 - P) of their pairs", ("negative",),
        "Of different fingers these are all cells.",
    ),
    Term("fine", "the loss of the fine stage: its squared error, weighted by how sure it is", ("fine",)),
    Term("loss", "what training lowers: the weighted sum of its terms", ("loss",)),
)  # fmt: skip

MATCHER = (
    Term("arc", "ArcFace's loss: does a print's vector point to its finger among those trained on", ("arc",)),
    Term(
        "embedding", "the loss of the cosines: 1 - cos of mates, what exceeds a margin of others",
        ("embedding", "global_embedding", "local_embedding"),
    ),
    Term(
        "figures of a branch", "the same figures of one of Module 2's branches",
        ("global_exact", "global_within_one", "global_positive", "global_negative", "local_exact", "local_within_one",
         "local_positive", "local_negative"),
        "global sees both prints enhanced, local 90x90 px of the prints themselves.",
    ),
    Term("global_auc, local_auc", "AUC by the cosine of one branch alone", ("global_auc", "local_auc")),
    Term(
        "genuine_score, impostor_score", "the mean score of mates, and of others", ("genuine_score", "impostor_score")
    ),
    Term("EER on synthetic fingers", "a validation's EER; real prints are harder", more="Only `evaluate` on real "
         "prints tells how good a run is on real prints."),
)  # fmt: skip

FILES = (
    Term("pairs", "how many pairs were looked at", ("pairs",)),
    Term("fingers", "how many different fingers they are of", ("fingers",)),
    Term("step", "updates made", ("step",)),
    Term("best", "the validation whose state is kept as the run's best", ("best",)),
    Term("untrained", "the same figures before the first update", ("untrained",)),
    Term("sources", "of a mixture, some of the figures for each source", ("sources",)),
    Term("run, state, input, enhancement", "which networks looked, at what", ("run", "state", "input", "enhancement")),
    Term("protocol", "which pairs were compared", ("protocol",)),
    Term("images, unusable", "how many files, and why some could not be used", ("images", "unusable")),
    Term("ms a pair", "the time a comparison took, ms, the median", ("ms a pair",)),
    Term("databases", "the figures of each database", ("databases",)),
    Term("baseline", "another matcher on the same pairs", ("baseline", "name", "version")),
    Term(
        "robustness", "FNMR of prints that are turned and moved, at the threshold of FMR 1 %",
        ("robustness", "angles", "shifts"), "angles: degrees; shifts: mm.",
    ),
    Term("date, command", "when and how the report was made", ("date", "command", "ifvit")),
)  # fmt: skip

GROUPS = {
    "Verification": VERIFICATION,
    "Module 1, registration": REGISTRATION,
    "Module 2, the matcher": MATCHER,
    "Files": FILES,
}
SHORT = ("FMR", "FNMR", "EER", "FMR100", "FMR1000", "ZeroFMR", "TAR", "AUC", "[low, high]", "means little, *")


def term_of(key: str) -> Term | None:
    """The term of a key in metrics.json or results.json; None where there is none."""
    plain = re.sub(r"(?<=pck_)\d+$", "N", key)
    return next((term for terms in GROUPS.values() for term in terms if plain in term.keys), None)


def epilog() -> str:
    """The metrics of a verification in short, for --help."""
    terms = {term.name: term for term in VERIFICATION}
    lines = [f"  {name:16} {terms[name].means}" for name in SHORT]
    return "\n".join(["figures:", *lines, f"all of them, with formulas: {DOCS}"])
