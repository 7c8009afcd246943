"""One impression of a finger on a sensor: contact, rotation, distortion, moisture, and the sensor's image.

An impression has its own frame, the sensor's: 400 x 480 px (W x H) at 500 ppi. The finger frame (`orientation`) is
larger, because a finger is put down higher or lower and a sensor shows only a part of it. `to_finger` and `from_finger`
are exact maps between the two frames, so the map between two impressions of a finger is `to_finger` of the first
followed by `from_finger` of the second.

Ink follows SFinGe (Cappelli, in Maltoni et al., Handbook of Fingerprint Recognition): a sigmoid of the skin's profile
plus pressure and moisture, and ridges that break into dots towards the outline of the contact. Creases of the finger,
and breaks of dry skin, reduce the ink.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from ifvit import geometry
from ifvit.config import ImpressionConfig
from ifvit.synthesis.creases import CREASE_PPI, DEEPEST
from ifvit.synthesis.distortion import Distortion, draw_distortion
from ifvit.synthesis.master import Skin, profile
from ifvit.synthesis.noise import grains, perlin
from ifvit.synthesis.orientation import FRAME_HEIGHT, FRAME_PPI, FRAME_WIDTH, PAD
from ifvit.synthesis.sensors import LOOKS, Look

IMAGE_WIDTH, IMAGE_HEIGHT = 400, 480  # of an impression's frame, px at 500 ppi
MIDDLE = np.array([IMAGE_WIDTH - 1, IMAGE_HEIGHT - 1], np.float32) / 2  # (x, y) of the frame's centre, px
PX_PER_MM = FRAME_PPI / 25.4

# The unit "profile" is the height of a ridge above the middle between ridges and valleys.
INK_SLOPE = 4.0  # of the sigmoid from profile to ink (SFinGe)
BORDER = 20.0  # px, the width along the outline of the contact within which the pressure falls (SFinGe)
PORES, PORES_SIGMA = (0.6, 1.4), 1.2  # amplitude in the middle, and its increase to the outline, profiles; px
CREASE = 4.0  # profiles that the deepest crease subtracts: more than a ridge has, so that it is white
LIGHT = 0.5  # largest pressure; creases up to a depth of the pressure are pressed flat
BREAKS, BREAKS_SIGMA = 2.0, 2.4  # of the driest skin, profiles per standard deviation of the noise; px, half a ridge
BREAKS_FROM = 0.6  # standard deviations of the noise above which the skin breaks: a quarter of the skin
DRY = 0.6  # share of impressions, the driest, that have breaks
BLOTCH_MM, SHADE_MM = 3.0, 8.0  # lengths of the variations of moisture and of the sensor's light
# Standard deviations at which the normal distribution of the contact's centre on the finger is cut off: two thirds of
# the prints lie within .4 of `shift_mm`.
CENTRAL = 2.5
PLACE_MM = 2.0  # added to the largest shift that a contact's size allows in the image: some prints are cut off
BENDS = 4  # number of waves in the contact's outline: 2 to 5 per turn
BEND_SIZE = 0.04  # amplitude of a wave of one per turn, as a share of the outline's radius


class Contact(NamedTuple):
    """The part of the distorted finger that touches, before it is turned: a squarish ellipse with an uneven outline."""

    centre: jax.Array  # (2,) px of the finger frame
    half: jax.Array  # (2,) px, half axes
    power: jax.Array  # (), exponent of the outline; 2 is an ellipse
    bends: jax.Array  # (2, 4), amplitudes of the cosines and sines in the outline, as shares of its radius


class Impression(NamedTuple):
    """The parameters of an impression of a finger."""

    distortion: Distortion
    heading: jax.Array  # (2,), direction of the finger's x axis; an angle would need its cosine for every pixel
    shift: jax.Array  # (2,) px, from the centre of the image to the centre of the contact
    contact: Contact
    moisture: jax.Array  # (), profiles: dry below 0, wet above
    pores: jax.Array  # (), factor on PORES
    breaks: jax.Array  # (), profiles that breaks subtract per standard deviation of their noise
    creases: jax.Array  # (), factor on CREASE
    pressure: jax.Array  # (), depth up to which creases are pressed flat
    sensor: jax.Array  # () int32, index of the sensor among the configured ones
    look: Look[jax.Array]
    noise: jax.Array  # () key

    @property
    def angle(self) -> jax.Array:
        """The rotation of the finger, () rad, from x towards y."""
        return jnp.arctan2(self.heading[1], self.heading[0])

    @property
    def middle(self) -> jax.Array:
        """The centre of the contact in the impression's frame, (2,) px at 500 ppi."""
        return cast(jax.Array, MIDDLE + self.shift)

    def pressed_at(self, centre: jax.Array) -> Impression:
        """The same impression with the contact centred at `centre` (2,) px of the finger frame.

        Another part of the finger touches, at the same place of the image.
        """
        shift = centre - self.contact.centre
        return self._replace(
            contact=self.contact._replace(centre=centre),
            distortion=self.distortion._replace(centre=self.distortion.centre + shift),
        )

    def turned(self, angle: jax.Array) -> Impression:
        """The same impression with the finger rotated to `angle` () rad about the centre of the contact."""
        return self._replace(heading=jnp.stack([jnp.cos(angle), jnp.sin(angle)]))

    def to_finger(self, points: jax.Array) -> jax.Array:
        """Map points (..., 2) of the impression's frame to the finger frame, px at 500 ppi."""
        return self.distortion(self.upright(points))

    def from_finger(self, points: jax.Array) -> jax.Array:
        """Map points (..., 2) of the finger frame to the impression's frame, px at 500 ppi."""
        return _rotate(self.distortion.inverse(points), self.heading, self.contact.centre, self.middle)

    def upright(self, points: jax.Array) -> jax.Array:
        """Map points (..., 2) of the impression's frame to the distorted finger before its rotation and shift, px."""
        return _rotate(points, self.heading * np.array([1, -1]), self.middle, self.contact.centre)


def _rotate(points: jax.Array, heading: jax.Array, centre: jax.Array, target: jax.Array) -> jax.Array:
    """Rotate points (..., 2) px by the angle of `heading` (2,), and map their centre (2,) px to `target` (2,) px.

    Coordinates are apart, because arithmetic on a trailing axis of two makes a CPU several times slower.
    """
    c, s = heading
    x, y = points[..., 0] - centre[0], points[..., 1] - centre[1]
    return jnp.stack([c * x - s * y + target[0], s * x + c * y + target[1]], axis=-1)


def draw_impression(key: jax.Array, settings: ImpressionConfig) -> Impression:
    """Draw a random impression within the settings."""
    bend_key, contact_key, look_key, noise_key, key = jax.random.split(key, 5)
    turn, wet, choice, pressure = jax.random.uniform(key, (4,))
    sensor = jnp.minimum((choice * len(settings.sensors)).astype(jnp.int32), len(settings.sensors) - 1)
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


def _draw_look(key: jax.Array, sensor: jax.Array, settings: ImpressionConfig) -> Look[jax.Array]:
    """Draw a random look of the sensor, an index () int32 among the configured ones."""
    ranges = np.array([LOOKS[name] for name in settings.sensors], np.float32)  # (sensors, values, low/high)
    low, high = jnp.moveaxis(jnp.asarray(ranges)[sensor], -1, 0)
    look = Look(*(low + (high - low) * jax.random.uniform(key, low.shape)))
    noisy = {name: settings.noise * getattr(look, name) for name in ("shade", "columns", "grain")}
    return look._replace(**noisy, blotch=settings.wear * look.blotch)


def _draw_contact(key: jax.Array, look: Look[jax.Array], settings: ImpressionConfig) -> tuple[Contact, jax.Array]:
    """Draw the contact, and the shift (2,) px of its centre in the image."""
    outline_key, finger_key, image_key, bend_key = jax.random.split(key, 4)
    half = jnp.stack([look.across * IMAGE_WIDTH, look.along * IMAGE_HEIGHT])
    limit = PX_PER_MM * np.broadcast_to(np.asarray(settings.shift_mm, np.float32), (2,))
    offset = limit * jax.random.truncated_normal(finger_key, -CENTRAL, CENTRAL, (2,)) / CENTRAL
    # The contact stays within the finger frame, so a large contact moves less.
    centre = jnp.clip(np.array(PAD, np.float32) + offset, half, np.array([FRAME_WIDTH, FRAME_HEIGHT]) - half)
    contact = Contact(
        centre=centre,
        half=half,
        power=2 + 0.8 * jax.random.uniform(outline_key),
        bends=BEND_SIZE * jax.random.normal(bend_key, (2, BENDS)) / np.arange(2, BENDS + 2),
    )
    largest_shift = cast(jax.Array, 0.6 * (MIDDLE + 1 - half) + PLACE_MM * PX_PER_MM)
    return contact, largest_shift * jax.random.uniform(image_key, (2,), minval=-1.0, maxval=1.0)


def depth(impression: Impression, points: jax.Array) -> jax.Array:
    """The distance (...) of points (..., 2) of the impression's frame from the contact's outline; negative outside.

    In px along the contact's shorter axis. Along the longer axis the px are longer in the ratio of the axes, so the
    zone in which the pressure falls is wider at the finger's tip.
    """
    contact = impression.contact
    bent = impression.upright(points)
    u, v = ((bent[..., k] - contact.centre[k]) / contact.half[k] for k in (0, 1))
    # The outline's radius is 1 + the sum of bends times cosines and sines of integer multiples of the direction (c, s).
    length = jnp.sqrt(u * u + v * v + 1e-12)
    c, s = u / length, v / length
    cosine, sine = c, s
    outline: jax.Array | float = 1.0
    for n in range(2, BENDS + 2):
        cosine, sine = c * cosine - s * sine, s * cosine + c * sine
        outline += contact.bends[0, n - 2] * cosine + contact.bends[1, n - 2] * sine
    return (outline - _power_mean(jnp.abs(u), jnp.abs(v), contact.power)) * contact.half.min()


def _power_mean(u: jax.Array, v: jax.Array, power: jax.Array) -> jax.Array:
    """(u^p + v^p)^(1/p), by logarithms, which a CPU computes in a vector unit."""

    def to_the(base: jax.Array, exponent: jax.Array) -> jax.Array:
        return jnp.exp(exponent * jnp.log(jnp.maximum(base, 1e-12)))

    return to_the(to_the(u, power) + to_the(v, power), 1 / power)


def touched(impression: Impression, points: jax.Array) -> jax.Array:
    """Which points (..., 2) of the impression's frame show ridges, bool (...): in the contact and the finger frame."""
    return (depth(impression, points) > 0) & geometry.inside(impression.to_finger(points), FRAME_HEIGHT, FRAME_WIDTH)


def clean(wave: jax.Array, impression: Impression, points: jax.Array) -> jax.Array:
    """The skin's profile without creases and breaks, (...) in (-1, 1); beyond the finger frame it is a valley's.

    It is the best result that an enhancement can have: its filters bridge gaps of a period or two in the ridges, and
    they fill a flexion crease, which runs along the ridges.

    Args:
        wave: (H, W), of a master.
        points: (..., 2) px of the impression's frame.
    """
    return profile(geometry.sample(wave, impression.to_finger(points), -1.0))


def creased(creases: jax.Array, impression: Impression, places: jax.Array) -> jax.Array:
    """The profiles (...) that creases subtract at places (..., 2) px of the finger frame. creases: of a `Skin`."""
    # The pixels of both lattices tile the same frame.
    x, y = ((places[..., k] + 0.5) * (CREASE_PPI / FRAME_PPI) - 0.5 for k in (0, 1))

    def reduction() -> jax.Array:
        depth = geometry.sample(creases, jnp.stack([x, y], axis=-1), 0.0) / DEEPEST
        return jnp.maximum(CREASE * (impression.creases * depth - impression.pressure), 0)

    # A branch, so that a CPU's compiler does not fuse it with the rest of `render` into one loop. Such a loop would be
    # too long for vector instructions, and three times slower.
    return jax.lax.cond(impression.creases > 0, reduction, lambda: jnp.zeros(x.shape))


def render(skin: Skin, impression: Impression, points: jax.Array, ppi: float) -> jax.Array:
    """Render the sensor's image of the impression, float32 (H, W) in [0, 1], dark ridges.

    Args:
        skin: of a master.
        points: (H, W, 2) px, the place of every pixel in the impression's frame.
        ppi: resolution of the pixels.
    """
    height, width = points.shape[:2]
    look = impression.look
    skin_key, blotch_key, shade_key, column_key, grain_key = jax.random.split(impression.noise, 5)

    def uneven(key: jax.Array, length_mm: float) -> jax.Array:
        return perlin(key, height, width, *(max(1, round(side / ppi * 25.4 / length_mm)) for side in (height, width)))

    inside = depth(impression, points)
    border = jnp.maximum(1 - inside / BORDER, 0)  # 0 in the middle, 1 at the outline, more outside
    places = impression.to_finger(points)
    pores = impression.pores * (PORES[0] + PORES[1] * jnp.minimum(border, 1) ** 3)
    # One product per sum: of two products the compiler may round either one before the sum, depending on the program.
    noise = jax.random.normal(skin_key, (height, width))
    dots, dashes = (grains(noise, sigma * ppi / FRAME_PPI) for sigma in (PORES_SIGMA, BREAKS_SIGMA))
    ridges = profile(geometry.sample(skin.wave, places, -1.0)) + impression.moisture
    ridges += look.blotch * uneven(blotch_key, BLOTCH_MM)
    ridges += pores * dots
    # The product within the maximum: otherwise the compiler may move it out of the loop of the sum, and round it there.
    ridges -= jnp.maximum(impression.breaks * (dashes - BREAKS_FROM), 0)
    ridges -= border**2
    ridges -= creased(skin.creases, impression, places)
    ink = jax.nn.sigmoid(INK_SLOPE * ridges)

    paper = look.ground + look.valley * jax.nn.sigmoid(inside / (BORDER / 4))
    grey = paper + (look.ink - paper) * ink
    grey += look.shade * uneven(shade_key, SHADE_MM)
    grey += look.columns * jax.random.normal(column_key, (width,))
    # A pixel that covers four pixels of 500 ppi averages their grain.
    grey += look.grain * min(ppi / FRAME_PPI, 1) * jax.random.normal(grain_key, (height, width))
    return jnp.clip(grey, 0, 1)


def frame_points(height: int, width: int, ppi: float, middle: jax.Array | np.ndarray = MIDDLE) -> jax.Array:
    """The places (H, W, 2) in the frame of the pixels of a (height, width) image at `ppi` centred on `middle` (2,)."""
    # A table of both coordinates. Otherwise the compiler would move terms that are constant along a row or a column out
    # of its loops, as many as suit the program, and round them differently.
    y, x = np.mgrid[:height, :width].astype(np.float32)
    y, x = ((index - (size - 1) / 2) * np.float32(FRAME_PPI / ppi) for index, size in ((y, height), (x, width)))
    return jnp.stack([x + middle[0], y + middle[1]], axis=-1)
