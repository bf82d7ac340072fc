"""Files of earlier versions of the container, as they were written then."""

from pathlib import Path

import pytest
import torch

from lightning_inr.codec import decode

FILES = Path(__file__).parent / "files"
MEANS = [125.80, 125.81, 125.81]  # of each frame, as version 2 decoded it


def test_a_file_of_version_2_decodes_to_the_same_frames() -> None:
    model = decode((FILES / "version_2.linr").read_bytes())
    means = torch.stack(list(model.render([0, 1.5, 4]))).float().mean((1, 2, 3))
    assert means.tolist() == pytest.approx(MEANS, abs=0.2)
