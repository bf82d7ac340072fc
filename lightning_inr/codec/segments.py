"""A video of several segments, each decoded when it is needed: any frame, in memory that the length does not change."""

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import lru_cache
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from lightning_inr.codec.codec import bits_of, decode, describe
from lightning_inr.codec.limits import current_limits, use_limits
from lightning_inr.codec.segment_table import SegmentTable, read_segment_header, read_segment_table
from lightning_inr.errors import BitstreamError, UserError
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.ranges import ByteSource

DECODED_AT_ONCE = 2  # segments that stay decoded


class SegmentedVideo:
    """The networks of a file's segments as one: what readers of a `VideoRepresentation` use, for the whole video.

    The file is read when a segment is needed. BitstreamError then, if that segment is not valid.
    """

    def __init__(
        self, data: ByteSource, table: SegmentTable, device: str | torch.device, roles: Collection[str] | None = None
    ) -> None:
        self.data, self.table, self.device, self.roles = data, table, torch.device(device), roles
        self.video, self.embedding_space = table.video, table.space
        self.token_space = None
        self.limits = current_limits()  # of each segment, whenever it is decoded
        self.network: Callable[[int], VideoRepresentation] = lru_cache(DECODED_AT_ONCE)(self._decode)

    def render(self, index: Iterable[float], size: tuple[int, int] | None = None) -> Iterator[Tensor]:
        """Yield the frames at `index` as (3, h, w) uint8 on the CPU, in bounded memory."""
        for number, located in groupby(map(self.table.locate, index), key=lambda found: found[0]):
            yield from self.network(number).render([position for _, position in located], size)

    def latent(self, index: Tensor) -> Tensor:
        """Frame positions (B,) -> latents (B, D); UserError if the segments have none."""
        return self._gather(lambda network, positions: network.latent(positions), index)

    def pool_latents(self, index: Tensor) -> Tensor:
        """Frame positions (B,) -> (B, D), as `LatentHeads.pool_latents`."""
        return self._gather(lambda network, positions: network.pool_latents(positions), index)

    def frame_embeddings(self, index: Tensor) -> Tensor:
        """Frame positions (B,) -> embeddings (B, S), not normalised; UserError if the file is not aligned."""
        return self._gather(lambda network, positions: network.frame_embeddings(positions), index)

    def sample_positions(self, frames: int) -> Tensor:
        """Frame positions (N,) of N = `frames` whole frames spaced evenly over the video."""
        return torch.tensor(self.video.spread(frames), dtype=torch.float32, device=self.device)

    def visual_tokens(self) -> Tensor:
        """UserError: a file of several segments has no projector of its own."""
        raise UserError("it has several segments and no projector; use a shared one, with projector=FILE")

    def __reduce__(self) -> tuple[Any, ...]:
        return SegmentedVideo, (self.data, self.table, self.device, self.roles)  # decoded networks are not pickled

    def _decode(self, number: int) -> VideoRepresentation:
        part, segment = self.table.part(self.data, number), self.table.segments[number]
        with use_limits(self.limits):
            network = decode(part[:] if self.roles is None else part, self.device, self.roles)
        expected = self.video._replace(frames=segment.frames)
        if (network.video, network.embedding_space, network.token_space) != (expected, self.embedding_space, None):
            raise BitstreamError(f"damaged .linr: segment {number} is not of this video; fetch the file again")
        return network

    def _gather(self, compute: Callable[[VideoRepresentation, Tensor], Tensor], index: Tensor) -> Tensor:
        """The rows of `compute` for each position, each by the network of its segment."""
        rows: list[Tensor] = []
        for number, located in groupby(map(self.table.locate, index.tolist()), key=lambda found: found[0]):
            positions = torch.tensor([position for _, position in located], device=index.device)
            rows.append(compute(self.network(number), positions))
        return torch.cat(rows)


StoredVideo = VideoRepresentation | SegmentedVideo


def read_video(
    data: ByteSource, device: str | torch.device = "cpu", roles: Collection[str] | None = None
) -> StoredVideo:
    """The video stored in `data`, of one network or of several segments; arguments and errors as for `decode`."""
    table = read_segment_table(data)
    if table is not None:
        return SegmentedVideo(data, table, device, roles)
    # In one piece where all of it is used: each range of a remote file is a request.
    return decode(data[:] if roles is None else data, device, roles)


def describe_file(data: ByteSource) -> dict[str, Any]:
    """The values that `info` prints, as `describe`; of several segments their sums, and the cost of the first one."""
    table = read_segment_table(data)
    if table is None:
        return describe(data)
    roles: dict[str, dict[str, Any]] = {}
    for number in range(len(table.segments)):
        header, lengths = read_segment_header(table.part(data, number))
        for entry in header.tensors:
            role = roles.setdefault(entry.role, {"bytes": 0, "params": 0, "bits": []})
            role["params"] += entry.numel
            role["bits"] = sorted({*role["bits"], bits_of(entry)})
        for name, length in lengths.items():
            roles.setdefault(name, {"bytes": 0, "params": 0, "bits": []})["bytes"] += length
    first, video = describe(table.part(data, 0)), table.video
    return {
        **{name: first[name] for name in ("model", "padded", "passes", "frame", "space", "token_space")},
        "video": video._asdict(),
        "bytes": len(data),
        "bpp": 8 * len(data) / (video.frames * video.height * video.width),
        "params": sum(role["params"] for role in roles.values()),
        "roles": roles,
        "segments": [
            {"first": first_frame, "frames": segment.frames, "bytes": segment.length}
            for first_frame, segment in zip(table.firsts, table.segments, strict=True)
        ],
    }
