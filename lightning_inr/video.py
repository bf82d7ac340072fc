"""A `.linr` file as a reader of frames.

Only what decoding needs is imported here: search, chat and training take seconds to import.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_inr.codec import StoredVideo, describe_file, read_video
from lightning_inr.data.writer import write_frames
from lightning_inr.devices import choose_device
from lightning_inr.errors import UserError
from lightning_inr.ranges import FileRanges, located

Pathlike = str | os.PathLike[str]
Pixels = NDArray[np.uint8]


class DecodedFrames(NamedTuple):
    """Frames as torchcodec's decoder returns them."""

    data: Tensor  # (N, 3, H, W) uint8
    pts_seconds: Tensor  # (N,) float64, presentation time of each frame
    duration_seconds: Tensor  # (N,) float64


def open(path: Pathlike, device: str = "auto") -> "Video":
    """The `.linr` file at `path` as a reader of frames; UserError if it is damaged or exceeds the limits.

    `path`: a local file, or an address that fsspec knows, as https://… or s3://….

    >>> import lightning_inr as li
    >>> video = li.open("clip.linr")
    >>> video.shape, video.fps
    ((12, 48, 64, 3), 25.0)
    """
    return Video(path, device)


class Video:
    """A `.linr` file: frames are decoded on access, by number or by float position.

    `len`, indexing, `get_batch` and `get_avg_fps` are those of decord's VideoReader; `get_frame_at`, `get_frames_at`
    and `get_frames_in_range` those of torchcodec's VideoDecoder: data loaders can use this class in place of either.

    >>> import lightning_inr as li
    >>> video = li.open("clip.linr")
    >>> video[3].shape, video[-2:].shape, video[[0, 5, 5]].shape
    ((48, 64, 3), (2, 48, 64, 3), (3, 48, 64, 3))
    >>> video.at(3.5, size=(96, 128)).shape
    (96, 128, 3)
    >>> video.get_frames_in_range(0, 12, 4).data.shape
    torch.Size([3, 3, 48, 64])
    """

    def __init__(self, path: Pathlike, device: str = "auto", figures: Mapping[str, Any] | None = None) -> None:
        self.path = located(path)
        self.model: StoredVideo = read_video(FileRanges(self.path, "path"), choose_device(device))
        self.figures = dict(figures or {})  # of the fit, as in result.json; empty for a file that was opened

    @cached_property
    def info(self) -> dict[str, Any]:
        """The values that `task=info` prints: model, sizes, bytes and bits of each role."""
        return describe_file(FileRanges(self.path, "path"))

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(frames, height, width, 3)."""
        video = self.model.video
        return video.frames, video.height, video.width, 3

    @property
    def fps(self) -> float:
        """Frames a second."""
        return self.model.video.fps

    def __len__(self) -> int:
        return self.model.video.frames

    @overload
    def __getitem__(self, index: int) -> Pixels: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int]) -> Pixels: ...
    def __getitem__(self, index: int | slice | Sequence[int]) -> Pixels:
        """(H, W, 3) uint8 for a number, (N, H, W, 3) for a slice or a list; negative numbers count from the end."""
        if isinstance(index, slice):
            return self._stack(range(*index.indices(len(self))))
        if isinstance(index, int | np.integer):
            return self._stack([self._number(int(index))])[0]
        return self._stack([self._number(int(each)) for each in index])

    def __iter__(self) -> Iterator[Pixels]:
        """All frames in order, (H, W, 3) uint8 each, in bounded memory."""
        for frame in self.model.render(range(len(self))):
            yield frame.permute(1, 2, 0).numpy()

    def at(self, position: float | Sequence[float], size: tuple[int, int] | None = None) -> Pixels:
        """Frames at float positions, 3.5 between frames 3 and 4, at (height, width); UserError beyond the video."""
        positions = [position] if isinstance(position, int | float) else list(position)
        for each in positions:
            if not 0 <= each <= len(self) - 1:
                raise UserError(f"position {each}: this video has positions 0 to {len(self) - 1}")
        frames = self._stack(positions, size)
        return frames[0] if isinstance(position, int | float) else frames

    def torch_frames(self, positions: Sequence[float], size: tuple[int, int] | None = None) -> Tensor:
        """Frames at float positions, (N, 3, H, W) uint8 on the CPU."""
        frames = list(self.model.render(positions, size))
        height, width = size or self.shape[1:3]
        return torch.stack(frames) if frames else torch.empty(0, 3, height, width, dtype=torch.uint8)

    def get_frame_at(self, index: int) -> DecodedFrames:
        """Frame `index` and its presentation time, without the first axis."""
        return DecodedFrames(*(each[0] for each in self.get_frames_at([index])))

    def get_frames_at(self, indices: Sequence[int]) -> DecodedFrames:
        """The frames of these numbers, in this order."""
        numbers = [self._number(int(each)) for each in indices]
        times = torch.tensor(numbers, dtype=torch.float64) / self.fps
        return DecodedFrames(self.torch_frames(numbers), times, torch.full_like(times, 1 / self.fps))

    def get_frames_in_range(self, start: int, stop: int, step: int = 1) -> DecodedFrames:
        """Frames `start`, `start + step` … before `stop`."""
        return self.get_frames_at(range(*slice(start, stop, step).indices(len(self))))

    def get_batch(self, indices: Sequence[int]) -> Pixels:
        """(N, H, W, 3) uint8 of these numbers, as decord's reader returns them to NumPy."""
        return self[list(indices)]

    def get_avg_fps(self) -> float:
        """Frames a second."""
        return self.fps

    def write(
        self,
        out: Pathlike,
        *,
        slowdown: int = 1,
        size: tuple[int, int] | None = None,
        fps: float | None = None,
        frames: slice = slice(None),
    ) -> Path:
        """Write a video (.mp4, .mkv, .mov, .avi) or a folder of PNGs; `slowdown` frames for each one of the video."""
        if not isinstance(slowdown, int) or slowdown < 1:
            raise UserError(f"slowdown={slowdown}: choose a whole number from 1")
        numbers = range(*frames.indices(len(self)))
        if not numbers:
            raise UserError(f"frames={frames}: this video has frames 0:{len(self)}")
        steps = (len(numbers) - 1) * slowdown + 1
        positions = [numbers.start + numbers.step * step / slowdown for step in range(steps)]
        return write_frames(self.model.render(positions, size), Path(out), fps or self.fps)

    @cached_property
    def latents(self) -> NDArray[np.float32]:
        """(frames, D): the latent of each frame; UserError for a model without latents."""
        return self._of_all(self.model.latent)

    @cached_property
    def embeddings(self) -> NDArray[np.float32]:
        """(frames, S) of length 1, in the teacher's embedding space; UserError for a file without a teacher."""
        from lightning_inr.retrieval.gallery import unit

        return unit(self._of_all(self.model.frame_embeddings))

    def ask(
        self,
        question: str,
        *,
        projector: Pathlike | None = None,
        video_llm: str | None = None,
        max_new_tokens: int = 128,
        device: str = "auto",
    ) -> str:
        """The answer of a video language model that reads the file's latents; no frame is decoded.

        `projector` is a shared projector's file, None for the file's own; `video_llm` a folder or hub id, None for the
        model that the file or the projector names. Each question is answered without the previous ones as context.
        """
        from lightning_inr.chat.session import Session
        from lightning_inr.pipelines.chat_backend import BackendOptions, find_backend
        from lightning_inr.teachers.catalogue import load_video_llm

        load = None
        if video_llm is not None:
            name = video_llm

            def load(load_vision: bool) -> Any:
                return load_video_llm(name, load_vision=load_vision, device=device)

        if isinstance(self.path, str):
            raise UserError(f"path={self.path}: fetch the file to ask about it")
        backend = find_backend(
            BackendOptions(None if projector is None else os.fspath(projector), load, device=device),
            [self.path],
            load_vision=False,
        )
        tokens = backend.read(self.path)
        return "".join(Session(backend.llm, tokens.token_space, tokens.tokens, max_new_tokens).ask(question)).strip()

    def __repr__(self) -> str:
        frames, height, width, _ = self.shape
        return f"Video({str(self.path)!r}: {frames} frames of {width}x{height} at {self.fps:g} frames/s)"

    @torch.inference_mode()
    def _of_all(self, of: Any) -> NDArray[np.float32]:
        positions = torch.arange(len(self), device=self.model.device).float()
        return torch.cat([of(each).float().cpu() for each in positions.split(1024)]).numpy()

    def _stack(self, positions: Sequence[float], size: tuple[int, int] | None = None) -> Pixels:
        pixels: Pixels = self.torch_frames(positions, size).permute(0, 2, 3, 1).contiguous().numpy()
        return pixels

    def _number(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"frame {index}: this video has frames 0 to {len(self) - 1}")
        return index % len(self)
