"""x."""


class RunError(Exception):
    """What a user can mend: the message says what was expected, what came, and the way out."""


class ResumeError(RunError):
    """A run folder that cannot be continued as asked; the message names both values."""


class Interrupted(RunError):
    """Work that was stopped from outside and can be continued; the message says how."""
