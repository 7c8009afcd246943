"""The error of enhancement."""

from ifvit.errors import UserError


class EnhancementError(UserError):
    """A print cannot be enhanced, or the method cannot be used; the message says why and what to do."""
