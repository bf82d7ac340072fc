"""The ways a command can fail through no fault of the code."""

LONGEST_LINE = 500  # characters of a message


def printable(text: str, most: int = LONGEST_LINE) -> str:
    """`text` of foreign origin for a terminal: no control characters, nothing longer than `most`."""
    shown = text if len(text) <= most else f"{text[: most - 1]}…"
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in shown)


class UserError(ValueError):
    """A value the user gave cannot be used; the message is one line: the value and the remedy."""


class BitstreamError(UserError):
    """A `.linr` file is damaged, foreign, or newer than this version."""


class Terminated(SystemExit):
    """SIGTERM came; as KeyboardInterrupt does for SIGINT, the message may say how the work goes on."""
