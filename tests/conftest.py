"""Small videos in the real formats, small models, and the command line in this process."""

import json
import logging
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import av
import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from lightning_inr import run
from lightning_inr.models import MODELS, build
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.pipelines import collection as collection_pipeline
from lightning_inr.pipelines.evaluation import measure
from lightning_inr.types import VideoShape
from tests.servers import CREDENTIALS, S3Server, s3_server

# One small configuration a model; the contract tests run on all of MODELS and fail for one without.
SMALL: dict[str, dict[str, Any]] = {
    "latent_inr": {
        "latent_dim": 8, "latent_start": "smooth", "latent_scale": 1.0, "width": 16, "layers": 3, "rank": 4,
        "hyper_width": 8, "activation": "gelu", "encoding": {"kind": "grid", "height": 3, "width": 4, "channels": 6},
        "stages": [
            {"stride": 2, "channels": 8, "kernel": 3, "grid_channels": 2},
            {"stride": 2, "channels": 3, "kernel": 3, "grid_channels": 0},
        ],
    },
    "latent_inr_grids": {
        "latent_dim": 8, "width": 16, "rank": 4, "hyper_width": 8, "velocity_scale": 0.01, "shots": [0, 3],
        "maps": [{"channels": 4, "frames_per_slice": 1}, {"channels": 2, "frames_per_slice": 0}],
        "stages": [
            {"stride": 2, "channels": 8, "kernel": 3, "grid_channels": 2, "frames_per_slice": 2},
            {"stride": 2, "channels": 3, "kernel": 3, "grid_channels": 1, "frames_per_slice": 0},
        ],
    },
    "nerv": {"channels": 6, "least_channels": 8, "strides": [2, 2], "stem_width": 16, "octaves": 6},
    "ff_nerv": {
        "channels": 8, "grid_frames": [2, 3], "expansion": 2.0, "least_channels": 8, "strides": [2, 2], "groups": 4,
    },
    "t_nerv": {
        "channels": 12, "strides": [2, 2], "embedding_share": 0.25, "grid_frames": [2, 3], "grid_share": 0.25,
        "encoder_blocks": [1, 1], "encoder_widths": [8], "augmentation_width": 8, "time_width": 8, "code_width": 6,
        "octaves": 6,
    },
    "hnerv_boost": {
        "channels": 8, "least_channels": 4, "strides": [2, 2], "encoder_width": 8, "embedding_channels": 3,
        "convolutions": [1, 2], "code_hidden": 8, "code_width": 4, "octaves": 6,
    },
    "dnerv": {
        "channels": 8, "least_channels": 4, "strides": [2, 2], "encoder_width": 8, "embedding_channels": 3,
        "difference_strides": [4], "fusion": 1,
    },
    "hnerv": {"channels": 8, "least_channels": 4, "strides": [2, 2], "encoder_width": 8, "embedding_channels": 3},
    "e_nerv": {"channels": 12, "expansion": 2.0, "token_ratio": 0.7, "heads": 2, "strides": [2, 2], "octaves": 6},
    "c_nerv": {"channels": 12, "expansion": 2.0, "least_ratio": 1.0, "strides": [2, 2], "octaves": 6},
    "hinerv": {
        "channels": 8, "strides": [2, 2], "depths": [2, 1], "expansions": [2, 1], "base_ratio": 0.4, "code_ratio": 0.3,
        "frames_per_slice": 2,
    },
    "nvp": {"channels": 6, "levels": 3, "coarsest_ratio": 0.5, "width": 12},
    "nirvana": {"channels": 8, "layers": 2, "strides": [2, 2], "group": 2},
}  # fmt: skip

SMALL_OVERRIDES = [
    "model.width=16", "model.latent_dim=8", "model.hyper_width=8", "rank=4", "max_epochs=2", "max_seconds=null",
    "logger=none",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    torch.manual_seed(0)


@pytest.fixture(params=list(MODELS))
def model(request: pytest.FixtureRequest) -> VideoRepresentation:
    """Each model in its small configuration, for 5 frames of 22x30: no stride divides that height."""
    return small_model(request.param)


def small_model(name: str = "latent_inr", video: VideoShape | None = None) -> VideoRepresentation:
    """A small model for tests."""
    built = build(name, video or VideoShape(5, 22, 30, 25.0), **SMALL[name])
    with torch.no_grad():  # a fresh hypernetwork modulates nothing: give the frames something to differ in
        for parameter in built.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return built.eval()


def moving_square(frames: int = 6, height: int = 48, width: int = 64) -> Tensor:
    """(N, 3, H, W) uint8: a red square on a blue gradient."""
    video = torch.zeros(frames, 3, height, width, dtype=torch.uint8)
    video[:, 2] = torch.linspace(40, 200, width).to(torch.uint8)
    for index in range(frames):
        left = 2 + index * (width - 20) // max(1, frames)
        video[index, 0, height // 4 : height // 2, left : left + 12] = 220
    return video


def write_images(folder: Path, video: Tensor, mode: str = "RGB") -> Path:
    """`00001.png` …, named and zero-padded as by FFmpeg and the NeRV family."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(video, start=1):
        Image.fromarray(frame.permute(1, 2, 0).numpy()).convert(mode).save(folder / f"{number:05d}.png")
    return folder


def write_yuv(path: Path, video: Tensor) -> Path:
    """A headerless planar 4:2:0 file, as in UVG and MCL-JCV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = [av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.permute(1, 2, 0)), "rgb24") for frame in video]
    path.write_bytes(b"".join(picture.reformat(format="yuv420p").to_ndarray().tobytes() for picture in pictures))
    return path


def write_mp4(path: Path, video: Tensor, fps: int = 25) -> Path:
    """An H.264 file as written by cameras and FFmpeg."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width = video.shape[2:]
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "8", "g": "4"}
        for frame in video:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.permute(1, 2, 0)), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def write_result(folder: Path, **figures: Any) -> Path:
    """A result.json as a fit writes it."""
    result = {
        "model": "latent_inr", "video": "bunny", "rank": 8, "overrides": [], "frames": 6, "height": 48, "width": 64,
        "params": 1000, "bytes": 900, "bpp": 0.4, "psnr": 31.0, "psnr_mean_mse": 30.5, "ssim": 0.9, "ms_ssim": None,
        "fit_seconds": 3.0, "encode_seconds": 0.1, "decode_fps": 100.0, "device": "cpu", "seed": 0,
    }  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(result | figures))
    return folder / "result.json"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of six 64x48 images."""
    return write_images(tmp_path / "images", moving_square())


class Outcome:
    """The result of a command line: exit code, stdout, stderr."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def error(self) -> str:
        """The single line of the error message."""
        lines = [line for line in self.err.replace("\r", "\n").splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Outcome]:
    """Run `python -m lightning_inr.run …` in this process, from an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    # A new process has no handlers; one of a former test would write to a stream that is closed.
    monkeypatch.setattr(logging.getLogger(), "handlers", [])

    def call(*options: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["lightning_inr.run", *map(str, options)])
        capfd.readouterr()
        code = 0
        try:
            run.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capfd.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """An S3 server with an empty bucket, BUCKET; the environment names it and has its credentials."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with s3_server() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        yield server


CLIP: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


def write_teacher(folder: Path, seed: int = 0, **preprocessing: Any) -> Path:
    """An open_clip folder whose weights are those of `seed`."""
    folder.mkdir(parents=True)
    config = {"model_cfg": CLIP, "preprocess_cfg": preprocessing}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(seed)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """An open_clip folder."""
    return write_teacher(tmp_path / "tiny")


ALIGNED = [
    "experiment=shapes_retrieval", "dataset.listing.videos=4", "dataset.most_frames=6", "model.width=16",
    "model.hyper_width=4", "max_epochs=2", "max_seconds=null", "feature_cache=features",
]  # fmt: skip


@pytest.fixture(scope="session")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `shapes`, its teacher `clip`, and `collection`: four videos of six frames; read only."""
    folder = tmp_path_factory.mktemp("collected")
    write_teacher(folder / "clip")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["lightning_inr.run", "task=collect", "collection=collection", *ALIGNED,
                                    "dataset.listing.root=shapes", "teacher.weights=clip"])  # fmt: skip
        run.main()
    return folder


@pytest.fixture
def collection(collected: Path, cli: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `collected` that a test may change, in the folder where `cli` runs.

    What is collected from now on is measured in this process: to start another takes longer than all the rest, and
    `collected` has had one.
    """
    monkeypatch.setattr(collection_pipeline, "measuring_process", lambda: nullcontext(measure))
    shutil.copytree(collected, tmp_path, dirs_exist_ok=True)
    return tmp_path / "collection"
