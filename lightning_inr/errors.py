"""The ways a command can fail through no fault of the code."""


class UserError(ValueError):
    """A value the user gave cannot be used; the message is one line: the value and the remedy."""


class BitstreamError(UserError):
    """A `.linr` file is damaged, foreign, or newer than this version."""


class Terminated(SystemExit):
    """SIGTERM came; as KeyboardInterrupt does for SIGINT, the message may say how the work goes on."""
