"""The error of enhancement."""

from ifvit.errors import UserError


class EnhancementError(UserError):
    """A print cannot be enhanced, or not with the method asked for; the message says why and what to do."""
