"""What this room refuses."""


class EnhancementError(RuntimeError):
    """A print cannot be enhanced, or not in the way asked for; the message says why and what to do."""
