"""Any video that FFmpeg decodes, through PyAV: frame `i` is the i-th frame of a decoding from the start."""

import bisect
import gc
import itertools
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import torch
from av.container import InputContainer
from av.video.stream import VideoStream
from torch import Tensor

from lightning_inr.data.sources.source import VideoSource
from lightning_inr.errors import UserError
from lightning_inr.progress import ProgressBar
from lightning_inr.types import FASTEST, SLOWEST

# The allowed formats: no playlists and no concatenations, which would open other files or hosts.
FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,m4v,asf,flv,ogg,mxf,nut,dv,rm,gif,apng,webp,ivf,obu,av1,h264,hevc,vvc,mjpeg,"
    "vc1,h263,avif,wtv,swf,webm"
)
OPTIONS = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
# In these containers and codecs the packets' times are the frames' times. In others packets lack times, hold no frame
# or hold two, and only decoding finds the frames.
INDEXED = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}
ONE_FRAME_A_PACKET = {"h264", "hevc", "av1", "vp9", "mjpeg", "prores", "ffv1", "dnxhd", "png"}
MATRICES = {"file": None, "bt601": "ITU601", "bt709": "ITU709"}
SKIPPED_AT_MOST = 8  # unneeded frames to decode; beyond this a seek costs less
UNKNOWN_RATE = 25.0  # frames per second, for a file without a frame rate
# A forked process (a worker of a DataLoader) must not close a reader of its parent: it would wait for threads that only
# the parent has. Readers in use are kept here, and gc.freeze keeps the collector from those that are garbage already.
PARENT_READERS: list[Any] = []
os.register_at_fork(after_in_child=gc.freeze)


class Index(NamedTuple):
    """The frames of a file, in presentation order."""

    frames: int
    times: list[int]  # of each frame, in units of the stream; empty: not known before decoding
    starts: list[int]  # numbers of frames at which decoding can start; the first is 0
    start_times: list[int]  # time to seek to for each of them, in units of the stream


class CompressedVideo(VideoSource):
    """Frames of one file by number; reading in order decodes each frame once.

    Frames are checked against the file's index; if a seek does not find its frame, decoding restarts from the
    beginning. `matrix` overrides the file's colour matrix. Frames are rotated as the file specifies.
    """

    def __init__(self, path: Path, matrix: str) -> None:
        self.path, self.name, self.matrix = path, path.stem, matrix
        self.index = _read_index(path)
        self.frames = self.index.frames
        self.next = 0  # number of the next frame of `decoded`
        self._open()
        rates = (self.stream.average_rate, self.stream.guessed_rate, self.stream.base_rate)
        self.fps = next((float(rate) for rate in rates if rate and SLOWEST <= rate <= FASTEST), UNKNOWN_RATE)
        if self.frames < self.stream.frames:
            message = f"{path} is damaged: {self.frames} of {self.stream.frames} frames are readable and used"
            warnings.warn(message, stacklevel=2)
        self.size: tuple[int, int] | None = None  # of the first frame, before it is rotated
        _, self.height, self.width = self.read(0).shape

    def read(self, index: int) -> Tensor:
        """Frame `index` as RGB (3, height, width) uint8; UserError if the file is damaged or differs from its index."""
        if self._process != os.getpid():
            PARENT_READERS.append((self.container, self.decoded))
            self._open()
        try:
            start = bisect.bisect(self.index.starts, index) - 1
            if index < self.next or self.index.starts[start] > self.next + SKIPPED_AT_MOST:
                self._seek(start)
            for frame in self.decoded:
                number, self.next = self.next, self.next + 1
                if self.index.times and frame.pts != self.index.times[number]:
                    break
                if number == index:
                    return self._rgb(frame)
            reason = "not at the time that the file's index gives"
        except av.FFmpegError as error:
            reason = f"damaged ({error.strerror})"
        raise UserError(
            f"dataset.path={self.path}: frame {index} is {reason}; write the video anew, as in "
            f"ffmpeg -i {self.path.name} -c:v libx264 -crf 1 new.mp4"
        )

    def _open(self) -> None:
        """Open the file, positioned before its first frame."""
        self.container, self.stream = _open(self.path)
        self.decoded: Iterator[av.VideoFrame] = self.container.decode(self.stream)
        self.next = 0
        self._process = os.getpid()  # a forked process shares the file position, and has no decoding threads

    def _seek(self, start: int) -> None:
        """Make `decoded` start at entry `start` of the index's starts, or at the first frame if that fails."""
        number = self.index.starts[start]
        if number:
            self.container.seek(self.index.start_times[start], stream=self.stream, backward=True)
            decoded, wanted = self.container.decode(self.stream), self.index.times[number]
            # Frames before the key frame may refer to frames that were not decoded.
            first = next((frame for frame in decoded if frame.pts is None or frame.pts >= wanted), None)
            if first is not None and first.pts == wanted:
                self.decoded, self.next = itertools.chain([first], decoded), number
                return
        self.container.close()
        self._open()

    def _rgb(self, frame: av.VideoFrame) -> Tensor:
        height, width = self.size = self.size or (frame.height, frame.width)
        pixels = frame.to_ndarray(
            format="rgb24", width=width, height=height, src_colorspace=MATRICES[self.matrix], interpolation="BICUBIC"
        )
        quarters = round(frame.rotation / 90) % 4
        return torch.from_numpy(np.ascontiguousarray(np.rot90(pixels, quarters))).permute(2, 0, 1)


def _open(path: Path) -> tuple[InputContainer, VideoStream]:
    """The container, and its best video stream, set to decode with all threads; UserError if there is none."""
    try:
        container = av.open(f"file:{path.resolve()}", options=OPTIONS)
        stream = container.streams.best("video")
        if not isinstance(stream, VideoStream):
            raise UserError(f"dataset.path={path}: it has no video stream; give another file")
        stream.thread_type = "AUTO"
        return container, stream
    except (av.FFmpegError, IndexError, OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"dataset.path={path}: not a video FFmpeg can read ({reason}); give another file") from error


def _read_index(path: Path) -> Index:
    """The index from the packets if they suffice, else by decoding everything once; UserError without any frame."""
    container, stream = _open(path)
    with container:
        index = None
        if container.format.name in INDEXED and stream.codec_context.name in ONE_FRAME_A_PACKET:
            index = _index_of_packets(container, stream)
    if index is None:
        container, stream = _open(path)
        with container:
            index = Index(_count(container, stream), [], [0], [0])
    if not index.frames:
        raise UserError(f"dataset.path={path}: no readable frame in this video; give an undamaged file")
    return index


def _index_of_packets(container: InputContainer, stream: VideoStream) -> Index | None:
    """The index; None if a packet has no time of its own, is corrupt, or is not to be presented."""
    times, keys = [], []
    try:
        for packet in container.demux(stream):
            if not packet.size:  # the end
                continue
            if packet.pts is None or packet.dts is None or packet.is_corrupt or packet.is_discard:
                return None
            times.append(packet.pts)
            if packet.is_keyframe:
                keys.append((packet.pts, packet.dts))
    except av.FFmpegError:
        return None
    times.sort()
    if not keys or len(set(times)) < len(times) or min(keys)[0] != times[0]:
        return None
    keys.sort()
    starts = [bisect.bisect_left(times, pts) for pts, _ in keys]
    return Index(len(times), times, starts, [dts for _, dts in keys])


def _count(container: InputContainer, stream: VideoStream) -> int:
    """The number of frames that decoding gives until the end or an error."""
    count = 0
    try:
        with ProgressBar(desc="index", unit="frame", leave=False, delay=1) as bar:
            for _ in container.decode(stream):
                count += 1
                bar.update()
    except av.FFmpegError:
        pass
    return count
