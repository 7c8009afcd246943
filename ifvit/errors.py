"""The base classes of errors that the user can correct. Each has a plain message and an exit status."""

from ifvit.program import EXIT_FAILED, EXIT_REFUSED


class UserError(Exception):
    """An error whose message tells the user which file, key or shape is wrong, what was expected, and what to do."""

    exit_status = EXIT_REFUSED


class DataError(UserError, ValueError):
    """A database, a table or a set cannot be used; the message names it."""


class CheckpointError(UserError):
    """A file or a state of a run cannot be read or saved; the message names it and says what to do."""


class UnsavedError(CheckpointError):
    """A state was not saved; the earlier states are untouched."""

    exit_status = EXIT_FAILED
