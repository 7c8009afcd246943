"""The curves of a run for TensorBoard: one stream of events in which each point stands once, however often it stops.

Events are written at once, not by a thread of their own: what was logged before a state is saved is on disk when the
state is. A kill between two saves leaves points of updates that are made again. So a session begins by cutting the
stream behind the step it resumes from.
"""

from __future__ import annotations

import json
import shlex
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from os import truncate
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from ifvit.console import printable

# How names begin. A picture shares its name with no curve (`matches`): TensorBoard would show only one of them.
TRAIN, VALIDATION, PICTURE = "train/", "validation/", "picture/"
_HEADER = struct.Struct("<QI")  # of a record: the length of its content, a checksum; another checksum ends it
_CHECKSUM = 4


class Curves:
    """Writes a session's events into `folder`, behind those of the sessions before it.

    Args:
        start: the number of updates made before this session.
        logged: whether the updates up to `start` belong to a point that stands there already.
    """

    def __init__(self, folder: Path, start: int, logged: bool):
        def stays(event: Event) -> bool:
            if not event.HasField("summary") or event.step < start:
                return True
            # The validation after `start` updates is made again where it is due.
            return event.step == start and logged and all(value.tag.startswith(TRAIN) for value in event.summary.value)

        folder.mkdir(parents=True, exist_ok=True)
        _cut(folder, stays)
        self._folder = folder
        # A name of its own for sessions that begin within one second.
        self._writer = EventsWriter(str(folder / "events"), f".{start:08d}")
        # A TensorBoard that is looking on forgets the points that were cut off.
        self._write(Event(step=start + 1, session_log=SessionLog(status=SessionLog.START)))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """A point of each curve."""
        points = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(Event(step=step, summary=Summary(value=points)))

    def picture(self, step: int, name: str, picture: np.ndarray) -> None:
        """A picture, uint8 RGB (H, W, 3)."""
        self._write(Event(step=step, summary=summary.image(name, picture, dataformats="HWC")))

    def begin(self, config: Mapping[str, Any], identity: Mapping[str, Any], objective: str) -> None:
        """What a run is, before its first update: its config as text, and its entry for TensorBoard's HParams.

        config, identity: values by key, all of them and those that make the run this one; objective: the curve that
        HParams compares runs by.
        """
        text = "\n".join(f"    {key}: {_text(value)}" for key, value in config.items())  # indented: Markdown's code
        experiment, session, _ = summary.hparams({k: _shown(v) for k, v in identity.items()}, {objective: 0.0})
        for found in (summary.text("config", text), experiment, session):
            self._write(Event(step=0, summary=found))

    def finish(self, step: int) -> None:
        """The run has made all its steps: so HParams shows it."""
        *_, end = summary.hparams({}, {})
        self._write(Event(step=step, summary=end))

    def flush(self) -> None:
        """Force what was written to disk.

        Raises:
            OSError: it cannot be written.
        """
        with self._naming_the_folder():
            self._writer.flush()

    def close(self) -> None:
        """Flush, and close the file."""
        with self._naming_the_folder():
            self._writer.close()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        with self._naming_the_folder():
            self._writer.write_event(event)

    @contextmanager
    def _naming_the_folder(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:  # a write to an open file names none
            raise OSError(error.errno, error.strerror, str(self._folder)) from error


def command(folder: Path) -> str:
    """What shows the curves in `folder`, and what to install first where it is not there."""
    shown = f"tensorboard --logdir {shlex.quote(str(folder))}"
    return shown if find_spec("tensorboard") else f"{shown}  (not installed: pip install 'ifvit[tensorboard]')"


def _shown(value: Any) -> Any:
    """A config's value as HParams takes it: a number, true, false or a text."""
    return value if isinstance(value, (bool, int, float)) else _text(value)


def _text(value: Any) -> str:
    """A config's value on a line; the name of a file may hold what is no text."""
    return printable(value if isinstance(value, str) else json.dumps(value))


def events(path: Path) -> Iterator[tuple[int, Event]]:
    """The events of a file with the byte where each begins, up to one that is not whole, as a kill leaves it."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        while len(header := file.read(_HEADER.size)) == _HEADER.size:
            begin = file.tell() - _HEADER.size
            length, _ = _HEADER.unpack(header)
            if file.tell() + length + _CHECKSUM > size:
                return
            try:
                yield begin, Event.FromString(file.read(length))
            except DecodeError:
                return
            file.seek(_CHECKSUM, 1)


def event_files(folder: Path) -> list[Path]:
    """The files of a stream, in the order in which TensorBoard reads them."""
    return sorted(folder.glob("events.out.tfevents.*"))


def _cut(folder: Path, stays: Callable[[Event], bool]) -> None:
    """Cut the stream off before the first event that does not stay."""
    files = event_files(folder)
    for k, path in enumerate(files):
        begin = next((begin for begin, event in events(path) if not stays(event)), None)
        if begin is not None:
            for later in files[k + 1 :]:
                later.unlink()
            truncate(path, begin)
            return
