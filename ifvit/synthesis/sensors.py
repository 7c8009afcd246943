"""The looks of three kinds of sensors' images."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

from ifvit.config import Sensor

Value = TypeVar("Value")  # a number, or a range of numbers


class Look(NamedTuple, Generic[Value]):
    """The look of a sensor's images. Each field is () float32; grey levels are in [0, 1]."""

    ground: Value  # grey level where nothing touches
    valley: Value  # difference of the grey level to the ground where skin is near but no ridge touches
    ink: Value  # grey level where a ridge touches
    across: Value  # half width of the contact, in image widths
    along: Value  # half height of the contact, in image heights
    blotch: Value  # amplitude of uneven moisture, profiles
    shade: Value  # amplitude of uneven light or paper, grey levels
    columns: Value  # standard deviation of the columns' offsets
    grain: Value  # standard deviation of each pixel's noise, at 500 ppi


# (lowest, highest) of each field, as in prints of such sensors: optical sensors have a white ground, capacitive ones
# are grey everywhere with a texture of columns, rolled ink covers the finger from nail to nail on uneven paper.
LOOKS: dict[Sensor, Look[tuple[float, float]]] = {
    Sensor.optical: Look(
        ground=(0.96, 1.0), valley=(-0.12, 0.0), ink=(0.05, 0.3), across=(0.27, 0.37), along=(0.35, 0.44),
        blotch=(0.2, 0.8), shade=(0.0, 0.06), columns=(0.0, 0.0), grain=(0.015, 0.06),
    ),
    Sensor.capacitive: Look(
        ground=(0.3, 0.8), valley=(-0.06, 0.04), ink=(0.08, 0.2), across=(0.27, 0.36), along=(0.3, 0.4),
        blotch=(0.4, 1.2), shade=(0.03, 0.09), columns=(0.008, 0.03), grain=(0.03, 0.08),
    ),
    Sensor.inked: Look(
        ground=(0.85, 1.0), valley=(-0.12, 0.0), ink=(0.1, 0.35), across=(0.4, 0.47), along=(0.42, 0.48),
        blotch=(0.6, 1.4), shade=(0.05, 0.12), columns=(0.0, 0.0), grain=(0.04, 0.09),
    ),
}  # fmt: skip
