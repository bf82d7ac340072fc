"""Commands and programs in the pages of the documentation."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
DOOR = "python -m lightning_inr.run"


def commands_of(path: Path) -> list[str]:
    """The lines of the ```bash blocks of a page, with continued lines joined."""
    text = path.read_text().replace("\\\n", " ")
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


def runs_of(path: Path) -> list[list[str]]:
    """The options of each `python -m lightning_inr.run …` of a page, in ```bash blocks."""
    return [shlex.split(line)[3:] for line in commands_of(path) if line.startswith(DOOR)]


def mentioned_runs_of(path: Path) -> list[list[str]]:
    """The same, in the text."""
    return [shlex.split(line)[3:] for line in re.findall(rf"`({DOOR}[^`…\[]*)`", path.read_text())]


def programs_of(path: Path) -> list[str]:
    """The ```python blocks of a page that are not included files."""
    return [block for block in re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL) if "--8<--" not in block]
