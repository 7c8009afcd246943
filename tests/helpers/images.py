"""Prints drawn for these tests, and files that ordinary writers do not write."""

import io
import struct

import cv2
import numpy as np
from PIL import Image


def print_like(height=300, width=280, period=9.0, ground=230, noise=4.0):
    """An ellipse of vertical ridges on a light ground: grey, and where the ellipse is."""
    y, x = np.mgrid[:height, :width]
    inside = ((x - width / 2) / (0.36 * width)) ** 2 + ((y - height / 2) / (0.4 * height)) ** 2 < 1
    ridges = 128 + 100 * np.cos(2 * np.pi * x / period)
    grey = np.where(inside, ridges, ground) + np.random.default_rng(0).normal(0, noise, (height, width))
    return np.clip(grey, 0, 255).astype(np.uint8), inside


def encoded(pixels: np.ndarray, ending: str) -> bytes:
    """By OpenCV: '.png', '.tif', '.bmp', '.jpg', '.pgm'."""
    return cv2.imencode(ending, pixels)[1].tobytes()


def pillow(picture: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def tiff(samples, photometric=1, bits=None, kind=1, order="<", more=(), shape=None) -> bytes:
    """An uncompressed TIFF of one strip. samples: (H, W) or (H, W, C), or packed bytes with `bits` and `shape`.

    kind: 1 unsigned, 2 signed, 3 floating point; more: further entries (tag, type, values), which replace others.
    """
    data = samples if isinstance(samples, bytes) else samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    height, width, channels = (*(shape or samples.shape), 1)[:3]
    bits = bits or samples.dtype.itemsize * 8
    entries = {
        256: (4, [width]), 257: (4, [height]), 258: (3, [bits] * channels), 259: (3, [1]), 262: (3, [photometric]),
        273: (4, [0]), 277: (3, [channels]), 278: (4, [height]), 279: (4, [len(data)]), 339: (3, [kind] * channels),
    }  # fmt: skip
    entries |= {tag: (type_, values) for tag, type_, values in more}
    form = {1: "B", 3: "H", 4: "I", 5: "I"}
    packed = {tag: struct.pack(order + form[t] * len(v), *v) for tag, (t, v) in entries.items()}
    at = 8 + 2 + 12 * len(entries) + 4
    if entries[273] == (4, [0]):
        packed[273] = struct.pack(order + "I", at + sum(len(p) for p in packed.values() if len(p) > 4))
    head, tail = [], b""
    for tag in sorted(entries):
        type_, values = entries[tag]
        count = len(values) // (2 if type_ == 5 else 1)
        where = packed[tag].ljust(4, b"\0") if len(packed[tag]) <= 4 else struct.pack(order + "I", at + len(tail))
        tail += packed[tag] if len(packed[tag]) > 4 else b""
        head.append(struct.pack(order + "HHI", tag, type_, count) + where)
    start = struct.pack(order + "2sHIH", b"II" if order == "<" else b"MM", 42, 8, len(entries))
    return start + b"".join(head) + b"\0\0\0\0" + tail + data


def wsq_start(comment: bytes, width=280, height=300) -> bytes:
    """A WSQ up to its frame."""
    frame = struct.pack(">HHBBHH", 0xFFA2, 17, 0, 255, height, width) + bytes(9)
    return b"\xff\xa0\xff\xa8" + struct.pack(">H", 2 + len(comment)) + comment + frame
