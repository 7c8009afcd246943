"""The process that runs NBIS: requests come in, answers go out, until the input ends.

It is run as a script by `peers` and imports nothing of ours. A request of one part, a PNG, is answered by its minutiae:
a template of ISO/IEC 19794-2, or nothing where there are none. A request of two parts, templates, is answered by their
score in digits. An answer has two parts: FOUND and what was asked for, or REFUSED and why not. The first answer, to no
request, says whether there is an NBIS.
"""

import os
import signal
import struct
import sys
from typing import BinaryIO

MEMORY = 2**32  # bytes of address space: 2**26 px take 1.2 GB
MOST_BYTES = 2**28  # of a part
FOUND, REFUSED = b"+", b"-"


def send(stream: BinaryIO, *parts: bytes) -> None:
    """Write a message of up to 255 parts."""
    lengths = [struct.pack(">I", len(part)) for part in parts]
    stream.write(bytes([len(parts)]) + b"".join(map(bytes.__add__, lengths, parts)))
    stream.flush()


def receive(stream: BinaryIO, most: int = MOST_BYTES) -> list[bytes]:
    """The parts of the next message, of at most so many bytes each.

    Raises:
        EOFError: there is no whole one.
    """
    parts = []
    for _ in range(_exactly(stream, 1)[0]):
        (length,) = struct.unpack(">I", _exactly(stream, 4))
        if length > most:
            raise EOFError(f"a part of {length} bytes is none of ours")
        parts.append(_exactly(stream, length))
    return parts


def _exactly(stream: BinaryIO, count: int) -> bytes:
    content = stream.read(count)
    if len(content) < count:
        raise EOFError("the other side has ended")
    return content


def limit() -> None:
    try:
        import resource
    except ImportError:  # Windows; the caller's time limit remains
        return
    for what, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(what, (most, most))


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
        if len(parts) == 1:
            minutiae = self._nbis.extract_minutiae(parts[0])
            return getattr(minutiae, f"to_iso_19794_2_{self._edition}")() if minutiae.get() else b""
        first, second = map(self._load, parts)
        return b"%d" % first.compare(second)


def main() -> None:
    limit()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal; the caller ends this process by its input
    requests = sys.stdin.buffer
    # The C code prints to wherever stdout is; the answers leave by a way of their own.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        nbis = NbisLibrary()
    except Exception as error:  # a missing library is an OSError, one of another make almost anything
        send(answers, REFUSED, f"{type(error).__name__}: {error}".encode())
        return
    send(answers, FOUND, b"")
    while True:
        try:
            parts = receive(requests)
        except EOFError:
            return
        try:
            answer = FOUND, nbis.answer(parts)
        except Exception as error:  # whatever its Rust and C code raise
            answer = REFUSED, f"{type(error).__name__}: {error}".encode()[:1000]
        send(answers, *answer)


if __name__ == "__main__":
    main()
