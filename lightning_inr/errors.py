"""The ways a wish can fail through no fault of the code."""


class UserError(ValueError):
    """A value the user gave cannot be used; the message is one line: the value and the remedy."""


class BitstreamError(UserError):
    """A `.linr` file is damaged, foreign, or newer than this version."""


class InterruptedFitError(UserError):
    """The user stopped the work; what was begun can be gone on with."""
