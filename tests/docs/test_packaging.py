"""Extras list the packages that each part imports, and the documentation states what decoding needs."""

import configparser
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT, commands_of

PARTS = ("decode", "train", "retrieval", "chat", "report")
SETUP = configparser.ConfigParser(interpolation=None)
SETUP.read(ROOT / "setup.cfg")
EXTRAS = {name: value.split("\n")[1:] for name, value in SETUP["options.extras_require"].items()}
REQUIREMENTS = (ROOT / "requirements.txt").read_text().split("\n")[:-1]
MODULES = {  # of packages whose module has another name
    "faiss-cpu": "faiss", "hydra-core": "hydra", "imageio-ffmpeg": "imageio_ffmpeg", "open_clip_torch": "open_clip",
    "pillow": "PIL", "scikit-video": "skvideo", "umap-learn": "umap", "hydra-joblib-launcher": "hydra_plugins",
}  # fmt: skip
BLOCKED = """
import sys
class Missing:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in {blocked}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
"""
DECODE = """
sys.argv = ["run", "task=decode", "bitstream={file}", "out=frames"]
from lightning_inr import run
run.main()
"""
OPEN = """
import lightning_inr as li
video = li.open("{file}")
assert len(video) == len(video[:])
video.write("frames")
"""


def name_of(requirement: str) -> str:
    return re.split(r"[<>=\[; ]", requirement)[0]


def test_documented_extras_match_the_package() -> None:
    assert sorted(each for part in PARTS for each in EXTRAS[part]) == sorted(REQUIREMENTS)
    assert {"docs", "dev", "test", "gpu", "player", "demo", "remote", "cluster"} <= set(EXTRAS)


def test_the_page_installs_the_packages_of_the_decode_extra() -> None:
    [line] = [each for each in commands_of(DOCS / "index.md") if each.startswith("pip install av")]
    written = [each.strip('"') for each in line.removeprefix("pip install ").split()]
    assert [name_of(each) for each in written] == [name_of(each) for each in EXTRAS["decode"]]


@pytest.mark.parametrize("use", [DECODE, OPEN])
def test_decoding_needs_only_the_decode_extra(use: str, tmp_path: Path) -> None:
    others = [name_of(each) for part in PARTS if part != "decode" for each in EXTRAS[part]]
    blocked = {MODULES.get(name, name) for name in others} - {"hydra_plugins"}
    program = (BLOCKED + use).format(blocked=blocked, file=ROOT / "tests" / "docs" / "examples" / "tiny.linr")
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "frames").glob("*.png"))) == 2
