"""The devices of a run: the backend, a data mesh over all of them, the compute precision."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ifvit import backend
from ifvit.config import Device, Precision, TrainerConfig
from ifvit.errors import UserError

# On a CPU XLA's own convolutions are faster than those of its library YNNPACK, which it prefers by default; products
# and sums are faster by the library. One step of `dense=loftr` on two cores: 0.47 s instead of 0.60 s.
CPU_OPTIONS = {
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_DOT,LIBRARY_FUSION_TYPE_REDUCE",
}


class DeviceError(UserError):
    """The devices do not fit the config. The message says what to change."""


def start(device: Device) -> None:
    """Start JAX on the backend that `trainer.device` names.

    Raises:
        DeviceError: JAX cannot start, or finds another backend.
    """
    try:
        platform = backend.start(device)
    except backend.BackendError as error:
        raise DeviceError(f"trainer.device={device}: {error}") from error
    if device not in (Device.auto, platform):
        platforms = jax.config.jax_platforms  # type: ignore[attr-defined]  # JAX adds its options at run time
        note = f" (JAX_PLATFORMS={platforms} is set)" if platforms and device is not Device.cpu else ""
        raise DeviceError(
            f"trainer.device: {device} was asked for, JAX found {platform}{note}; install ifvit with the extra "
            "for your accelerator (cuda12, cuda13, tpu), or set trainer.device=auto"
        )


class Devices:
    """A mesh of all local devices with one axis, 'data'. Batches are split over it, states are copied to each device.

    devices: the local devices. platform: JAX's name of the backend.
    mesh: over `devices`. split, everywhere: the shardings of a batch and of a state.
    dtype: the compute dtype of `trainer.precision`.
    compiler_options: for the jit of an update.

    Raises:
        DeviceError: another backend than `trainer.device`, or a batch size that cannot be split over the devices.
    """

    def __init__(self, trainer: TrainerConfig):
        start(trainer.device)
        devices = jax.local_devices()
        share = len(devices) * trainer.accumulate
        if trainer.batch_size % share:
            raise DeviceError(
                f"trainer.batch_size: {trainer.batch_size} pairs cannot be split over {len(devices)} devices "
                f"x trainer.accumulate={trainer.accumulate}; the nearest that can: "
                f"{max(share, round(trainer.batch_size / share) * share)}"
            )
        self.devices, self.platform = devices, devices[0].platform
        # Auto axes are set here because later versions of JAX use Explicit axes by default.
        self.mesh = Mesh(np.array(devices), ("data",), axis_types=(AxisType.Auto,))
        self.split = NamedSharding(self.mesh, PartitionSpec("data"))
        self.everywhere = NamedSharding(self.mesh, PartitionSpec())
        self.dtype = _dtype(trainer.precision, devices[0])
        self.compiler_options = _compiler_options(self.platform)

    def __str__(self) -> str:
        return f"{len(self.devices)} x {self.devices[0].device_kind}, {jnp.dtype(self.dtype).name}"


def _dtype(precision: Precision, device: jax.Device) -> Any:
    """The compute dtype. `auto`: bfloat16 on TPUs, and on GPUs of capability 8.0 on (a T4 has 7.5); else float32."""
    if precision is not Precision.auto:
        return jnp.dtype(str(precision))
    if device.platform == "gpu":
        capability = str(getattr(device, "compute_capability", "0"))
        return jnp.bfloat16 if float(capability or 0) >= 8 else jnp.float32
    return jnp.bfloat16 if device.platform == "tpu" else jnp.float32


def _compiler_options(platform: str) -> dict[str, str]:
    """Options of XLA's compiler that make training faster; none where this version of XLA does not know them."""
    if platform != "cpu":
        return {}
    try:
        jax.jit(lambda: 0, compiler_options=CPU_OPTIONS)()
    except jax.errors.JaxRuntimeError:  # jax 0.7 has no such library, and later versions may have others
        return {}
    return CPU_OPTIONS
