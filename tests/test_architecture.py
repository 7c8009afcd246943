"""The floors of docs/architecture.md: imports go downwards only, between packages and between files."""

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.places import REPOSITORY

# From the top down. Packages and modules of one floor do not import each other.
FLOORS = [
    {"train", "__main__"},
    {"cli"},
    {"sweep"},
    {"launch"},
    {"training", "evaluation"},
    {"data"},
    {"databases", "comparison"},
    {"registration", "synthesis"},
    {"enhancement", "pictures", "weights"},
    {"storage"},
    {"backend", "calibration", "config", "geometry", "glossary", "image", "losses", "metrics", "models", "rates"},
    {"compiled_programs"},
    {"cache_folder"},
    {"errors", "pair"},
    {"program", "progress", "table_text"},
    {"console"},
]  # fmt: skip
FLOOR_OF = {room: floor for floor, rooms in enumerate(reversed(FLOORS)) for room in rooms}
KNOW_HYDRA = (
    "train.py",
    "ifvit/launch.py",
    "ifvit/sweep/",
    "ifvit/cli/",
    "ifvit/config/hydra_errors.py",
    "ifvit/config/overrides.py",
    "ifvit/config/places.py",
)
NOT_WORDS = {"said", "told", "held", "made", "some", "one", "whole", "nobody"}


def module_name(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in [REPOSITORY / "train.py", *sorted((REPOSITORY / "ifvit").rglob("*.py"))]}
TESTS = sorted((REPOSITORY / "tests").rglob("*.py"))
SOURCES = {name: path.read_text() for name, path in MODULES.items()}


def room_of(module: str) -> str:
    """The package or module below `ifvit` that a module belongs to."""
    first, _, rest = module.partition(".")
    return rest.partition(".")[0] if first == "ifvit" and rest else first


def imported_modules(source: str) -> set[str]:
    """The modules of this program that a source imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute, so that this test can read them"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    modules = set()
    for name in names:
        while name and name not in MODULES:
            name = name.rpartition(".")[0]
        modules |= {name} - {"", "ifvit"}
    return modules


def arrows_not_down(room: str, imported: set[str]) -> list[str]:
    """What a module of the room imports from its own floor, or from above."""
    others = {room_of(module) for module in imported} - {room}
    return [f"{room} imports {other}" for other in others if FLOOR_OF[other] >= FLOOR_OF[room]]


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {"ifvit"}))
def test_imports_go_down(module):
    room = room_of(module)
    assert room in FLOOR_OF, f"{module} stands on no floor: give {room} one here and in docs/architecture.md"
    assert arrows_not_down(room, imported_modules(SOURCES[module])) == []


def test_an_import_upwards_is_seen():
    assert arrows_not_down("models", imported_modules("def f():\n    from ifvit.config import Config")) != []
    assert arrows_not_down("databases", imported_modules("import ifvit.training.loop")) != []
    assert arrows_not_down("training", imported_modules("from ifvit import losses")) == []


def test_files_import_each_other_in_no_circle():
    graph = {name: imported_modules(source) - {name} for name, source in SOURCES.items()}
    tuple(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def test_the_package_alone_loads_neither_jax_nor_opencv():
    code = "import ifvit, sys; sys.exit(bool({'jax', 'cv2', 'flax'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0


def test_only_the_front_door_knows_hydra():
    for module, path in MODULES.items():
        if not path.relative_to(REPOSITORY).as_posix().startswith(KNOW_HYDRA):
            for node in ast.walk(ast.parse(SOURCES[module])):
                if isinstance(node, (ast.Import, ast.ImportFrom)):
                    assert not any(name in ast.unparse(node) for name in ("hydra", "omegaconf", "yaml")), path


def test_every_room_and_file_is_in_the_picture():
    picture = (REPOSITORY / "docs" / "architecture.md").read_text().split("```")[1]
    words = set(re.findall(r"\w+", picture))
    missing = {name for module in MODULES.keys() - {"ifvit"} for name in module.split(".")[1:]} - words
    assert missing == set(), "docs/architecture.md does not show them"


def names_in(source: str) -> set[str]:
    """Every name that the source gives: variables, attributes, arguments, fields, functions, classes, imports."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                names.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.keyword(arg=str(name)) | ast.ExceptHandler(name=str(name)) | ast.alias(asname=str(name)):
                names.add(name)
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                names.add(name)
    return names


def not_words(source: str, words: set[str] = NOT_WORDS) -> set[str]:
    return {name for name in names_in(source) if name.strip("_").lower() in words}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_name_is_a_noun(module):
    assert not_words(SOURCES[module]) == set()


@pytest.mark.parametrize("file", [path.relative_to(REPOSITORY / "tests") for path in TESTS], ids=str)
def test_a_name_in_the_tests_is_a_noun(file):
    assert not_words((REPOSITORY / "tests" / file).read_text(), NOT_WORDS | {"laid", "judge", "peers"}) == set()


@pytest.mark.parametrize(
    "source", ["held = 1", "x.told", "def said(): ...", "def f(whole): ...", "class Some: ...", "f(one=1)",
               "class A:\n    made: int", "for nobody in x: ..."],
)  # fmt: skip
def test_a_name_that_is_no_noun_is_seen(source):
    assert not_words(source) != set()
