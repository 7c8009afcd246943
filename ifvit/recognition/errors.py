"""What this room refuses."""


class EnhancementError(RuntimeError):
    """A print cannot be enhanced, or not in the way asked for; the message says why and what to do."""


class ScoreError(RuntimeError):
    """The score that was asked for needs what is not there; the message says what."""
