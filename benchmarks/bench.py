"""All figures of speed in one run: a table, a picture and JSON (`make bench`).

    make bench [BASE=main] [ARGS="--only training --rounds 5 --out bench"]

Each case is a process of its own that stays ready. The rounds of a group's cases are run in turn, so that other load
on the machine affects all alike and their ratios hold. PyTorch is measured where `.venv-parity` is, NIST's matcher
where `.venv-extras` is. With --base the cases of another commit are measured beside these. Figures are medians of the
rounds, and their range. BENCH_PRINTS=FOLDER compares the prints of a folder in place of synthetic ones, and
BENCH_RUN=RUN_DIR adds the networks of a run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
from rounds import ANSWER

REPOSITORY = Path(__file__).resolve().parent.parent
OURS, TORCH, NBIS = "cases.py", "torch_cases.py", "nbis_cases.py"


class Subject(NamedTuple):
    """One case to measure, and the line it makes in the table."""

    group: str
    name: str
    file: str  # of benchmarks/
    case: str
    unit: str  # of a round's count
    tree: Path = REPOSITORY

    @property
    def python(self) -> Path:
        """The interpreter of the environment that the case needs."""
        folder = {OURS: ".venv", TORCH: ".venv-parity", NBIS: ".venv-extras"}[self.file]
        return REPOSITORY / folder / "bin" / "python"


def subjects() -> list[Subject]:
    """What is measured, by group; the first of a group is what the others are compared with."""
    found = []
    for size in ("128x128", "192x160"):
        group = f"training step, {size} px, 16 pairs"
        found += [Subject(group, "IFViT", OURS, f"training {size}", "pair")]
        for how in ("eager", "compiled"):
            found.append(Subject(group, f"PyTorch {how}", TORCH, f"training {size}, {how}", "pair"))
    group = "LoFTR with its fine stage, 256x256 px"
    found += [Subject(group, "IFViT", OURS, "loftr_full 256x256", "pair")]
    found += [Subject(group, "kornia", TORCH, "loftr_full 256x256", "pair")]
    for case in ("nothing cached", "enhanced prints cached", "features cached"):
        found.append(Subject("comparison", f"one by one, {case}", OURS, f"compare, {case}", "pair"))
    for case in ("nothing cached", "features cached"):
        found.append(Subject("comparison", f"8 at once, {case}", OURS, f"compare 8 at once, {case}", "pair"))
    found.append(Subject("comparison", "bozorth3, minutiae known", NBIS, "bozorth3", "pair"))
    found += [Subject("enhancement", f"{how}", OURS, f"enhance {how}", "print") for how in ("one by one", "together")]
    found.append(Subject("enhancement", "mindtct", NBIS, "mindtct", "print"))
    found.append(Subject("synthesis", "fingers", OURS, "grow fingers", "finger"))
    found.append(Subject("synthesis", "rendered pairs, 128 px", OURS, "render pairs", "pair"))
    for case in ("ifvit --help", "ifvit compare a.png b.png"):
        found.append(Subject("from the shell", case, OURS, case, "command"))
    return found


class Worker:
    """The process of a case, ready for rounds. Raises RuntimeError with its last lines where it fails."""

    def __init__(self, subject: Subject, file: str | None = None):
        """file: of benchmarks/, in place of the subject's."""
        self.subject, self.rounds = subject, []
        environment = os.environ | {"PYTHONPATH": str(subject.tree), "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [str(subject.python), str(subject.tree / "benchmarks" / (file or subject.file)), subject.case]
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 it lives as long as the process
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, env=environment
        )
        self._answer()

    def _answer(self) -> dict[str, Any]:
        for line in self._process.stdout:
            if line.startswith(ANSWER):
                return json.loads(line.removeprefix(ANSWER))
        self._errors.seek(0)
        raise RuntimeError(f"{self.subject.name}: {' | '.join(self._errors.read().splitlines()[-3:])}")

    def run_round(self) -> None:
        """Run a round and keep its figures."""
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        self.rounds.append(self._answer())

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait()

    def figures(self) -> dict[str, Any]:
        """Milliseconds a unit: median, least and most; and the peak of the memory, MB."""
        each = sorted(1000 * figures["seconds"] / figures["count"] for figures in self.rounds)
        subject = self.subject
        return {
            "group": subject.group,
            "ours": subject.file == OURS,
            "name": subject.name,
            "unit": subject.unit,
            "ms": statistics.median(each),
            "least_ms": each[0],
            "most_ms": each[-1],
            "peak_mb": max(figures["peak_mb"] for figures in self.rounds),
        }


def main() -> None:
    """Measure, print the table, and write the JSON and the picture."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="groups whose name has this text")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--base", help="a commit, measured beside this one")
    parser.add_argument("--out", type=Path, default=Path("bench"), help="folder of bench.json and bench.png")
    arguments = parser.parse_args()
    with base_tree(arguments.base) as base:
        rows = []
        for group, members in grouped([s for s in subjects() if arguments.only in s.group], base, arguments.base):
            rows += measure(members, arguments.rounds)
            print_group(group, [row for row in rows if row["group"] == group])
    arguments.out.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine(), "commit": git("rev-parse", "HEAD"), "base": arguments.base, "figures": rows}
    (arguments.out / "bench.json").write_text(json.dumps(content, indent=1) + "\n")
    draw(rows, arguments.out / "bench.png")
    print(f"\nlook at  {arguments.out / 'bench.png'}\nfigures  {arguments.out / 'bench.json'}")


def grouped(found: list[Subject], base: Path | None, name: str | None) -> Iterator[tuple[str, list[Subject]]]:
    """The subjects of each group; with a base each of ours has its twin of the base behind it."""
    for group in dict.fromkeys(subject.group for subject in found):
        members = []
        for subject in (s for s in found if s.group == group):
            members.append(subject)
            if base is not None and subject.file == OURS:
                members.append(subject._replace(name=f"{subject.name} ({name})", tree=base))
        yield group, members


def measure(members: list[Subject], rounds: int) -> list[dict[str, Any]]:
    """The figures of a group. What cannot be measured here is left out, with the reason."""
    workers = []
    for subject in members:
        if not subject.python.exists():
            environment = subject.python.parent.parent.name
            print(f"  left out: {subject.name}, for there is no {environment} (make parity, make test-extras)")
            continue
        try:
            workers.append(Worker(subject))
        except RuntimeError as error:
            print(f"  left out: {error}")
    for _ in range(rounds):
        for worker in workers:
            worker.run_round()
    for worker in workers:
        worker.close()
    return [worker.figures() for worker in workers]


def print_group(group: str, rows: list[dict[str, Any]]) -> None:
    """A table of the group: ms, range, units a second, ratio of speeds to the first, memory."""
    print(f"\n{group}")
    for row in rows:
        ratio = rows[0]["ms"] / row["ms"]
        print(
            f"  {row['name']:42} {row['ms']:9.1f} ms a {row['unit']:8} ({row['least_ms']:.1f} to {row['most_ms']:.1f}) "
            f"{1000 / row['ms']:8.1f}/s  speed {ratio:5.2f}  {row['peak_mb']:6.0f} MB",
            flush=True,
        )


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """A bar for each figure with its range, ours in blue."""
    groups = list(dict.fromkeys(row["group"] for row in rows))
    figure, all_axes = plt.subplots(
        len(groups), figsize=(10, 1 + 0.42 * len(rows) + 0.5 * len(groups)), squeeze=False, layout="constrained",
        height_ratios=[sum(row["group"] == group for row in rows) + 0.8 for group in groups],
    )  # fmt: skip
    for axes, group in zip(all_axes[:, 0], groups, strict=True):
        members = [row for row in rows if row["group"] == group][::-1]
        ms = [row["ms"] for row in members]
        errors = [[row["ms"] - row["least_ms"] for row in members], [row["most_ms"] - row["ms"] for row in members]]
        colours = ["tab:blue" if row["ours"] else "tab:gray" for row in members]
        axes.barh([f"{row['name']}, ms a {row['unit']}" for row in members], ms, xerr=errors, color=colours)
        for place, row in enumerate(members):
            text = f"{row['ms']:,.0f}" if row["ms"] >= 100 else f"{row['ms']:.1f}"
            axes.text(row["most_ms"], place, f" {text}", va="center", ha="left")
        axes.set_title(group, loc="left", fontsize=10)
        axes.set_xlim(0, 1.15 * max(row["most_ms"] for row in members))
    figure.savefig(path, dpi=100)
    plt.close(figure)


@contextlib.contextmanager
def base_tree(commit: str | None) -> Iterator[Path | None]:
    """A work tree of a commit; None without one."""
    if commit is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "base"
        git("worktree", "add", "--detach", str(path), commit)
        try:
            if not (path / "benchmarks" / OURS).exists():
                raise SystemExit(f"{commit} has no benchmarks/{OURS}; name a later commit")
            yield path
        finally:
            git("worktree", "remove", "--force", str(path))


def git(*words: str) -> str:
    return subprocess.run(
        ["git", "-C", str(REPOSITORY), *words], check=True, capture_output=True, text=True
    ).stdout.strip()


def machine() -> str:
    """The processor and the number of its cores."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, Python {sys.version.split()[0]}"


if __name__ == "__main__":
    main()
