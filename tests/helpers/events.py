"""TensorBoard's events as TensorBoard reads them, by a reader of the tests' own."""

import hashlib
import struct

from tensorboardX.proto.event_pb2 import Event, SessionLog


def curves_of(run_dir):
    """(step, value) of every point by the curve's name, in the order written; a picture's value is its digest.

    What depends on the clock has no value. A session's start hides what stands at its step and beyond, as TensorBoard
    does it; a record that is not whole ends a file.
    """
    curves = {}
    for path in sorted((run_dir / "tb").glob("*tfevents*")):
        content = path.read_bytes()
        place = 0
        while place + 12 <= len(content):
            (length,) = struct.unpack_from("<Q", content, place)
            if place + 16 + length > len(content):
                break
            event = Event.FromString(content[place + 12 : place + 12 + length])
            place += 16 + length
            if event.session_log.status == SessionLog.START:
                curves = {name: [p for p in points if p[0] < event.step] for name, points in curves.items()}
            for value in event.summary.value:
                picture = value.image.encoded_image_string
                number = hashlib.sha256(picture).hexdigest() if picture else value.simple_value
                timed = value.tag in ("train/pairs_per_s", "train/input_wait")
                curves.setdefault(value.tag, []).append((event.step, None if timed else number))
    return {name: points for name, points in curves.items() if points}


def steps_of(curves):
    return {name: [step for step, _ in points] for name, points in curves.items()}
