"""The examples of docs/extend: each alone, and all three added to a copy of the package as documented."""

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from lightning_inr import models
from lightning_inr.errors import UserError
from lightning_inr.models import build, build_on_meta
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.models.size import count_coded, solve_width
from lightning_inr.types import VideoShape
from tests import conftest, test_contract
from tests.conftest import moving_square
from tests.docs.examples.charbonnier import charbonnier
from tests.docs.examples.key_frames import KeyFrames
from tests.docs.examples.npy import open_npy
from tests.docs.pages import DOCS, ROOT

EXAMPLES = ROOT / "tests" / "docs" / "examples"
[SMALL] = re.findall(r'"key_frames": (\{"channels.*\}),', (DOCS / "extend" / "model.md").read_text())
CONTRACT = [
    test
    for name, test in vars(test_contract).items()
    if name.startswith("test_") and list(inspect.signature(test).parameters) == ["model"]
]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> VideoRepresentation:
    monkeypatch.setitem(models.MODELS, "key_frames", KeyFrames)
    monkeypatch.setitem(conftest.SMALL, "key_frames", json.loads(SMALL))
    return conftest.small_model("key_frames")


@pytest.mark.parametrize("test", CONTRACT, ids=lambda test: test.__name__)
def test_the_model_keeps_the_contract(test: Any, model: VideoRepresentation) -> None:
    test(model)


def test_the_contract_has_tests_that_take_a_model() -> None:
    assert len(CONTRACT) >= 10


@pytest.mark.usefixtures("model")
def test_the_models_preset_builds_and_meets_a_size() -> None:
    options = yaml.safe_load((EXAMPLES / "key_frames.yaml").read_text())["model"]
    video = VideoShape(132, 180, 320, 25.0)
    assert build_on_meta(video=video, **options).padded_size == (180, 320)
    solved = solve_width(video=video, params=100_000, **options)
    assert count_coded(build_on_meta(**{**options, **solved, "video": video})) == pytest.approx(100_000, rel=0.02)
    with pytest.raises(UserError, match="key_frames=0: choose a whole number"):
        build("key_frames", video, key_frames=0)


def test_the_dataset_reads_arrays(tmp_path: Path) -> None:
    video = moving_square(6)
    path = tmp_path / "square.npy"
    np.save(path, video.permute(0, 2, 3, 1).numpy())
    source = open_npy(str(path), frames=3, first=2)
    assert (source.name, source.shape) == ("square", VideoShape(3, 48, 64, 25.0))
    assert torch.equal(source.read(0), video[2])
    np.save(path, np.zeros((2, 3)))
    with pytest.raises(UserError, match=r"give uint8 \(N, H, W, 3\)"):
        open_npy(str(path))


def test_the_loss_is_smooth_and_zero_at_equality() -> None:
    prediction = torch.rand(1, 3, 8, 8, requires_grad=True)
    assert charbonnier(prediction, prediction.detach()).item() == pytest.approx(1e-3)
    [slope] = torch.autograd.grad(charbonnier(prediction, prediction.detach()), prediction)
    assert slope.isfinite().all()


def test_model_dataset_and_loss_added_as_documented_fit_a_video(tmp_path: Path) -> None:
    for folder in ("lightning_inr", "conf"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    pages = {"key_frames.py": "model", "key_frames.yaml": "model", "npy.py": "dataset", "npy.yaml": "dataset"}
    for example, page in pages.items():
        text = (DOCS / "extend" / f"{page}.md").read_text()
        [target] = re.findall(rf"^`((?:lightning_inr|conf)/\w+/{example})`.*:$", text, re.MULTILINE)
        assert f"--8<--\ntests/docs/examples/{example}\n--8<--" in text
        shutil.copy(EXAMPLES / example, tmp_path / target)
    entry = "\nMODELS: dict[str, type[VideoRepresentation]] = {\n"
    imported = "\nfrom lightning_inr.models.key_frames import KeyFrames\n"
    _change(tmp_path / "lightning_inr/models/registry.py", entry, f'{imported}{entry}    "key_frames": KeyFrames,\n')
    losses = tmp_path / "lightning_inr/losses.py"
    _change(losses, "\nLOSSES:", f"\n{inspect.getsource(charbonnier)}\n\nLOSSES:")
    _change(losses, "boost)\n}", "boost, charbonnier)\n}")
    np.save(tmp_path / "clip.npy", moving_square(4).permute(0, 2, 3, 1).numpy())
    options = ["model=key_frames", "model.channels=8", "model.strides=[2,2]", "dataset=npy", "dataset.path=clip.npy",
               "module.loss=charbonnier", "max_epochs=2", "run_dir=run", "progress_bar=false"]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "lightning_inr.run", *options],
        cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["model"], result["frames"]) == ("key_frames", 4)
    assert result["psnr"] > 5


def _change(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert text.count(before) == 1, f"{path}: {before}"
    path.write_text(text.replace(before, after))
