"""What mkdocs calls while it builds: option pages from conf/, records of experiments, and a check of foreign hosts."""

import re
from pathlib import Path

import generate  # mkdocs looks beside this file
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
AT_THE_TOP = ("SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md")
SHOWN = (".md", ".png", ".csv", ".json")

# Elements that a browser fetches by itself; a link that a reader follows is not one.
FETCHED = re.compile(r"<(?:script|img|iframe|source|link)\b[^>]*?\b(?:src|href)=[\"']?(?:https?:)?//[^>]*>")
OWN = re.compile(r"\brel=[\"']?(?:canonical|next|prev)\b")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put pages that are not in docs/ into the navigation, where mkdocs.yml names their folder."""
    records = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("experiments/*/*.md"))
    folders = {
        "options/": [{generate.heading(name): f"options/{generate.page_of(name)}"} for name in generate.groups()],
        "experiments/": [{_record(path): path} for path in records],
    }
    for section in config.nav or []:
        for entries in section.values():
            for entry in entries if isinstance(entries, list) else []:
                for name, folder in entry.items():
                    if folder in folders:
                        index = "index.md" if folder == "options/" else "README.md"
                        entry[name] = [{"All": folder + index}, *folders[folder]]
    return config


def _record(path: str) -> str:
    """`experiments/bench/LOG.md` -> `bench, LOG`."""
    _, folder, name = path.split("/")
    return folder if name == "README.md" else f"{folder}, {name.removesuffix('.md')}"


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Put generated text where a page has a mark for it; links from outside docs/ lead into it."""
    if page.file.src_uri in AT_THE_TOP:
        return markdown.replace("](docs/", "](")
    for mark, made in (("<!-- floors -->", generate.floors), ("<!-- console -->", generate.console)):
        markdown = markdown.replace(mark, made()) if mark in markdown else markdown
    return markdown


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the option pages, and the pages of the repository that the others link to, with what they show."""
    for path in (*sorted(ROOT.joinpath("experiments").rglob("*")), *(ROOT / name for name in AT_THE_TOP)):
        if path.suffix in SHOWN and path.is_file():
            name = path.relative_to(ROOT).as_posix()
            files.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
    for name, page in generate.pages().items():
        files.append(File.generated(config, f"options/{name}", content=page))
    return files


def on_post_build(config: MkDocsConfig) -> None:
    """Fail where a page loads a font, a script or a picture from another host."""
    for path in Path(config.site_dir).rglob("*.html"):
        for element in FETCHED.findall(path.read_text()):
            if not OWN.search(element):
                raise PluginError(f"{path}: {element} loads from another host")
    for path in Path(config.site_dir).rglob("*.css"):
        if re.search(r"@import|url\(\s*[\"']?(?:https?:)?//", path.read_text()):
            raise PluginError(f"{path} loads from another host")
