"""WSQ, the FBI's format, by the extra `wsq`; each file is decoded in a process of its own.

The decoder is C code of the 1990s, and a damaged file can crash it. Of 10,000 damaged copies of one file, 40 ended the
process that decoded them (28 segmentation faults, 12 aborts with a corrupted heap; `wsq` 0.9). So each file has its own
process, with limits on time and memory, and a crash there is an ImageError here. This takes 50 ms a file.
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
REFUSED = 3  # the worker's exit status if the decoder raised an error


def decode_wsq(content: bytes, header: Header) -> np.ndarray:
    """The grey levels of a WSQ, uint8 (H, W), with the size of its header.

    Raises:
        ImageError: the extra is missing, or the file is damaged (the message names no file).
    """
    if importlib.util.find_spec("wsq") is None:
        raise ImageError("reading WSQ needs an extra: pip install 'ifvit[wsq]'")
    # -P keeps the worker's folder off the path, where one of its modules might be imported instead of a package.
    command = [sys.executable, "-P", str(WORKER), str(TIME_LIMIT)]
    try:
        result = subprocess.run(command, input=content, capture_output=True, timeout=TIME_LIMIT, check=False)
    except subprocess.TimeoutExpired as error:
        raise ImageError(f"the WSQ decoder did not end within {TIME_LIMIT} s") from error
    if result.returncode:
        message = result.stderr.decode(errors="replace").strip().rpartition("\n")[2][:200]
        status = f"the decoder ended with status {result.returncode}"
        raise ImageError(f"the WSQ is damaged ({message if result.returncode == REFUSED else status})")
    if len(result.stdout) != header.width * header.height:
        raise ImageError("the WSQ is damaged (its size is not the one it claims)")
    return np.frombuffer(result.stdout, np.uint8).reshape(header.height, header.width)
