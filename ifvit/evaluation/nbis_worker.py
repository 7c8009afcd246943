"""The process that runs NBIS: it reads requests from its input and writes answers, until the input ends.

`nbis` runs it as a script; it imports no module of this program. A request with one part, a PNG, is answered by its
minutiae: a template of ISO/IEC 19794-2, empty where there are none. A request with two parts, templates, is answered by
their score in digits. An answer has two parts: SUCCESS and the result, or FAILURE and the reason. The first answer is
sent without a request and says whether NBIS can be run.
"""

import os
import signal
import struct
import sys
from typing import IO

MEMORY = 2**32  # bytes of address space: 2**26 px take 1.2 GB
MAX_BYTES = 2**28  # of a part of a message
SUCCESS, FAILURE = b"+", b"-"


def send(stream: IO[bytes], *parts: bytes) -> None:
    """Write a message of up to 255 parts."""
    lengths = [struct.pack(">I", len(part)) for part in parts]
    stream.write(bytes([len(parts)]) + b"".join(map(bytes.__add__, lengths, parts)))
    stream.flush()


def receive(stream: IO[bytes], max_bytes: int = MAX_BYTES) -> list[bytes]:
    """The parts of the next message, of at most `max_bytes` each.

    Raises:
        EOFError: there is no complete message, or a part is too large.
    """
    parts = []
    for _ in range(_read_exactly(stream, 1)[0]):
        (length,) = struct.unpack(">I", _read_exactly(stream, 4))
        if length > max_bytes:
            raise EOFError(f"a part of {length} bytes is none of ours")
        parts.append(_read_exactly(stream, length))
    return parts


def _read_exactly(stream: IO[bytes], count: int) -> bytes:
    content = stream.read(count)
    if len(content) < count:
        raise EOFError("the other side has ended")
    return content


def limit_resources() -> None:
    """Limit the memory of this process, and let it write no core dump."""
    try:
        import resource
    except ImportError:  # Windows; only the caller's time limit is left
        return
    for resource_kind, limit in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(resource_kind, (limit, limit))


class NbisLibrary:
    """mindtct and bozorth3 at their defaults: all qualities, of which the best 150 are compared."""

    def __init__(self) -> None:
        import nbis

        settings = nbis.NbisExtractorSettings(
            min_quality=0.0, get_center=False, check_fingerprint=False, compute_nfiq2=False, ppi=500.0
        )
        self._nbis = nbis.new_nbis_extractor(settings)
        # The edition of the standard has changed between versions of the package.
        self._edition = max(name[-4:] for name in dir(self._nbis) if name.startswith("load_iso_19794_2_"))
        self._load = getattr(self._nbis, f"load_iso_19794_2_{self._edition}")

    def answer(self, parts: list[bytes]) -> bytes:
        """The template of an image, or the score of two templates."""
        if len(parts) == 1:
            minutiae = self._nbis.extract_minutiae(parts[0])
            return getattr(minutiae, f"to_iso_19794_2_{self._edition}")() if minutiae.get() else b""
        first, second = map(self._load, parts)
        return b"%d" % first.compare(second)


def main() -> None:
    limit_resources()
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C in the terminal; the caller ends this process by closing its input
    requests = sys.stdin.buffer
    # The C code prints to stdout: the answers get a copy of it, and stdout becomes stderr.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        nbis = NbisLibrary()
    except Exception as error:  # a missing library is an OSError; an unfit one raises errors of many classes
        send(answers, FAILURE, f"{type(error).__name__}: {error}".encode())
        return
    send(answers, SUCCESS, b"")
    while True:
        try:
            parts = receive(requests)
        except EOFError:
            return
        try:
            answer = SUCCESS, nbis.answer(parts)
        except Exception as error:  # its Rust and C code raise errors of many classes
            answer = FAILURE, f"{type(error).__name__}: {error}".encode()[:1000]
        send(answers, *answer)


if __name__ == "__main__":
    main()
