"""Rendering on a GPU: a batch is replayed as a CUDA graph, and copied to the host while the next ones are computed.

A copy to pageable memory would wait for the device after each batch, and keep it idle until the next one is launched.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_inr.cuda_graphs import RepeatedCall
from lightning_inr.errors import BitstreamError

BATCHES_AHEAD = 2  # batches that are launched before the oldest one is yielded


class RenderedBatch(NamedTuple):
    """A batch of frames and a number by which they are checked."""

    frames: Tensor  # (N, 3, h, w) uint8
    total: Tensor  # sum of the frames' values, scalar; not finite if one of them is not

    def checked(self, first: float) -> Tensor:
        """The frames, the first of which is at position `first`; BitstreamError if they are damaged."""
        if not self.total.isfinite():
            raise BitstreamError(f"damaged .linr: frames from {first:g} on hold numbers that are not finite")
        return self.frames


class _Copy(NamedTuple):
    first: float  # frame position of the batch
    batch: RenderedBatch  # in pinned memory
    done: torch.cuda.Event


@torch.inference_mode()
def render_batch(
    render: Callable[[Tensor], RenderedBatch], positions: Tensor, call: RepeatedCall[RenderedBatch], index: Tensor
) -> RenderedBatch:
    """The frames at `positions` (N,) on the CPU; `index` (N,) is where a graph reads them from."""
    key = positions.shape
    if call.is_due(key):
        index.copy_(positions)
        replayed = call.replay(key, lambda: render(index))
        if replayed is not None:
            return replayed
    return render(positions.to(index.device))


def render_on_gpu(
    render: Callable[[Tensor], RenderedBatch],
    update: Callable[[Sequence[float]], None] | None,
    batches: Iterable[Tensor],
    device: torch.device,
) -> Iterator[Tensor]:
    """Yield the frames of `batches` of positions as (3, h, w) uint8 on the CPU.

    `update` is called with the positions of a batch before `render`, which is then not replayed.
    """
    call: RepeatedCall[RenderedBatch] = RepeatedCall("rendering")
    index = torch.empty(0, device=device)
    started: deque[_Copy] = deque()
    for positions in batches:
        if update is not None:
            update(positions.tolist())
            rendered = render(positions.to(device))
        else:
            if not len(index):
                index = positions.to(device)
            rendered = render_batch(render, positions, call, index)
        started.append(_start_copy(rendered, float(positions[0])))
        if len(started) > BATCHES_AHEAD:
            yield from _finished(started.popleft())
    while started:
        yield from _finished(started.popleft())


@torch.inference_mode()
def _start_copy(rendered: RenderedBatch, first: float) -> _Copy:
    """Copy to pinned memory while the device computes what is launched next."""
    host = RenderedBatch(*(torch.empty(each.shape, dtype=each.dtype, pin_memory=True) for each in rendered))
    for to, each in zip(host, rendered, strict=True):
        to.copy_(each, non_blocking=True)
    done = torch.cuda.Event()
    done.record()
    return _Copy(first, host, done)


def _finished(copy: _Copy) -> Tensor:
    """The frames, in pageable memory: pinned memory is scarce, and a caller may keep many."""
    copy.done.synchronize()
    return copy.batch.checked(copy.first).clone()
