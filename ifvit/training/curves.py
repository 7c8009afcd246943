"""The curves of a run for TensorBoard: one stream of events, in which each point occurs once.

Events are written immediately, without a thread: when a state is saved, all events before it are on disk. A run that is
killed between two saves leaves points of updates that the next session repeats. So a session first removes all events
after the step that it resumes from.
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

# Prefixes of names. A picture and a curve (`matches`) need different names: else TensorBoard shows only one of them.
TRAIN, VALIDATION, PICTURE = "train/", "validation/", "picture/"
_HEADER = struct.Struct("<QI")  # of a record: length of the content, checksum; after the content another checksum
_CHECKSUM = 4  # bytes


class Curves:
    """Appends the events of a session to those of the earlier sessions in `folder`.

    Args:
        start: the number of updates before this session.
        logged: whether the stream already has the training point of step `start`.
    """

    def __init__(self, folder: Path, start: int, logged: bool):
        def is_kept(event: Event) -> bool:
            if not event.HasField("summary") or event.step < start:
                return True
            # The validation after `start` updates is repeated if it is due.
            return event.step == start and logged and all(value.tag.startswith(TRAIN) for value in event.summary.value)

        folder.mkdir(parents=True, exist_ok=True)
        _truncate(folder, is_kept)
        self._folder = folder
        # The start is part of the name, because two sessions may begin within one second.
        self._writer = EventsWriter(str(folder / "events"), f".{start:08d}")
        # It makes a running TensorBoard forget the points that were removed.
        self._write(Event(step=start + 1, session_log=SessionLog(status=SessionLog.START)))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write one point of each curve."""
        points = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(Event(step=step, summary=Summary(value=points)))

    def picture(self, step: int, name: str, picture: np.ndarray) -> None:
        """Write a picture, (H, W, 3) uint8 RGB."""
        self._write(Event(step=step, summary=summary.image(name, picture, dataformats="HWC")))

    def begin(self, config: Mapping[str, Any], identity: Mapping[str, Any], objective: str) -> None:
        """Write the config as text and the run's entry for TensorBoard's HParams. Called before the first update.

        Args:
            config: the values of all keys.
            identity: the values of the keys that distinguish runs.
            objective: the curve by which HParams compares runs.
        """
        text = "\n".join(f"    {key}: {_text(value)}" for key, value in config.items())  # indented: Markdown's code
        experiment, session, _ = summary.hparams({k: _hparam(v) for k, v in identity.items()}, {objective: 0.0})
        for entry in (summary.text("config", text), experiment, session):
            self._write(Event(step=0, summary=entry))

    def finish(self, step: int) -> None:
        """Mark the run as finished for HParams."""
        *_, end = summary.hparams({}, {})
        self._write(Event(step=step, summary=end))

    def flush(self) -> None:
        """Force all events to disk.

        Raises:
            OSError: it cannot be written.
        """
        with self._folder_in_errors():
            self._writer.flush()

    def close(self) -> None:
        """Flush, and close the file."""
        with self._folder_in_errors():
            self._writer.close()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        with self._folder_in_errors():
            self._writer.write_event(event)

    @contextmanager
    def _folder_in_errors(self) -> Iterator[None]:
        """Add the folder's name to an OSError that has none."""
        try:
            yield
        except OSError as error:  # of a write to an open file: it has no file name
            raise OSError(error.errno, error.strerror, str(self._folder)) from error


def command(folder: Path) -> str:
    """The command that shows the curves in `folder`, and what to install if TensorBoard is missing."""
    line = f"tensorboard --logdir {shlex.quote(str(folder))}"
    return line if find_spec("tensorboard") else f"{line}  (not installed: pip install 'ifvit[tensorboard]')"


def _hparam(value: Any) -> Any:
    """A config's value as HParams accepts it: a number, a bool or a text."""
    return value if isinstance(value, (bool, int, float)) else _text(value)


def _text(value: Any) -> str:
    """A config's value on one line. The name of a file may contain bytes that are no text."""
    return printable(value if isinstance(value, str) else json.dumps(value))


def events(path: Path) -> Iterator[tuple[int, Event]]:
    """The events of a file with the byte offset of each. Stops at an incomplete event, as a killed run leaves it."""
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
    """The files of a stream in the order in which TensorBoard reads them."""
    return sorted(folder.glob("events.out.tfevents.*"))


def _truncate(folder: Path, is_kept: Callable[[Event], bool]) -> None:
    """Truncate the stream before the first event that is not kept."""
    files = event_files(folder)
    for k, path in enumerate(files):
        begin = next((begin for begin, event in events(path) if not is_kept(event)), None)
        if begin is not None:
            for later in files[k + 1 :]:
                later.unlink()
            truncate(path, begin)
            return
