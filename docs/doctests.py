"""Doctests as blocks of code: in plain Markdown, >>> would begin a quotation."""

import re
from typing import Any

from griffe import Extension, Object


class FencedDoctests(Extension):
    """Puts fences around the doctests of every docstring."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Change the docstring that is shown, not the source."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"((?:^>>> .*\n?(?:^\S.*\n?)*)+)", _fenced, obj.docstring.value, flags=re.M)


def _fenced(found: re.Match[str]) -> str:
    return f"```pycon\n{found[1].rstrip()}\n```\n"
