"""JAX's backend, started in one place, so that a missing device is not taken for any other fault."""

from __future__ import annotations

import jax

from ifvit.errors import UserError


class BackendError(UserError):
    """JAX has no device to compute on; the message says what was asked for and what to do."""


def start(platform: str | None = None) -> str:
    """Start JAX's backend, and return its name. A second call costs nothing.

    To be called before anything that computes or opens a checkpoint. platform: 'cpu' keeps JAX from taking an
    accelerator and its memory; it must come with the first call.

    Raises:
        BackendError: JAX cannot start it.
    """
    if platform == "cpu":
        jax.config.update("jax_platforms", "cpu")
    try:
        return jax.default_backend()
    except (RuntimeError, AssertionError) as error:  # an assertion where the plugin for CUDA is not installed
        raise BackendError(_in_words(error)) from error


def _in_words(error: Exception) -> str:
    reason = (str(error).strip().splitlines() or ["no such device is found"])[0]
    reason = reason.partition(" (set JAX_PLATFORMS=")[0][:300].rstrip(".")
    if asked := jax.config.jax_platforms:
        return (
            f"JAX_PLATFORMS={asked}: JAX cannot start that here ({reason}). Unset JAX_PLATFORMS to take what is there, "
            "set JAX_PLATFORMS=cpu, or install ifvit with the extra for your accelerator (cuda12, cuda13, tpu)"
        )
    return f"JAX cannot start a device ({reason}). Free the accelerator, or do without it: set JAX_PLATFORMS=cpu"
