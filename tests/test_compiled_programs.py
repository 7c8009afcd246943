"""What one process has compiled, the next one loads; in a folder that is limited, and may be missing or damaged."""

import os
import subprocess
import sys
import time

import pytest

from ifvit import compiled_programs

PROGRAM = """
import sys
from ifvit import backend, compiled_programs
import jax
events = []
jax.monitoring.register_event_listener(lambda event, **_: events.append(event))
jax.jit(lambda x: x + 1)(1.0)  # a notebook has compiled something already
compiled_programs.SHORTEST = 0.0
backend.start()
with compiled_programs.announced("compiling"):
    print(jax.jit(lambda x: x * 2 + 1)(20.5), sum(event.endswith("cache_hits") for event in events))
print(jax.config.jax_compilation_cache_dir, jax.config.jax_compilation_cache_max_size)
"""


def run(cache, **variables):
    """The lines of a process whose user has this cache folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    environment |= {"JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(cache)} | variables
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=100
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def entries(folder):
    return sorted(path for path in folder.rglob("*-cache") if path.is_file())


def test_the_next_process_loads_what_this_one_compiled(tmp_path):
    (first, where), (second, _) = run(tmp_path), run(tmp_path)
    assert first == "42.0 0" and second == "42.0 1"
    folder, limit = where.split()
    assert folder.startswith(str(tmp_path / "ifvit" / "compiled")) and int(limit) == compiled_programs.LIMIT
    assert len(entries(tmp_path)) == 1


def test_a_damaged_entry_is_compiled_again(tmp_path):
    run(tmp_path)
    (entry,) = entries(tmp_path)
    entry.write_bytes(entry.read_bytes()[:100])
    assert run(tmp_path)[0] == "42.0 0"


def test_jaxs_own_variables_are_left_alone(tmp_path):
    assert run(tmp_path, JAX_ENABLE_COMPILATION_CACHE="0")[0] == "42.0 0" and entries(tmp_path) == []
    (_, where) = run(tmp_path, JAX_COMPILATION_CACHE_DIR=str(tmp_path / "mine"))
    assert where.split()[0] == str(tmp_path / "mine") and not (tmp_path / "ifvit").exists()


def test_without_a_folder_it_is_compiled_each_time(tmp_path):
    (tmp_path / "file").write_text("no folder")
    assert run(tmp_path / "file")[0] == run(tmp_path / "file")[0] == "42.0 0"


@pytest.mark.parametrize(("seconds", "lines"), [(0.0, []), (0.2, ["compiling"])])
def test_a_long_compilation_is_announced(monkeypatch, capsys, seconds, lines):
    monkeypatch.setattr(compiled_programs, "PATIENCE", 0.05)
    announcer = compiled_programs._Announcer("compiling")
    for _ in range(2):  # once for all programs
        announcer.begin("/jax/compilation_cache/compile_requests_use_cache")
        time.sleep(seconds)
        announcer.end("/jax/core/compile/backend_compile_duration", seconds)
    announcer.close()
    announcer.begin("/jax/compilation_cache/compile_requests_use_cache")
    time.sleep(0.1)
    assert capsys.readouterr().err.splitlines() == lines
