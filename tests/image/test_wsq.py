import importlib.util
import io

import numpy as np
import pytest
from PIL import Image

from ifvit import image
from ifvit.image import wsq_file
from tests.helpers.images import print_like, wsq_start

GREY = print_like()[0]
installed = pytest.mark.skipif(importlib.util.find_spec("wsq") is None, reason="needs the extra wsq")


@pytest.fixture(scope="module")
def content():
    import wsq  # noqa: F401  teaches Pillow the format

    file = io.BytesIO()
    Image.fromarray(GREY).save(file, "WSQ")
    return file.getvalue()


def test_without_the_extra_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(wsq_file.importlib.util, "find_spec", lambda name: None)
    (tmp_path / "a.wsq").write_bytes(wsq_start(b""))
    with pytest.raises(image.ImageError, match=r"a.wsq: .*pip install 'ifvit\[wsq\]'"):
        image.read(tmp_path / "a.wsq")


@pytest.mark.parametrize(
    "width, height, message", [(65535, 65535, "too large"), (0, 300, "too small"), (8, 9, "too small")]
)
def test_a_size_is_refused_before_the_decoder_sees_it(tmp_path, monkeypatch, width, height, message):
    monkeypatch.setattr(wsq_file.subprocess, "run", None)
    (tmp_path / "a.wsq").write_bytes(wsq_start(b"", width, height))
    with pytest.raises(image.ImageError, match=message):
        image.read(tmp_path / "a.wsq")


@pytest.mark.parametrize(
    "script, message",
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "status -11"),
        ("import time; time.sleep(60)", "did not end"),
        ("print('all right')", "size is not"),
        ("import sys; print('first\\nlast', file=sys.stderr); sys.exit(3)", "damaged .last."),
    ],
)
def test_what_the_decoder_does_to_its_process_is_one_files_error(tmp_path, monkeypatch, script, message):
    worker = tmp_path / "worker.py"
    worker.write_text(script)
    monkeypatch.setattr(wsq_file, "WORKER", worker)
    monkeypatch.setattr(wsq_file, "TIME_LIMIT", 1)
    monkeypatch.setattr(wsq_file.importlib.util, "find_spec", lambda name: True)
    (tmp_path / "a.wsq").write_bytes(wsq_start(b""))
    with pytest.raises(image.ImageError, match=f"a.wsq: .*{message}"):
        image.read(tmp_path / "a.wsq")


@installed
def test_reads_a_wsq(tmp_path, content):
    (tmp_path / "a.wsq").write_bytes(content)
    scan = image.read(tmp_path / "a.wsq")
    assert scan.grey.shape == GREY.shape and np.abs(scan.grey.astype(int) - GREY).mean() < 6
    assert (scan.ppi, scan.inverted) == (500, False)


@installed
def test_damaged_ones(tmp_path, content):
    rng = np.random.default_rng(0)
    path = tmp_path / "a.wsq"
    refused = 0
    for _ in range(40):
        damaged = np.frombuffer(content, np.uint8).copy()
        damaged[rng.integers(2, 900, 3)] = rng.integers(0, 256, 3)
        path.write_bytes(damaged.tobytes())
        try:
            grey = image.read_grey(path)
            assert grey.dtype == np.uint8 and grey.ndim == 2
        except image.ImageError as error:
            assert str(error).startswith(str(path))
            refused += 1
    assert refused > 5
    for other in (content[: len(content) // 2], content[:40]):
        path.write_bytes(other)
        with pytest.raises(image.ImageError, match="a.wsq"):
            image.read(path)
