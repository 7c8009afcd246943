"""The devices a run uses: the backend asked for, a data mesh over all of them, the compute precision."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ifvit import backend
from ifvit.config import Device, Precision, TrainerConfig
from ifvit.errors import UserError


class DeviceError(UserError):
    """The devices do not suit the config; the message says what was asked, what is there and what to do."""


def start(device: Device) -> None:
    """Start JAX on what `trainer.device` asks for.

    Raises:
        DeviceError: JAX cannot start, or finds another backend.
    """
    try:
        found = backend.start(device)
    except backend.BackendError as error:
        raise DeviceError(f"trainer.device={device}: {error}") from error
    if device not in (Device.auto, found):
        asked = jax.config.jax_platforms
        why = f" (JAX_PLATFORMS={asked} is set)" if asked and device is not Device.cpu else ""
        raise DeviceError(
            f"trainer.device: {device} was asked for, JAX found {found}{why}; install ifvit with the extra "
            "for your accelerator (cuda12, cuda13, tpu), or set trainer.device=auto"
        )


class Devices:
    """A mesh of all local devices with one axis, 'data': batches are split over it, states are copied to each.

    Raises:
        DeviceError: another backend than `trainer.device`, or a batch that the devices cannot share.
    """

    def __init__(self, trainer: TrainerConfig):
        start(trainer.device)
        found = jax.local_devices()
        share = len(found) * trainer.accumulate
        if trainer.batch_size % share:
            raise DeviceError(
                f"trainer.batch_size: {trainer.batch_size} pairs cannot be split over {len(found)} devices "
                f"x trainer.accumulate={trainer.accumulate}; the nearest that can: "
                f"{max(share, round(trainer.batch_size / share) * share)}"
            )
        self.found, self.platform = found, found[0].platform
        # Auto axes spelled out: later JAX makes Explicit ones by default.
        self.mesh = Mesh(np.array(found), ("data",), axis_types=(AxisType.Auto,))
        self.split = NamedSharding(self.mesh, PartitionSpec("data"))
        self.everywhere = NamedSharding(self.mesh, PartitionSpec())
        self.dtype = _dtype(trainer.precision, found[0])

    def __str__(self) -> str:
        return f"{len(self.found)} x {self.found[0].device_kind}, {jnp.dtype(self.dtype).name}"


def _dtype(precision: Precision, device: jax.Device) -> Any:
    """The compute dtype; `auto` is bfloat16 where hardware has it: TPUs, and GPUs of capability 8.0 on (a T4: 7.5)."""
    if precision is not Precision.auto:
        return jnp.dtype(str(precision))
    if device.platform == "gpu":
        capability = str(getattr(device, "compute_capability", "0"))
        return jnp.bfloat16 if float(capability or 0) >= 8 else jnp.float32
    return jnp.bfloat16 if device.platform == "tpu" else jnp.float32
