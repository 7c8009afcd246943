"""The process that decodes a WSQ file: bytes of the file on stdin, grey levels on stdout, row by row.

`wsq_file` runs it as a script; it imports nothing of this package. The first argument is the limit on CPU time, s.
"""

import io
import os
import sys

MEMORY = 2**31  # bytes of address space: 2**26 px need half of it


def set_limits(seconds: int) -> None:
    """Limit this process's CPU time, s, and memory; no core dumps."""
    try:
        import resource
    except ImportError:  # on Windows only the caller's time limit remains
        return
    for kind, limit in ((resource.RLIMIT_CPU, seconds), (resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(kind, (limit, limit))


def main() -> int:
    """Decode stdin to stdout. Returns the exit status: 0, or 3 if the decoder raised an error."""
    set_limits(int(sys.argv[1]))
    content = sys.stdin.buffer.read()
    # The C code prints to stdout; so stdout becomes stderr, and the grey levels use a copy of the old stdout.
    out = os.dup(1)
    os.dup2(2, 1)
    from PIL import Image
    from wsq import WsqImagePlugin  # noqa: F401  adds the format to Pillow

    try:
        with Image.open(io.BytesIO(content), formats=["WSQ"]) as image:
            grey = image.tobytes()
    except Exception as error:  # the C code raises errors of many classes
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 3
    with open(out, "wb") as file:
        file.write(grey)
    return 0


if __name__ == "__main__":
    sys.exit(main())
