"""The floors of docs/architecture.md: arrows only downwards, and the ground floor's rooms do not know each other."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
FLOORS = {
    5: {
        "train", "launch", "overrides", "config_files", "folder_names", "sweep", "sweep_board", "interruptions", "cli",
        "cli_common", "cli_data", "cli_evaluate", "cli_pair", "cli_table", "cli_train", "cli_weights", "train_help",
        "completion", "config_places", "__main__",
    },
    4: {"training", "evaluation"},
    3: {"data", "run_table"},
    2: {"synthesis", "recognition", "run_files"},
    1: {
        "config", "image", "geometry", "models", "weights", "losses", "metrics", "rates", "calibration", "cache",
        "charts", "checkpoint", "glossary", "pictures", "plots", "progress",
    },
    0: {"files", "signature", "backend", "captions", "program", "table_text"},
    -1: {"console"},
}  # fmt: skip
FLOOR_OF = {room: floor for floor, rooms in FLOORS.items() for room in rooms}
MODULES = [REPOSITORY / "train.py", *sorted((REPOSITORY / "ifvit").rglob("*.py"))]


def room_of(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return parts[1] if parts[0] == "ifvit" and len(parts) > 1 else parts[0]


def imported_rooms(source: str) -> set[str]:
    """The rooms of ours that a module imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute, so that this test can read them"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    ours = {name.split(".")[1] for name in names if name.startswith("ifvit.")}
    return ours - {"__version__"}


def check(room: str, imported: set[str]) -> list[str]:
    wrong = []
    for other in imported - {room}:
        down = FLOOR_OF[other] < FLOOR_OF[room] or FLOOR_OF[room] == 5
        if not down:
            wrong.append(f"{room} (floor {FLOOR_OF[room]}) imports {other} (floor {FLOOR_OF[other]})")
    return wrong


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_imports_go_down(path):
    room = room_of(path)
    if room == "__init__":
        # Only when something is to be compared: `import ifvit` is at once there.
        assert imported_rooms(path.read_text()) == {"image", "recognition"}
        return
    assert room in FLOOR_OF, f"{path} stands on no floor: give {room} one here and in docs/architecture.md"
    assert check(room, imported_rooms(path.read_text())) == []


def test_the_check_sees_an_arrow_upwards():
    assert check("models", imported_rooms("def f():\n    from ifvit.config import Config")) != []
    assert check("data", imported_rooms("import ifvit.training.loop")) != []
    assert check("training", imported_rooms("from ifvit import losses")) == []


def test_the_package_alone_loads_neither_jax_nor_opencv():
    code = "import ifvit, sys; sys.exit(bool({'jax', 'cv2', 'flax'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0


def test_what_the_package_exports_is_there_and_comes_only_when_asked_for():
    import ifvit
    from ifvit.image import ImageError
    from ifvit.recognition.image_matcher import Matcher

    assert ifvit.ImageError is ImageError and ifvit.Matcher is Matcher
    assert set(ifvit.__all__) <= set(dir(ifvit)) and all(hasattr(ifvit, name) for name in ifvit.__all__)
    with pytest.raises(AttributeError, match="module 'ifvit' has no attribute 'Nothing'"):
        ifvit.Nothing  # noqa: B018


def test_only_the_front_door_knows_hydra():
    for path in MODULES:
        if room_of(path) not in FLOORS[5]:
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, (ast.Import, ast.ImportFrom)):
                    assert not any(name in ast.unparse(node) for name in ("hydra", "omegaconf", "yaml")), path


def test_every_room_is_in_the_picture():
    picture = (REPOSITORY / "docs" / "architecture.md").read_text()
    for room in {room_of(path) for path in MODULES} - {"__init__"}:
        assert f"`{room}" in picture or f" {room}" in picture, f"docs/architecture.md does not show {room}"
