"""A small CLIP with random weights, saved as an ordinary open_clip folder."""

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file

ARCHITECTURE: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


def write_teacher(folder: Path, seed: int = 0, **preprocessing: Any) -> Path:
    """An open_clip folder whose weights are those of `seed`."""
    folder.mkdir(parents=True)
    config = {"model_cfg": ARCHITECTURE, "preprocess_cfg": preprocessing}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(seed)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """An open_clip folder."""
    return write_teacher(tmp_path / "tiny")
