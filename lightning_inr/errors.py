"""Errors caused by input rather than by the code, and the formatting of their messages."""

LONGEST_LINE = 500  # characters of a message


def printable(text: str, most: int = LONGEST_LINE) -> str:
    """Foreign `text` for a terminal: cut to `most` characters, control characters escaped."""
    shortened = text if len(text) <= most else f"{text[: most - 1]}…"
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in shortened)


class UserError(ValueError):
    """A value given by the user cannot be used; the message is one line with the value and the remedy."""


class OptionError(UserError):
    """An option does not exist or is not used; the message may be as long as the list of existing options."""


class BitstreamError(UserError):
    """A file is a damaged `.linr` file, no `.linr` file, or of a version that this program cannot read."""


class Terminated(SystemExit):
    """SIGTERM was received, as KeyboardInterrupt for SIGINT; the message may state how to resume the work."""
