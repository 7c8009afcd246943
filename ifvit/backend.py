"""The start of JAX's backend, in one place, so that a missing device gives its own error message."""

from __future__ import annotations

import jax

from ifvit.compiled_programs import keep_compiled_programs
from ifvit.errors import UserError


class BackendError(UserError):
    """JAX has no device to compute on; the message says which one was requested and what to do."""


def start(platform: str | None = None) -> str:
    """Start JAX's backend and return its name; compiled programs are kept on disk. A second call takes no time.

    Call it before anything computes or reads a checkpoint. platform: with 'cpu' in the first call, JAX uses no
    accelerator and none of its memory.

    Raises:
        BackendError: JAX cannot start it.
    """
    if platform == "cpu":
        jax.config.update("jax_platforms", "cpu")
    try:
        name = jax.default_backend()
    except (RuntimeError, AssertionError) as error:  # an AssertionError if the plugin for CUDA is not installed
        raise BackendError(_message(error)) from error
    keep_compiled_programs()
    return name


def _message(error: Exception) -> str:
    """The message for the user: the requested platform, JAX's reason, and what to do."""
    reason = (str(error).strip().splitlines() or ["no such device is found"])[0]
    reason = reason.partition(" (set JAX_PLATFORMS=")[0][:300].rstrip(".")
    if platforms := jax.config.jax_platforms:  # type: ignore[attr-defined]  # added at run time
        return (
            f"JAX_PLATFORMS={platforms}: JAX cannot start that here ({reason}). Unset JAX_PLATFORMS to take what is "
            "there, set JAX_PLATFORMS=cpu, or install ifvit with the extra for your accelerator (cuda12, cuda13, tpu)"
        )
    return f"JAX cannot start a device ({reason}). Free the accelerator, or do without it: set JAX_PLATFORMS=cpu"
