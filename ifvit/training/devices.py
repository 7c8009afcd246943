"""The devices a run uses: the backend asked for, a data mesh over all of them, the compute precision."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ifvit.config import Device, Precision, TrainerConfig


class DeviceError(RuntimeError):
    """The devices do not suit the config; the message says what was asked, what is there and what to do."""


class Devices:
    """A mesh of all local devices with one axis, 'data': batches are split over it, states are copied to each.

    Raises:
        DeviceError: another backend than `trainer.device`, or a batch that the devices cannot share.
    """

    def __init__(self, trainer: TrainerConfig):
        if trainer.device is Device.cpu:
            # Without this a GPU would be initialised, and its memory taken, for nothing.
            jax.config.update("jax_platforms", "cpu")
        try:
            found = jax.local_devices()
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise DeviceError(f"trainer.device: {trainer.device} cannot be used here ({reason})") from error
        backend = jax.default_backend()
        if trainer.device is not Device.auto and backend != trainer.device:
            raise DeviceError(
                f"trainer.device: {trainer.device} was asked for, JAX found {backend}; install ifvit with the extra "
                "for your accelerator (cuda12, cuda13, tpu), or set trainer.device=auto"
            )
        share = len(found) * trainer.accumulate
        if trainer.batch_size % share:
            raise DeviceError(
                f"trainer.batch_size: {trainer.batch_size} pairs cannot be split over {len(found)} devices "
                f"x trainer.accumulate={trainer.accumulate}; the nearest that can: "
                f"{max(share, round(trainer.batch_size / share) * share)}"
            )
        self.found = found
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
