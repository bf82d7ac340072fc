"""Any video FFmpeg reads: decord first, PyAV where it is missing."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import torch
from torch import Tensor

from lightning_inr.data.source import VideoSource
from lightning_inr.errors import UserError


class CompressedVideo(VideoSource):
    """Any video FFmpeg reads: through decord, through PyAV where decord is missing or cannot open it.

    `matrix` overrides the file's colour matrix; decord always takes the file's own, so PyAV reads then.
    """

    def __init__(self, path: Path, matrix: str) -> None:
        self.path, self.name, self.matrix = path, path.stem, matrix
        self.reader = (_open_decord(path) if matrix == "file" else None) or _PyAVReader(path, matrix)
        self.fps = self.reader.fps
        self.frames = self._readable()
        _, self.height, self.width = self.read(0).shape
        promised = max(self.reader.frames, _promised_frames(path))
        if self.frames < promised:
            message = f"{path} is damaged: {self.frames} of {promised} frames are readable and used"
            warnings.warn(message, stacklevel=2)

    def read(self, index: int) -> Tensor:
        """Frame `index` as RGB (3, height, width) uint8."""
        return self.reader.read(index)

    def _readable(self) -> int:
        """How many frames can be had: of a cut file, the index lists more."""
        least, most = 0, self.reader.frames  # everything below `least` is readable, nothing from `most` on
        if _packets(self.path) >= most:
            return most  # all is there; to decode the last frame may take as long as the whole video
        middle = most - 1
        while least < most:
            least, most = (middle + 1, most) if self._can_read(middle) else (least, middle)
            middle = (least + most) // 2
        if least == 0:
            raise UserError(f"dataset.path={self.path}: no readable frame in this video; give an undamaged file")
        return least

    def _can_read(self, index: int) -> bool:
        try:
            self.read(index)
        except Exception:  # decord raises its own, unrelated, exception types
            return False
        return True


def _packets(path: Path) -> int:
    """How many frames' data the file really holds, without decoding any."""
    try:
        with av.open(str(path)) as container:
            packets = container.demux(container.streams.video[0])
            return sum(packet.size > 0 and not packet.is_corrupt for packet in packets)
    except (av.FFmpegError, IndexError):
        return 0


def _promised_frames(path: Path) -> int:
    """What the file's own header says, 0 if it does not."""
    try:
        with av.open(str(path)) as container:
            return container.streams.video[0].frames
    except (av.FFmpegError, IndexError):
        return 0


class _DecordReader:
    def __init__(self, reader: Any) -> None:
        self.reader = reader
        self.frames, self.fps = len(reader), float(reader.get_avg_fps())

    def read(self, index: int) -> Tensor:
        return torch.from_numpy(self.reader[index].asnumpy()).permute(2, 0, 1)


def _open_decord(path: Path) -> _DecordReader | None:
    try:
        import decord
    except ImportError:
        return None
    decord.logging.set_level(decord.logging.QUIET)
    try:
        return _DecordReader(decord.VideoReader(str(path)))
    except Exception:  # PyAV tries next, and names the fault if it cannot either
        return None


class _PyAVReader:
    """Random access by seeking to the key frame before; reading in order decodes each frame once."""

    def __init__(self, path: Path, matrix: str) -> None:
        self.matrix = matrix
        try:
            self.container = av.open(str(path))
            self.stream = self.container.streams.video[0]
            self.times = sorted(
                packet.pts for packet in self.container.demux(self.stream) if packet.pts is not None and packet.size
            )
        except (av.FFmpegError, IndexError, OSError) as error:
            reason = getattr(error, "strerror", None) or "it has no video stream"
            raise UserError(
                f"dataset.path={path}: not a video FFmpeg can read ({reason}); give another file"
            ) from error
        self.frames = len(self.times)
        self.fps = float(self.stream.average_rate or self.stream.guessed_rate or 25)
        self.next = -1
        self.decoded: Iterator[Any] = iter(())

    def read(self, index: int) -> Tensor:
        if index != self.next:
            self.container.seek(self.times[index], stream=self.stream, backward=True)
            self.decoded = self.container.decode(self.stream)
        for frame in self.decoded:
            if frame.pts is not None and frame.pts >= self.times[index]:
                self.next = index + 1
                space = None if self.matrix == "file" else {"bt601": "ITU601", "bt709": "ITU709"}[self.matrix]
                pixels = frame.to_ndarray(format="rgb24", src_colorspace=space)
                return torch.from_numpy(pixels).permute(2, 0, 1)
        self.next = -1
        raise UserError(f"frame {index} cannot be decoded")
