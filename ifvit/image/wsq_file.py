"""WSQ, the FBI's format, by the extra `wsq`: in a process of its own.

The decoder is C of the 1990s in the hands of strangers' bytes. Of 10,000 damaged copies of one file, 40 ended the
process that decoded them (28 segmentation faults, 12 aborts over a corrupted heap; `wsq` 0.9); so a file gets its own
process, with a limit on time and memory, and what it breaks there is one ImageError here. That costs 50 ms a file.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np

from ifvit.image.errors import ImageError
from ifvit.image.headers import Header

WORKER = Path(__file__).with_name("wsq_worker.py")
TIME_LIMIT = 60  # s; 10 megapixels take half of one
REFUSED = 3  # the worker's exit status when the decoder itself said no


def decode_wsq(content: bytes, header: Header) -> np.ndarray:
    """Grey levels, uint8 (H, W), of the size that the header claims.

    Raises:
        ImageError: the extra is missing, or the file is damaged (the message names no file).
    """
    if importlib.util.find_spec("wsq") is None:
        raise ImageError("reading WSQ needs an extra: pip install 'ifvit[wsq]'")
    # -P: the worker's own folder stays off the path, where a module might be mistaken for the package.
    command = [sys.executable, "-P", str(WORKER), str(TIME_LIMIT)]
    try:
        done = subprocess.run(command, input=content, capture_output=True, timeout=TIME_LIMIT, check=False)
    except subprocess.TimeoutExpired as error:
        raise ImageError(f"the WSQ decoder did not end within {TIME_LIMIT} s") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2][:200]
        died = f"the decoder ended with status {done.returncode}"
        raise ImageError(f"the WSQ is damaged ({said if done.returncode == REFUSED else died})")
    if len(done.stdout) != header.width * header.height:
        raise ImageError("the WSQ is damaged (its size is not the one it claims)")
    return np.frombuffer(done.stdout, np.uint8).reshape(header.height, header.width)
