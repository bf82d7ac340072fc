"""Base class of flow-guided representations: a frame is a mix of an independent frame and one warped from neighbours.

FFNeRV (Lee et al., ACM MM 2023) and T-NeRV. One pass of the decoder gives a draft: an independent frame, the motion
towards the neighbours, and the weights of the mix. The neighbours are the independent frames of the training frames
around. Training reads them, detached, from those rendered in earlier steps; decoding renders them first, each once.

The papers keep half-precision frames; here neighbours are uint8, in training as in decoding, which takes half the
memory and gives training the same input as the decoder.
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
from lightning_inr.nn.upsample import logits_to_rgb, resize_rgb
from lightning_inr.types import VideoShape, Window, crop

OFFSETS = (-2, -1, 1, 2)  # of the neighbours, in training frames; the aggregation window of both papers
MOTION_CHANNELS = 3 * len(OFFSETS)  # x, y and weight of each neighbour
GUIDED_CHANNELS = 5  # of the head: RGB, and the two weights of the mix


class Draft(NamedTuple):
    """The output of one decoder pass; without guidance the head has 3 channels and the motion is not used."""

    head: Tensor  # (B, GUIDED_CHANNELS, *padded): logits of the independent frame, and of the mix
    motion: Tensor  # (B, MOTION_CHANNELS, h, w), in pixels


class DraftCache:
    """A cache of the drafts and frames of one batch: the next batch needs most of them again."""

    def __init__(self) -> None:
        self.drafts: dict[int, Draft] = {}  # by row among the training frames, each of one frame
        self.frames: dict[int, Tensor] = {}  # their independent frames, (3, h, w) uint8
        self.batch: tuple[Draft, Tensor] | None = None  # of the next batch: drafts, and neighbours (B, K, 3, h, w)

    def keep(self, rows: set[int]) -> None:
        """Remove all rows but these."""
        for row in set(self.drafts) - rows:
            del self.drafts[row], self.frames[row]

    def take(self) -> tuple[Draft, Tensor] | None:
        """Return the data prepared for the next batch, and remove them; None if nothing was prepared."""
        batch, self.batch = self.batch, None
        return batch


class FlowGuided(RasterRepresentation):
    """A raster decoder of drafts; subclasses define how a draft is computed."""

    aux_weights: ClassVar[Mapping[str, float]] = {"aggregated": 0.1, "independent": 0.1}
    motion: nn.Conv2d | None  # features -> `Draft.motion`; none without guidance

    def __init__(self, video: VideoShape, config: Any, *rest: Any) -> None:
        super().__init__(video, config, *rest)
        self.frame_store = FrameStore(
            len(video.training_frames)
        )  # independent frames, for training; not part of the state dict
        self.all_drafted = False  # whether `store` has been filled with all frames

    def reset_parameters(self) -> None:
        """Set the initial values: little motion, and neighbours of about equal weight."""
        super().reset_parameters()
        if self.motion is not None:
            init_layer(self.motion, gain=0.1)

    @abstractmethod
    def draft(self, index: Tensor) -> Draft:
        """Frame positions (B,) -> their drafts, from coded tensors."""

    @property
    def guided(self) -> bool:
        """Whether frames use their neighbours."""
        return self.motion is not None

    @property
    def can_draft(self) -> bool:
        """Whether `draft` works for every training frame; if not, neighbours that no step has rendered are black."""
        return True

    @property
    def passes_per_frame(self) -> int:
        """One for the frame and one per neighbour; consecutive frames rendered together share them."""
        return 1 + len(OFFSETS) if self.guided else 1

    def fitted_draft(self, index: Tensor, frames: Tensor) -> Draft:
        """The drafts with which training compares its frames."""
        return self.draft(index)

    def logits(self, index: Tensor) -> Tensor:
        """Frame positions (B,) -> logits of the independent frames (B, 3, *padded)."""
        return self.draft(index).head[:, :3]

    def reconstruct(self, index: Tensor, frames: Tensor, window: Window | None = None) -> Tensor:
        """The output `final` of `training_outputs`."""
        return self.training_outputs(index, frames, window)["final"]

    def training_outputs(self, index: Tensor, frames: Tensor, window: Window | None = None) -> dict[str, Tensor]:
        """The outputs that training compares with `frames`, each (B, 3, h, w): final, aggregated, independent."""
        draft = self.fitted_draft(index, frames)
        if not self.guided:
            outputs = {"final": logits_to_rgb(self.cut(draft.head))}
        else:
            independent = self._independent(draft)
            # After the draft with gradients: autocast caches its copies of the weights, and copies made without
            # gradients first would give the weights no gradients.
            self._draft_all()
            self.frame_store.put(self._rows(index), independent)
            outputs = self._mix(draft, independent, self._neighbours(index))
        return outputs if window is None else {name: crop(output, window) for name, output in outputs.items()}

    def prepare(self, size: tuple[int, int] | None = None, window: Window | None = None) -> DraftCache | None:
        """A cache of drafts, with which consecutive frames cost one pass each."""
        return DraftCache() if self.guided else None

    @torch.no_grad()
    def prepare_batch(self, prepared: DraftCache | None, positions: Sequence[float]) -> None:
        """Draft every training frame that these positions need, once, and the positions between training frames."""
        if prepared is None:
            return
        stride, count = self.video.stride, len(self.video.training_frames)
        own = [int(position // stride) if position % stride == 0 else -1 for position in positions]
        own = [row if 0 <= row < count else -1 for row in own]
        nearest = [int(position / stride + 0.5) for position in positions]
        neighbour_rows = [[row if 0 <= row < count else -1 for row in (n + o for o in OFFSETS)] for n in nearest]
        needed = ({row for rows in neighbour_rows for row in rows} | set(own)) - {-1}
        prepared.keep(needed)
        self._fill(prepared, sorted(needed - set(prepared.drafts)))
        drafts = self._gather(positions, own, prepared.drafts)
        black = torch.zeros(3, self.video.height, self.video.width, dtype=torch.uint8, device=self.device)
        neighbours = [torch.stack([prepared.frames.get(row, black) for row in rows]) for rows in neighbour_rows]
        prepared.batch = drafts, torch.stack(neighbours).float() / 255

    def render_frames(self, index: Tensor, size: tuple[int, int] | None, prepared: DraftCache | None = None) -> Tensor:
        """Frame positions (B,) -> whole frames (B, 3, *size); without prepared data the drafts are computed here."""
        if not self.guided:
            return super().render_frames(index, size)
        batch = None if prepared is None else prepared.take()
        draft, neighbours = batch or (self.draft(index), self._drafted_neighbours(index))
        return resize_rgb(self._mix(draft, self._independent(draft), neighbours)["final"], size)

    def _independent(self, draft: Draft) -> Tensor:
        return torch.sigmoid(self.cut(draft.head[:, :3]).float())

    def _mix(self, draft: Draft, independent: Tensor, neighbours: Tensor) -> dict[str, Tensor]:
        motion = self.cut(enlarge_motion(draft.motion, *self.padded_size))
        aggregated = aggregate(neighbours, motion)
        share = self.cut(draft.head[:, 3:]).float().softmax(1)
        final = independent * share[:, :1] + aggregated * share[:, 1:]
        # The softmax weights add up to one only up to rounding.
        return {"final": final.clamp_max(1), "aggregated": aggregated, "independent": independent}

    @torch.no_grad()
    def _draft_all(self) -> None:
        """Render the independent frame of every training frame into the store, once, as soon as all can be drafted.

        Only the missing ones are needed, but finding them would wait for the device.
        """
        if self.all_drafted or not self.can_draft:
            return
        for rows in torch.arange(len(self.video.training_frames), device=self.device).split(self._frames_at_once):
            self.frame_store.put(rows, self._independent(self.draft(rows.float() * self.video.stride)))
        self.all_drafted = True

    @property
    def _frames_at_once(self) -> int:
        """The number of frames drafted together, which bounds the memory."""
        return max(1, PIXELS_AT_ONCE // math.prod(self.padded_size))

    def _neighbours(self, index: Tensor) -> Tensor:
        """Frame positions (B,) -> their neighbours (B, K, 3, h, w) in [0, 1], from the store of training."""
        frames, _ = self.frame_store.read(self._rows_around(index).flatten())
        return frames.unflatten(0, (len(index), len(OFFSETS)))

    @torch.no_grad()
    def _drafted_neighbours(self, index: Tensor) -> Tensor:
        """The same from coded tensors: every neighbour of every frame is drafted, repeated ones as well."""
        rows, count = self._rows_around(index).flatten(), len(self.video.training_frames)
        rendered = [
            self._independent(self.draft(part.clamp_max(count - 1).float() * self.video.stride))
            for part in rows.split(self._frames_at_once)
        ]
        frames = torch.where((rows < count)[:, None, None, None], torch.cat(rendered), 0)
        return as_bytes(frames).float().div(255).unflatten(0, (len(index), len(OFFSETS)))

    def _fill(self, cache: DraftCache, rows: Sequence[int]) -> None:
        """Add the drafts of training frames, and their independent frames, in bounded memory."""
        for start in range(0, len(rows), self._frames_at_once):
            chosen = rows[start : start + self._frames_at_once]
            draft = self.draft(self._on_device([row * self.video.stride for row in chosen]))
            # Copies, because a slice would keep its whole batch in memory.
            frames = [frame.clone() for frame in as_bytes(self._independent(draft))]
            cache.frames |= dict(zip(chosen, frames, strict=True))
            cache.drafts |= dict(zip(chosen, map(Draft, draft.head.split(1), draft.motion.split(1)), strict=True))

    def _gather(self, positions: Sequence[float], rows: Sequence[int], drafts: Mapping[int, Draft]) -> Draft:
        """The drafts at `positions`: those of training frames (`rows`) from `drafts`, those between computed here."""
        between = [place for place, row in enumerate(rows) if row < 0]
        each = {place: drafts[row] for place, row in enumerate(rows) if row >= 0}
        if between:
            computed = self.draft(self._on_device([positions[place] for place in between]))
            each |= dict(zip(between, map(Draft, computed.head.split(1), computed.motion.split(1)), strict=True))
        ordered = [each[place] for place in range(len(rows))]
        return Draft(torch.cat([one.head for one in ordered]), torch.cat([one.motion for one in ordered]))

    def _on_device(self, positions: Sequence[float]) -> Tensor:
        """Numbers on the host -> (B,) float32 on the device."""
        return torch.tensor(positions, dtype=torch.float32).to(self.device)

    def _rows(self, index: Tensor) -> Tensor:
        """Frame positions (B,) -> rows among the training frames; the number of rows for a position between them."""
        return rows_at(index.double() / self.video.stride, len(self.video.training_frames))

    def _rows_around(self, index: Tensor) -> Tensor:
        """Frame positions (B,) -> rows (B, K) of the nearest training frame's neighbours, as `_rows` numbers them."""
        nearest = (index.double() / self.video.stride + 0.5).floor()
        reach = len(OFFSETS) // 2
        offsets = torch.arange(-reach, reach, device=index.device)  # no copy from the host, which waits
        return rows_at(nearest[:, None] + offsets + (offsets >= 0), len(self.video.training_frames))
