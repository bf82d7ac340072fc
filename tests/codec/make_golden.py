"""Write golden files: `.linr` files that every later program must read, each with what it decodes to.

    python -m tests.codec.make_golden [NAME ...]

writes golden/version_V/NAME.linr and NAME.npz, V the version that the codec writes, for these names or for all: one a
model, and `options`, which has every option of the codec and every role; and `segments`, of several segments, in the
folder of that version. A file that is there is never replaced; only its record is made if that is missing.

The weights are those of the small configurations of tests.conftest with noise of seed 0 added; nothing is fitted.

version_2 was written at commit aeff850, the last of that version: this script copied there and called with the names
of its models, except `fitted.linr`, of a short fit, which was added in commit 8d5fad0; its record is by aeff850 too.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_inr import types
from lightning_inr.codec import Codec, SegmentedVideo, StoredVideo, join_files, read_video
from lightning_inr.codec.container import SEGMENTED, VERSION
from lightning_inr.models import MODELS, build
from lightning_inr.models.base import VideoRepresentation
from tests.conftest import SMALL

GOLDEN = Path(__file__).parent / "golden"
VIDEO = types.VideoShape(4, 12, 16, 25.0)
VARIANTS: dict[str, dict[str, Any]] = {
    "e_nerv": {"channels": 8}, "c_nerv": {"channels": 8},  # files of 4 kB, not 8
    "latent_inr_grids": {"velocity_scale": None},
}  # fmt: skip
VELOCITY = "velocity"  # the file of latent_inr_grids with a velocity
OPTIONS = "options"  # the file of all options of the codec
SEGMENTS = "segments"  # the file of several segments
CODECS = {
    OPTIONS: Codec(
        bits={"latents": 32, "hyper": 16, "grid": 12, "projector": 2}, default_bits=3, ranges="channel", coder="huffman"
    )
}
DEFAULT_CODEC = Codec(default_bits=4)


def golden_model(name: str) -> VideoRepresentation:
    """The model of the golden file `name`."""
    torch.manual_seed(0)
    if name == OPTIONS:
        model = _model_with_all_roles()
    else:
        kind = "latent_inr_grids" if name == VELOCITY else name
        model = build(kind, VIDEO, **(SMALL[kind] | VARIANTS.get(name, {})))
    with torch.no_grad():  # frames of high contrast, which differ
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def _model_with_all_roles() -> VideoRepresentation:
    model = build("latent_inr", VIDEO._replace(frames=5, stride=2), **SMALL["latent_inr"])
    model.align(types.EmbeddingSpace("tiny", "01", 6))
    sampling = types.FrameSampling(2, 8, 8, 0.04)
    model.attach_projector(types.TokenSpace("tiny", "02", tokens=4, groups=2, width=6, sampling=sampling))
    return model


@torch.inference_mode()
def decoded_values(data: bytes) -> dict[str, NDArray[Any]]:
    """What a file decodes to: `pixels` (3, H, W, 3) uint8 of three positions, and `embeddings` and `tokens` if any.

    In float32 on any machine; `render` takes bfloat16 where that is fast.
    """
    model = read_video(data)
    positions = torch.tensor([0, 1.5, model.video.frames - 1])
    values = {"pixels": (255 * _frames(model, positions)).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()}
    if model.embedding_space is not None:
        values["embeddings"] = model.frame_embeddings(positions).numpy()
    if model.token_space is not None:
        values["tokens"] = model.visual_tokens().numpy()
    return values


def _frames(model: StoredVideo, positions: Tensor) -> Tensor:
    if not isinstance(model, SegmentedVideo):
        return model(positions)
    located = map(model.table.locate, positions.tolist())
    return torch.cat([model.network(number)(torch.tensor([position])) for number, position in located])


def golden_segments() -> bytes:
    """A file of two segments, of four and three frames."""
    parts = []
    for frames in (4, 3):
        torch.manual_seed(frames)
        model = build(
            "latent_inr", VIDEO._replace(frames=frames), types.EmbeddingSpace("tiny", "01", 6), **SMALL["latent_inr"]
        )
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
        parts.append(Codec(default_bits=3).encode(model.eval()))
    return b"".join(join_files(lambda: parts))


def write_golden(name: str) -> None:
    """Write the golden file `name` and its record, unless they exist."""
    folder = GOLDEN / f"version_{SEGMENTED if name == SEGMENTS else VERSION}"
    folder.mkdir(parents=True, exist_ok=True)
    file, record = folder / f"{name}.linr", folder / f"{name}.npz"
    if not file.exists():
        file.write_bytes(
            golden_segments() if name == SEGMENTS else CODECS.get(name, DEFAULT_CODEC).encode(golden_model(name))
        )
    if not record.exists():
        np.savez_compressed(record, **decoded_values(file.read_bytes()))  # type: ignore[arg-type]  # mypy takes an array for allow_pickle


if __name__ == "__main__":
    for each in sys.argv[1:] or [*MODELS, OPTIONS, VELOCITY, SEGMENTS]:
        write_golden(each)
