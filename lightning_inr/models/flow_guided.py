"""What flow-guided representations share: a frame is painted twice, by itself and from its neighbours, and mixed.

FFNeRV (Lee et al., ACM MM 2023) and T-NeRV. One pass of the decoder gives a draft: an independent frame, the motion
towards the neighbours, and how to mix. The neighbours are the independent frames of the seen frames around. Training
reads them, detached, from those that earlier steps have painted; decoding paints them first, each once.

The papers keep half-precision frames; here neighbours are bytes, in training and in decoding alike, which takes half
the memory and lets training see just what the decoder will see.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from lightning_inr.models.base import PIXELS_AT_ONCE
from lightning_inr.models.raster import RasterRepresentation
from lightning_inr.nn.flow import aggregate, enlarge_motion
from lightning_inr.nn.frame_store import FrameStore, as_bytes, rows_at
from lightning_inr.nn.initialise import init_layer
from lightning_inr.nn.upsample import logits_to_rgb, resize_painted
from lightning_inr.types import VideoShape, Window, crop

OFFSETS = (-2, -1, 1, 2)  # the neighbours, in seen frames; the aggregation window of both papers
MOTION_CHANNELS = 3 * len(OFFSETS)  # x, y and weight of each neighbour
GUIDED_CHANNELS = 5  # of the head: RGB, and the two weights of the mix


class Draft(NamedTuple):
    """What one pass of the decoder gives; with a head of 3 channels, and no motion, the frame needs no neighbours."""

    head: Tensor  # (B, GUIDED_CHANNELS, *padded): logits of the independent frame, and of the mix
    motion: Tensor  # (B, MOTION_CHANNELS, h, w), in pixels


class Recent:
    """Drafts and frames that one batch needed: the next needs most of them again."""

    def __init__(self) -> None:
        self.drafts: dict[int, Draft] = {}  # by row among the seen frames, each of one frame
        self.frames: dict[int, Tensor] = {}  # their independent frames, (3, h, w) uint8
        self.batch: tuple[Draft, Tensor] | None = None  # of the next batch: drafts, and neighbours (B, K, 3, h, w)

    def keep(self, rows: set[int]) -> None:
        """Forget all but these."""
        for row in set(self.drafts) - rows:
            del self.drafts[row], self.frames[row]

    def take(self) -> tuple[Draft, Tensor] | None:
        """What the next batch needs, once; None if nothing was prepared for it."""
        batch, self.batch = self.batch, None
        return batch


class FlowGuided(RasterRepresentation):
    """A raster decoder of drafts; subclasses say what a draft is made of."""

    aux_weights: ClassVar[Mapping[str, float]] = {"aggregated": 0.1, "independent": 0.1}
    motion: nn.Conv2d | None  # features -> `Draft.motion`; none without guidance

    def __init__(self, video: VideoShape, config: Any, *rest: Any) -> None:
        super().__init__(video, config, *rest)
        self.store = FrameStore(
            len(video.training_frames)
        )  # of training: independent frames; no part of the state dict
        self.all_drafted = False  # whether `store` has every frame

    def reset_parameters(self) -> None:
        """Set the starting values: hardly any motion, and neighbours of about the same weight."""
        super().reset_parameters()
        if self.motion is not None:
            init_layer(self.motion, gain=0.1)

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
    def passes_per_frame(self) -> int:
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
        return self.training_outputs(index, frames, window)["final"]

    def training_outputs(self, index: Tensor, frames: Tensor, window: Window | None = None) -> dict[str, Tensor]:
        """What training compares with `frames`, each (B, 3, h, w): final, aggregated, independent."""
        draft = self.fitted_draft(index, frames)
        if not self.guided:
            outputs = {"final": logits_to_rgb(self.cut(draft.head))}
        else:
            independent = self._independent(draft)
            # After the draft with gradients: autocast keeps its copies of the weights, and copies first made
            # without gradients would cut them off.
            self._draft_all()
            self.store.put(self._rows(index), independent)
            outputs = self._mix(draft, independent, self._neighbours(index))
        return outputs if window is None else {name: crop(view, window) for name, view in outputs.items()}

    def prepare(self, size: tuple[int, int] | None = None, window: Window | None = None) -> Recent | None:
        """A memory of drafts, with which consecutive frames cost one pass each."""
        return Recent() if self.guided else None

    @torch.no_grad()
    def prepare_batch(self, prepared: Recent | None, positions: Sequence[float]) -> None:
        """Draft every seen frame that these positions need, once, and the positions between."""
        if prepared is None:
            return
        stride, count = self.video.stride, len(self.video.training_frames)
        own = [int(position // stride) if position % stride == 0 else -1 for position in positions]
        own = [row if 0 <= row < count else -1 for row in own]
        nearest = [int(position / stride + 0.5) for position in positions]
        around = [[row if 0 <= row < count else -1 for row in (n + o for o in OFFSETS)] for n in nearest]
        needed = ({row for rows in around for row in rows} | set(own)) - {-1}
        prepared.keep(needed)
        self._fill(prepared, sorted(needed - set(prepared.drafts)))
        drafts = self._gather(positions, own, prepared.drafts)
        black = torch.zeros(3, self.video.height, self.video.width, dtype=torch.uint8, device=self.device)
        neighbours = [torch.stack([prepared.frames.get(row, black) for row in rows]) for rows in around]
        prepared.batch = drafts, torch.stack(neighbours).float() / 255

    def render_frames(self, index: Tensor, size: tuple[int, int] | None, prepared: Recent | None = None) -> Tensor:
        """(B,) -> whole frames (B, 3, *size); what was not prepared for these positions is drafted here."""
        if not self.guided:
            return super().render_frames(index, size)
        batch = None if prepared is None else prepared.take()
        draft, neighbours = batch or (self.draft(index), self._drafted_neighbours(index))
        return resize_painted(self._mix(draft, self._independent(draft), neighbours)["final"], size)

    def _independent(self, draft: Draft) -> Tensor:
        return torch.sigmoid(self.cut(draft.head[:, :3]).float())

    def _mix(self, draft: Draft, independent: Tensor, neighbours: Tensor) -> dict[str, Tensor]:
        motion = self.cut(enlarge_motion(draft.motion, *self.padded_size))
        aggregated = aggregate(neighbours, motion)
        share = self.cut(draft.head[:, 3:]).float().softmax(1)
        final = independent * share[:, :1] + aggregated * share[:, 1:]
        # The weights of a softmax add up to one but for rounding.
        return {"final": final.clamp_max(1), "aggregated": aggregated, "independent": independent}

    @torch.no_grad()
    def _draft_all(self) -> None:
        """Put every seen frame into the store, once, as soon as all can be drafted.

        Only those that are missing would do, but which they are only the device knows.
        """
        if self.all_drafted or not self.can_draft:
            return
        for rows in torch.arange(len(self.video.training_frames), device=self.device).split(self._at_once):
            self.store.put(rows, self._independent(self.draft(rows.float() * self.video.stride)))
        self.all_drafted = True

    @property
    def _at_once(self) -> int:
        """So many frames are drafted together: memory is bounded."""
        return max(1, PIXELS_AT_ONCE // math.prod(self.padded_size))

    def _neighbours(self, index: Tensor) -> Tensor:
        """Positions (B,) -> their neighbours (B, K, 3, h, w) in [0, 1], from the store of training."""
        frames, _ = self.store.read(self._rows_around(index).flatten())
        return frames.unflatten(0, (len(index), len(OFFSETS)))

    @torch.no_grad()
    def _drafted_neighbours(self, index: Tensor) -> Tensor:
        """The same, from coded tensors: every neighbour of every frame is drafted, the same ones too."""
        rows, count = self._rows_around(index).flatten(), len(self.video.training_frames)
        painted = [
            self._independent(self.draft(part.clamp_max(count - 1).float() * self.video.stride))
            for part in rows.split(self._at_once)
        ]
        frames = torch.where((rows < count)[:, None, None, None], torch.cat(painted), 0)
        return as_bytes(frames).float().div(255).unflatten(0, (len(index), len(OFFSETS)))

    def _fill(self, recent: Recent, rows: Sequence[int]) -> None:
        """Add the drafts of seen frames, and what they paint, in bounded memory."""
        for start in range(0, len(rows), self._at_once):
            chosen = rows[start : start + self._at_once]
            draft = self.draft(self._on_device([row * self.video.stride for row in chosen]))
            # Copies: a slice would keep its whole batch in memory.
            frames = [frame.clone() for frame in as_bytes(self._independent(draft))]
            recent.frames |= dict(zip(chosen, frames, strict=True))
            recent.drafts |= dict(zip(chosen, map(Draft, draft.head.split(1), draft.motion.split(1)), strict=True))

    def _gather(self, positions: Sequence[float], rows: Sequence[int], drafts: Mapping[int, Draft]) -> Draft:
        """The drafts at `positions`: those of seen frames, at `rows`, are there already, those between are made now."""
        between = [place for place, row in enumerate(rows) if row < 0]
        each = {place: drafts[row] for place, row in enumerate(rows) if row >= 0}
        if between:
            made = self.draft(self._on_device([positions[place] for place in between]))
            each |= dict(zip(between, map(Draft, made.head.split(1), made.motion.split(1)), strict=True))
        ordered = [each[place] for place in range(len(rows))]
        return Draft(torch.cat([one.head for one in ordered]), torch.cat([one.motion for one in ordered]))

    def _on_device(self, positions: Sequence[float]) -> Tensor:
        """Numbers of the host -> (B,) float32 on the device."""
        return torch.tensor(positions, dtype=torch.float32).to(self.device)

    def _rows(self, index: Tensor) -> Tensor:
        """Positions (B,) -> the row of each among the seen frames, their number for one that lies between."""
        return rows_at(index.double() / self.video.stride, len(self.video.training_frames))

    def _rows_around(self, index: Tensor) -> Tensor:
        """Positions (B,) -> (B, K) rows of the neighbours of the nearest seen frame, their number beyond the ends."""
        nearest = (index.double() / self.video.stride + 0.5).floor()
        reach = len(OFFSETS) // 2
        offsets = torch.arange(-reach, reach, device=index.device)  # made there: a copy would wait
        return rows_at(nearest[:, None] + offsets + (offsets >= 0), len(self.video.training_frames))
