"""The errors that people can mend. Each holds a message for them, and the status that the process ends with."""

from ifvit.program import EXIT_REFUSED


class UserError(Exception):
    """Its message is for the user: which file, key or shape, what was expected, what to do."""

    exit_status = EXIT_REFUSED


class DataError(UserError, ValueError):
    """A database, a table or a set cannot be used as it is; the message names it."""
