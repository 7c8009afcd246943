"""The errors of a run directory. This file imports neither JAX nor Orbax."""

from ifvit.errors import UserError
from ifvit.program import EXIT_FAILED


class CheckpointError(UserError):
    """A file or a state of a run cannot be read or saved; the message names it and says what to do."""


class UnsavedError(CheckpointError):
    """A state was not saved; the earlier states are untouched."""

    exit_status = EXIT_FAILED
