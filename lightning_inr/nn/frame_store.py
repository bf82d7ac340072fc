"""A store of training frames or rendered frames, kept on their device as uint8."""

import torch
from torch import Tensor


class FrameStore:
    """Frames in rows 0 to `rows` - 1; row `rows` discards what is written to it and always reads as black.

    Row numbers are tensors on the frames' device, so that neither reading nor writing synchronises with it. The
    store is not part of the state dict.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.frames: Tensor | None = None  # (rows + 1, 3, h, w) uint8; None: nothing was written
        self.written: Tensor | None = None  # (rows + 1,) bool: which rows were written

    def put(self, rows: Tensor, frames: Tensor) -> None:
        """Write frames (B, 3, h, w) in [0, 1], detached, to rows (B,) int64."""
        if self.frames is None or self.written is None or self.frames.device != frames.device:
            self.frames = torch.zeros(self.rows + 1, *frames.shape[1:], dtype=torch.uint8, device=frames.device)
            self.written = torch.zeros(self.rows + 1, dtype=torch.bool, device=frames.device)
        in_range = rows < self.rows
        self.frames.index_copy_(0, rows, as_bytes(torch.where(in_range[:, None, None, None], frames, 0)))
        self.written.index_copy_(0, rows, in_range)

    def read(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (N,) int64 -> frames (N, 3, h, w) in [0, 1], black if not written; and which are (N,); after `put`."""
        assert self.frames is not None
        assert self.written is not None
        return self.frames.index_select(0, rows).float() / 255, self.written.index_select(0, rows)

    def written_rows(self) -> list[int]:
        """The rows that were written; synchronises with the device."""
        return [] if self.written is None else self.written.nonzero().flatten().tolist()

    def clear(self) -> None:
        """Remove all frames."""
        self.frames = self.written = None


def as_bytes(frames: Tensor) -> Tensor:
    """Frames in [0, 1] -> uint8, detached."""
    return (frames.detach() * 255).round().to(torch.uint8)


def rows_at(position: Tensor, rows: int) -> Tensor:
    """Positions in units of rows -> row numbers, int64, same shape; `rows` for one between two rows or out of range."""
    in_range = (position == position.floor()) & (position >= 0) & (position < rows)
    return torch.where(in_range, position, rows).long()
