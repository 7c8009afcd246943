"""One press of a finger on a sensor: where it lands, how it bends, how wet it is, and what the sensor makes of it.

An impression has a frame of its own, the sensor's: 400 x 480 px (W x H) at 500 ppi. The finger's frame (`orientation`)
is larger, because a finger is put down higher or lower, and a sensor sees only a part of it. `to_finger` and
`from_finger` are exact maps between the two frames, so the map between any two impressions of a finger is one's
`to_finger` followed by the other's `from_finger`.

Ink follows SFinGe (Cappelli, in Maltoni et al., Handbook of Fingerprint Recognition): a sigmoid of the skin's profile
plus pressure and moisture, and ridges that break into dots towards the border of the contact. Creases, which are the
finger's, and breaks, which come with dry skin, take ink away.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ifvit import geometry
from ifvit.config import ImpressionConfig, Sensor
from ifvit.synthesis.creases import CREASE_PPI, DEEPEST
from ifvit.synthesis.distortion import Distortion, draw_distortion
from ifvit.synthesis.master import Skin, profile
from ifvit.synthesis.noise import grains, perlin
from ifvit.synthesis.orientation import FRAME_HEIGHT, FRAME_PPI, FRAME_WIDTH, PAD

IMAGE_WIDTH, IMAGE_HEIGHT = 400, 480  # of an impression's frame, px at 500 ppi
MIDDLE = np.array([IMAGE_WIDTH - 1, IMAGE_HEIGHT - 1], np.float32) / 2
PX_PER_MM = FRAME_PPI / 25.4

INK_SLOPE = 4.0  # of the sigmoid from profile to ink (SFinGe)
BORDER = 20.0  # px, within which the pressure falls to the border of the contact (SFinGe)
PORES, PORES_SIGMA = (0.6, 1.4), 1.2  # amplitude in the middle and what the border adds, in profiles; px
CREASE = 4.0  # profiles that the deepest crease takes away: more than a ridge, so that it is white
LIGHT = 0.5  # pressure is 0 to this depth: shallower creases are pressed flat
BREAKS, BREAKS_SIGMA = 2.0, 2.4  # of the driest skin, profiles per standard deviation of the noise; px, half a ridge
BREAKS_FROM = 0.6  # standard deviations, where breaks begin: they take a quarter of the skin
DRY = 0.6  # share of impressions, the driest, with breaks
BLOTCH_MM, SHADE_MM = 3.0, 8.0  # lengths of what is uneven in the skin's moisture and in the sensor
# Of the contact's middle on the finger, in standard deviations, where its normal distribution is cut off: two thirds of
# the prints lie within .4 of `shift_mm`.
CENTRAL = 2.5
PLACE_MM = 2.0  # that a contact may lie off the image's middle beyond the room it has there: some prints are cut off
BENDS = 4  # of the contact's outline: 2 to 5 a turn
BEND_SIZE = 0.04  # of the outline's radius, a bend once a turn


class Look(NamedTuple):
    """What a sensor makes of ink: grey levels in [0, 1] unless said otherwise."""

    ground: jax.Array  # where nothing touches
    valley: jax.Array  # how much lighter it is where skin is near but no ridge touches
    ink: jax.Array  # where a ridge touches
    across: jax.Array  # half width of the contact, in image widths
    along: jax.Array  # half height of the contact, in image heights
    blotch: jax.Array  # how uneven moisture is, in profiles
    shade: jax.Array  # amplitude of uneven light or paper
    columns: jax.Array  # standard deviation of the columns' offsets
    grain: jax.Array  # standard deviation of each pixel's noise, at 500 ppi


# Lowest and highest value of each. Seen in prints of such sensors: optical ones burn the ground white, capacitive ones
# are grey all over with a texture of columns, rolled ink covers the finger from nail to nail on uneven paper.
LOOKS = {
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


class Contact(NamedTuple):
    """Where the finger touches: a squarish ellipse with an uneven outline, on the bent finger before it is turned."""

    centre: jax.Array  # (2,) px of the finger's frame
    half: jax.Array  # (2,) px
    power: jax.Array  # (), 2 is an ellipse
    bends: jax.Array  # (2, 4), of the outline's radius


class Impression(NamedTuple):
    """All that decides an impression of a finger."""

    distortion: Distortion
    heading: jax.Array  # (2,), where the finger's x axis points; an angle would need its cosine for every pixel
    shift: jax.Array  # (2,) px, of the contact's middle from that of the image
    contact: Contact
    moisture: jax.Array  # (), in profiles: dry below 0, wet above
    pores: jax.Array  # (), how much of PORES breaks its ridges
    breaks: jax.Array  # (), profiles that breaks take away per standard deviation of their noise
    creases: jax.Array  # (), how much of CREASE they take away
    pressure: jax.Array  # (), depth of the creases that are pressed flat
    sensor: jax.Array  # () int32, place among the configured sensors
    look: Look
    noise: jax.Array  # () key

    @property
    def angle(self) -> jax.Array:
        """How far the finger is turned, () rad, from x towards y."""
        return jnp.arctan2(self.heading[1], self.heading[0])

    @property
    def middle(self) -> jax.Array:
        """Where the middle of the contact lies in the impression's frame, (2,) px at 500 ppi."""
        return MIDDLE + self.shift

    def pressed_at(self, centre: jax.Array) -> Impression:
        """The same, with the finger pressed at `centre` (2,) px of its frame: another part of it in the same place."""
        moved = centre - self.contact.centre
        return self._replace(
            contact=self.contact._replace(centre=centre),
            distortion=self.distortion._replace(centre=self.distortion.centre + moved),
        )

    def turned(self, angle: jax.Array) -> Impression:
        """The same, with the finger turned to `angle` () rad about the middle of the contact."""
        return self._replace(heading=jnp.stack([jnp.cos(angle), jnp.sin(angle)]))

    def to_finger(self, points: jax.Array) -> jax.Array:
        """Where points (..., 2) of the impression's frame lie on the finger, px at 500 ppi."""
        return self.distortion(self.upright(points))

    def from_finger(self, points: jax.Array) -> jax.Array:
        """Where points (..., 2) of the finger lie in the impression's frame, px at 500 ppi."""
        return _turned(self.distortion.inverse(points), self.heading, self.contact.centre, self.middle)

    def upright(self, points: jax.Array) -> jax.Array:
        """Where points (..., 2) of the impression's frame lie on the bent finger before it was turned and moved."""
        return _turned(points, self.heading * np.array([1, -1]), self.middle, self.contact.centre)


def _turned(points: jax.Array, heading: jax.Array, about: jax.Array, to: jax.Array) -> jax.Array:
    """Points (..., 2) turned by the angle of `heading` (2,) about a place (2,) that comes to lie at `to` (2,).

    By coordinates, because arithmetic on a trailing axis of two makes a CPU several times slower.
    """
    c, s = heading
    x, y = points[..., 0] - about[0], points[..., 1] - about[1]
    return jnp.stack([c * x - s * y + to[0], s * x + c * y + to[1]], axis=-1)


def draw_impression(key: jax.Array, settings: ImpressionConfig) -> Impression:
    """A random impression within the settings."""
    bend_key, contact_key, look_key, noise_key, key = jax.random.split(key, 5)
    turn, wet, which, pressure = jax.random.uniform(key, (4,))
    sensor = jnp.minimum((which * len(settings.sensors)).astype(jnp.int32), len(settings.sensors) - 1)
    look = _draw_look(look_key, sensor, settings)
    angle = jnp.deg2rad(settings.rotation_deg) * (2 * turn - 1)
    contact, shift = _draw_contact(contact_key, look, settings)
    return Impression(
        distortion=draw_distortion(bend_key, settings.distortion, contact.centre),
        heading=jnp.stack([jnp.cos(angle), jnp.sin(angle)]),
        shift=shift,
        contact=contact,
        moisture=settings.moisture * (2 * wet - 1),
        pores=jnp.float32(settings.wear),
        breaks=BREAKS * settings.breaks * jnp.maximum(1 - wet / DRY, 0),
        creases=jnp.float32(settings.creases),
        pressure=LIGHT * pressure,
        sensor=sensor,
        look=look,
        noise=noise_key,
    )


def _draw_look(key: jax.Array, sensor: jax.Array, settings: ImpressionConfig) -> Look:
    ranges = np.array([LOOKS[name] for name in settings.sensors], np.float32)  # (sensors, values, low/high)
    low, high = jnp.moveaxis(jnp.asarray(ranges)[sensor], -1, 0)
    look = Look(*(low + (high - low) * jax.random.uniform(key, low.shape)))
    noisy = {name: settings.noise * getattr(look, name) for name in ("shade", "columns", "grain")}
    return look._replace(**noisy, blotch=settings.wear * look.blotch)


def _draw_contact(key: jax.Array, look: Look, settings: ImpressionConfig) -> tuple[Contact, jax.Array]:
    """Which part of the finger touches, and where in the image it lies: its `shift`, (2,) px."""
    outline_key, finger_key, image_key, bend_key = jax.random.split(key, 4)
    half = jnp.stack([look.across * IMAGE_WIDTH, look.along * IMAGE_HEIGHT])
    most = PX_PER_MM * np.broadcast_to(np.float32(settings.shift_mm), (2,))
    away = most * jax.random.truncated_normal(finger_key, -CENTRAL, CENTRAL, (2,)) / CENTRAL
    # Nothing touches beyond the finger's frame: a large contact has less room to wander.
    centre = jnp.clip(np.array(PAD, np.float32) + away, half, np.array([FRAME_WIDTH, FRAME_HEIGHT]) - half)
    contact = Contact(
        centre=centre,
        half=half,
        power=2 + 0.8 * jax.random.uniform(outline_key),
        bends=BEND_SIZE * jax.random.normal(bend_key, (2, BENDS)) / np.arange(2, BENDS + 2),
    )
    room = 0.6 * (MIDDLE + 1 - half) + PLACE_MM * PX_PER_MM
    return contact, room * jax.random.uniform(image_key, (2,), minval=-1.0, maxval=1.0)


def depth(impression: Impression, points: jax.Array) -> jax.Array:
    """How far inside the contact points (..., 2) of the impression's frame are; 0 on its outline, negative outside.

    In px along the contact's shorter axis; along the longer one as many more as it is longer. So the border in which
    the pressure falls, too, is wider at the finger's tip.
    """
    contact = impression.contact
    bent = impression.upright(points)
    u, v = ((bent[..., k] - contact.centre[k]) / contact.half[k] for k in (0, 1))
    # The outline's radius is 1 + sum of bends, cosines and sines of whole multiples of the direction (c, s).
    length = jnp.sqrt(u * u + v * v + 1e-12)
    c, s = u / length, v / length
    cosine, sine, outline = c, s, 1.0
    for n in range(2, BENDS + 2):
        cosine, sine = c * cosine - s * sine, s * cosine + c * sine
        outline += contact.bends[0, n - 2] * cosine + contact.bends[1, n - 2] * sine
    return (outline - _power_mean(jnp.abs(u), jnp.abs(v), contact.power)) * contact.half.min()


def _power_mean(u: jax.Array, v: jax.Array, power: jax.Array) -> jax.Array:
    """(u^p + v^p)^(1/p); by logarithms, which a CPU computes several at a time."""

    def to_the(base: jax.Array, exponent: jax.Array) -> jax.Array:
        return jnp.exp(exponent * jnp.log(jnp.maximum(base, 1e-12)))

    return to_the(to_the(u, power) + to_the(v, power), 1 / power)


def touched(impression: Impression, points: jax.Array) -> jax.Array:
    """Where ridges are shown, bool (...): in the contact, on skin that the finger's frame holds."""
    return (depth(impression, points) > 0) & geometry.inside(impression.to_finger(points), FRAME_HEIGHT, FRAME_WIDTH)


def clean(wave: jax.Array, impression: Impression, points: jax.Array) -> jax.Array:
    """The skin's profile, (-1, 1), at points (..., 2) of the impression's frame; a master's `wave`; valleys beyond.

    Without creases and breaks: it is what an enhancement makes of a print at best, whose filters carry ridges on over
    gaps of a period or two, and fill a flexion crease, along which the ridges run.
    """
    return profile(geometry.sample(wave, impression.to_finger(points), -1.0))


def creased(creases: jax.Array, impression: Impression, places: jax.Array) -> jax.Array:
    """What creases take away, in profiles, at places (..., 2) px of the finger; a skin's `creases`."""
    # The pixels of both lattices tile one and the same frame.
    x, y = ((places[..., k] + 0.5) * (CREASE_PPI / FRAME_PPI) - 0.5 for k in (0, 1))

    def taken() -> jax.Array:
        depth = geometry.sample(creases, jnp.stack([x, y], axis=-1), 0.0) / DEEPEST
        return jnp.maximum(CREASE * (impression.creases * depth - impression.pressure), 0)

    # A branch, so that a CPU's compiler does not put it into one loop with all that `render` does, which would then be
    # too long to be computed several pixels at a time, and three times slower.
    return jax.lax.cond(impression.creases > 0, taken, lambda: jnp.zeros(x.shape))


def render(skin: Skin, impression: Impression, points: jax.Array, ppi: float) -> jax.Array:
    """The impression as the sensor gives it, float32 (H, W) in [0, 1], dark ridges.

    Args:
        skin: a master's.
        points: (H, W, 2), the place of every pixel in the impression's frame.
        ppi: of the pixels.
    """
    height, width = points.shape[:2]
    look = impression.look
    skin_key, blotch_key, shade_key, column_key, grain_key = jax.random.split(impression.noise, 5)

    def uneven(key: jax.Array, length_mm: float) -> jax.Array:
        return perlin(key, height, width, *(max(1, round(side / ppi * 25.4 / length_mm)) for side in (height, width)))

    inside = depth(impression, points)
    border = jnp.maximum(1 - inside / BORDER, 0)  # 0 in the middle, 1 at the border, more outside
    places = impression.to_finger(points)
    pores = impression.pores * (PORES[0] + PORES[1] * jnp.minimum(border, 1) ** 3)
    # One product to a sum: of two, the compiler may round either, in one program this and in another that.
    noise = jax.random.normal(skin_key, (height, width))
    dots, dashes = (grains(noise, sigma * ppi / FRAME_PPI) for sigma in (PORES_SIGMA, BREAKS_SIGMA))
    ridges = profile(geometry.sample(skin.wave, places, -1.0)) + impression.moisture
    ridges += look.blotch * uneven(blotch_key, BLOTCH_MM)
    ridges += pores * dots
    # The product within the maximum: the compiler may take it out of the loop of the sum, and round it there.
    ridges -= jnp.maximum(impression.breaks * (dashes - BREAKS_FROM), 0)
    ridges -= border**2
    ridges -= creased(skin.creases, impression, places)
    ink = jax.nn.sigmoid(INK_SLOPE * ridges)

    paper = look.ground + look.valley * jax.nn.sigmoid(inside / (BORDER / 4))
    grey = paper + (look.ink - paper) * ink
    grey += look.shade * uneven(shade_key, SHADE_MM)
    grey += look.columns * jax.random.normal(column_key, (width,))
    # A pixel that covers four of 500 ppi averages their grain.
    grey += look.grain * min(ppi / FRAME_PPI, 1) * jax.random.normal(grain_key, (height, width))
    return jnp.clip(grey, 0, 1)


def frame_points(height: int, width: int, ppi: float, middle: jax.Array | np.ndarray = MIDDLE) -> jax.Array:
    """Where the pixels of a (height, width) image at `ppi` about `middle` (2,) of the frame lie in it, (H, W, 2)."""
    # A table of both coordinates: of what is the same along a row or column, the compiler would take as much out of its
    # loops as suits each program, and round it there otherwise.
    y, x = np.mgrid[:height, :width].astype(np.float32)
    y, x = ((at - (size - 1) / 2) * np.float32(FRAME_PPI / ppi) for at, size in ((y, height), (x, width)))
    return jnp.stack([x + middle[0], y + middle[1]], axis=-1)
