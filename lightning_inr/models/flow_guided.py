"""What flow-guided representations share: a frame is painted twice, by itself and from its neighbours, and mixed.

FFNeRV (Lee et al., ACM MM 2023) and T-NeRV. One pass of the decoder gives a draft: an independent frame, the motion
towards the neighbours, and how to mix. The neighbours are the independent frames of the seen frames around. Training
reads them, detached, from those that earlier steps have painted; decoding paints them first, each once.

The papers keep half-precision frames; here neighbours are bytes, in training and in decoding alike, which takes half
the memory and lets training see just what the decoder will see.
"""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from lightning_inr.models.base import PIXELS_AT_ONCE
from lightning_inr.models.raster import RasterRepresentation
from lightning_inr.nn.flow import aggregate, enlarge_motion
from lightning_inr.nn.start import start_layer
from lightning_inr.nn.upsample import paint, resize_painted
from lightning_inr.types import Window, crop

OFFSETS = (-2, -1, 1, 2)  # the neighbours, in seen frames; the aggregation window of both papers
MOTION_CHANNELS = 3 * len(OFFSETS)  # x, y and weight of each neighbour
GUIDED_CHANNELS = 5  # of the head: RGB, and the two weights of the mix


class Draft(NamedTuple):
    """What one pass of the decoder gives; with a head of 3 channels, and no motion, the frame needs no neighbours."""

    head: Tensor  # (B, GUIDED_CHANNELS, *padded): logits of the independent frame, and of the mix
    motion: Tensor  # (B, MOTION_CHANNELS, h, w), in pixels


class FrameStore:
    """Independent frames as bytes, detached, by their row among the seen frames; any other row is black."""

    def __init__(self) -> None:
        self.frames: dict[int, Tensor] = {}

    def put(self, rows: Iterable[int], frames: Tensor) -> None:
        """Keep frames (B, 3, h, w) in [0, 1]; a row of -1 is left out."""
        rounded = (frames.detach() * 255).round().to(torch.uint8)
        # Copies: a slice would keep its whole batch in memory.
        self.frames |= {row: frame.clone() for row, frame in zip(rows, rounded, strict=True) if row >= 0}

    def read(self, rows: Sequence[Sequence[int]], like: Tensor) -> Tensor:
        """Rows (B, K) -> (B, K, 3, h, w) in [0, 1]; `like` (B, 3, h, w)."""
        black = torch.zeros_like(like[0], dtype=torch.uint8)
        found = [torch.stack([self.frames.get(row, black) for row in each]) for each in rows]
        return torch.stack(found).to(like.device).float() / 255


class Recent:
    """Drafts and frames that one batch needed: the next needs most of them again."""

    def __init__(self) -> None:
        self.drafts: dict[int, Draft] = {}
        self.store = FrameStore()

    def keep(self, rows: set[int]) -> None:
        """Forget all but these."""
        for row in set(self.drafts) - rows:
            del self.drafts[row], self.store.frames[row]


class FlowGuided(RasterRepresentation):
    """A raster decoder of drafts; subclasses set `store`, and say what a draft is made of."""

    view_weights: ClassVar[Mapping[str, float]] = {"aggregated": 0.1, "independent": 0.1}
    store: FrameStore  # of training; no part of the state dict
    motion: nn.Conv2d | None  # features -> `Draft.motion`; none without guidance

    def start(self) -> None:
        """Set the starting values: hardly any motion, and neighbours of about the same weight."""
        super().start()
        if self.motion is not None:
            start_layer(self.motion, gain=0.1)

    @abstractmethod
    def draft(self, index: Tensor) -> Draft:
        """(B,) -> a draft each, from coded tensors."""

    @property
    def guided(self) -> bool:
        """Whether frames look at their neighbours."""
        return self.motion is not None

    @property
    def can_draft(self) -> bool:
        """Whether `draft` knows every seen frame already; else a neighbour that no step has painted yet is black."""
        return True

    @property
    def passes(self) -> int:
        """The frame's own, and one a neighbour; consecutive frames rendered together share them."""
        return 1 + len(OFFSETS) if self.guided else 1

    def fitted_draft(self, index: Tensor, frames: Tensor) -> Draft:
        """The draft that training works on."""
        return self.draft(index)

    def logits(self, index: Tensor) -> Tensor:
        """(B,) -> (B, 3, *padded): the independent frames."""
        return self.draft(index).head[:, :3]

    def reconstruct(self, index: Tensor, frames: Tensor, window: Window | None = None) -> Tensor:
        """The final view."""
        return self.views(index, frames, window)["final"]

    def views(self, index: Tensor, frames: Tensor, window: Window | None = None) -> dict[str, Tensor]:
        """What training compares with `frames`, each (B, 3, h, w): final, aggregated, independent."""
        draft = self.fitted_draft(index, frames)
        if not self.guided:
            views = {"final": paint(self.cut(draft.head))}
        else:
            independent = self._independent(draft)
            self.store.put(self._rows(index), independent)
            around = self._rows_around(index)
            if self.can_draft:
                # After the draft with gradients: autocast keeps its copies of the weights, and copies first made
                # without gradients would cut them off.
                self._fill(self.store, sorted({row for rows in around for row in rows} - {-1}))
            views = self._mix(draft, independent, self.store.read(around, independent))
        return views if window is None else {name: crop(view, window) for name, view in views.items()}

    def prepare(self, size: tuple[int, int] | None = None, window: Window | None = None) -> Recent | None:
        """A memory of drafts, with which consecutive frames cost one pass each."""
        return Recent() if self.guided else None

    def forward(
        self,
        index: Tensor,
        size: tuple[int, int] | None = None,
        window: Window | None = None,
        prepared: Any = None,
    ) -> Tensor:
        """(B,) -> RGB (B, 3, h, w) in [0, 1]; `prepared` is what `prepare` gave, for the same parameters."""
        frames = self.painted(index, size, prepared)
        return frames if window is None else crop(frames, window)

    def painted(self, index: Tensor, size: tuple[int, int] | None, recent: Recent | None = None) -> Tensor:
        """(B,) -> whole frames (B, 3, *size); every seen frame that the batch needs is drafted once."""
        if not self.guided:
            return super().painted(index, size)
        recent = Recent() if recent is None else recent
        rows, around = self._rows(index), self._rows_around(index)
        needed = ({row for each in around for row in each} | set(rows)) - {-1}
        recent.keep(needed)
        self._fill(recent.store, sorted(needed), recent.drafts)
        draft = self._gather(index, rows, recent.drafts)
        independent = self._independent(draft)
        final = self._mix(draft, independent, recent.store.read(around, independent))["final"]
        return resize_painted(final, size)

    def _independent(self, draft: Draft) -> Tensor:
        return torch.sigmoid(self.cut(draft.head[:, :3]).float())

    def _mix(self, draft: Draft, independent: Tensor, neighbours: Tensor) -> dict[str, Tensor]:
        motion = self.cut(enlarge_motion(draft.motion, *self.padded))
        aggregated = aggregate(neighbours, motion)
        share = self.cut(draft.head[:, 3:]).float().softmax(1)
        final = independent * share[:, :1] + aggregated * share[:, 1:]
        # The weights of a softmax add up to one but for rounding.
        return {"final": final.clamp_max(1), "aggregated": aggregated, "independent": independent}

    @torch.no_grad()
    def _fill(self, store: FrameStore, rows: Sequence[int], drafts: dict[int, Draft] | None = None) -> None:
        """Paint those of the seen frames `rows` that `store` lacks, in bounded memory; keep their `drafts` too."""
        missing = torch.tensor([row for row in rows if row not in store.frames], device=self.device)
        for chosen in missing.split(max(1, PIXELS_AT_ONCE // (self.padded[0] * self.padded[1]))):
            if len(chosen):
                draft, names = self.draft(chosen.float() * self.video.stride), chosen.tolist()
                store.put(names, self._independent(draft))
                if drafts is not None:
                    drafts |= dict(zip(names, map(Draft, draft.head.split(1), draft.motion.split(1)), strict=True))

    def _gather(self, index: Tensor, rows: Sequence[int], drafts: Mapping[int, Draft]) -> Draft:
        """The drafts at `index`: those of seen frames are there already, those between are made now."""
        between = [place for place, row in enumerate(rows) if row < 0]
        each = {place: drafts[row] for place, row in enumerate(rows) if row >= 0}
        if between:
            made = self.draft(index[between])
            each |= dict(zip(between, map(Draft, made.head.split(1), made.motion.split(1)), strict=True))
        ordered = [each[place] for place in range(len(rows))]
        return Draft(torch.cat([one.head for one in ordered]), torch.cat([one.motion for one in ordered]))

    def _rows(self, index: Tensor) -> list[int]:
        """Positions (B,) -> the row of each among the seen frames, -1 for one that lies between."""
        rows = [float(position) / self.video.stride for position in index.tolist()]
        return [int(row) if row.is_integer() and 0 <= row < len(self.video.seen) else -1 for row in rows]

    def _rows_around(self, index: Tensor) -> list[list[int]]:
        """Positions (B,) -> (B, K) rows of the neighbours of the nearest seen frame, -1 beyond the ends."""
        nearest = [int(position / self.video.stride + 0.5) for position in index.tolist()]
        return [[row if 0 <= row < len(self.video.seen) else -1 for row in (n + o for o in OFFSETS)] for n in nearest]
