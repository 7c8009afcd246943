"""The process that decodes one WSQ file: its bytes come in, its grey levels (row by row) go out.

It is run as a script by `wsq_file` and imports nothing of ours. The first argument is the limit on CPU time, s.
"""

import io
import os
import sys

MEMORY = 2**31  # bytes of address space: 2**26 px take half of it


def limit(seconds: int) -> None:
    try:
        import resource
    except ImportError:  # Windows; the caller's own time limit remains
        return
    for what, most in ((resource.RLIMIT_CPU, seconds), (resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(what, (most, most))


def main() -> int:
    limit(int(sys.argv[1]))
    content = sys.stdin.buffer.read()
    # The C code prints to wherever stdout is; the grey levels leave by a way of their own.
    out = os.dup(1)
    os.dup2(2, 1)
    from PIL import Image
    from wsq import WsqImagePlugin  # noqa: F401  teaches Pillow the format

    try:
        with Image.open(io.BytesIO(content), formats=["WSQ"]) as image:
            grey = image.tobytes()
    except Exception as error:  # whatever its C code raises
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 3
    with open(out, "wb") as file:
        file.write(grey)
    return 0


if __name__ == "__main__":
    sys.exit(main())
