"""Fits of the segments of a long video, each to files of its own in a folder, in this process or on a cluster.

00003.linr  00003.json  00003.npy    the network, its curves and figures, the teacher's embeddings of its frames
00003/      00003-1/                 checkpoints of fits in work, the second of a copy that a cluster has started
"""

import gc
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import numpy as np
import torch

from lightning_inr.data.sources.source import OpenSource, TransformedSource, VideoSource
from lightning_inr.errors import UserError
from lightning_inr.paths import write_bytes, write_text, writing
from lightning_inr.pipelines.cluster.schedule import Failure
from lightning_inr.pipelines.fitting import FitOptions, Teachers, fit_video, prepare_fit


def segment_file(store: Path, number: int, suffix: str = ".linr") -> Path:
    """A file of a segment; the segment is done when its `.linr` exists."""
    return store / f"{number:05d}{suffix}"


class SegmentWorker:
    """Fits segments of one video in one process."""

    def __init__(
        self, fit: FitOptions, source: VideoSource, plan: Sequence[range], store: Path, teachers: Teachers
    ) -> None:
        self.fit_options, self.source, self.plan, self.store, self.teachers = fit, source, plan, store, teachers

    def fit_unit(self, items: Sequence[int], copy: int = 0) -> list[int | Failure]:
        """Fit the segments with these numbers; see `Worker`."""
        return [self._attempt(number, copy) for number in items]

    def _attempt(self, number: int, copy: int) -> int | Failure:
        try:
            self.fit(number, copy)
        except UserError as error:
            return Failure(str(error))
        return number

    def fit(self, number: int, copy: int = 0) -> None:
        """Fit a segment, from its checkpoint if there is one, and write its file, which is complete then."""
        L.seed_everything(self.fit_options.seed, verbose=False)  # a resumed fit gives the same file
        frames, work = self.plan[number], segment_file(self.store, number, f"-{copy}" if copy else "")
        part = TransformedSource(self.source, frames.start, len(frames))
        prepared = prepare_fit(self.fit_options, part, work, self.teachers)
        fitted = fit_video(prepared, self.fit_options, work)
        del prepared
        if fitted.teacher is not None:
            with writing(segment_file(self.store, number, ".npy")) as draft:
                np.save(draft, fitted.teacher)
        record = {"moments": fitted.moments, "figures": fitted.figures}
        write_text(segment_file(self.store, number, ".json"), json.dumps(record))
        write_bytes(segment_file(self.store, number), fitted.bitstream)  # last: a segment with this file is done
        shutil.rmtree(work, ignore_errors=True)
        gc.collect()  # a trainer holds its frames in a cycle of references


@dataclass(frozen=True)
class SegmentSetup:
    """What the workers of a cluster are made from; see `WorkerSetup`."""

    fit: FitOptions
    open_source: OpenSource
    plan: Sequence[range]
    store: Path
    load_teachers: Callable[[], Teachers]

    def open(self) -> SegmentWorker:
        """The worker of this process; UserError if it does not see the folder."""
        if not self.store.is_dir():
            raise UserError(f"run_dir={self.store.parent}: a worker does not see it; name one that all machines share")
        torch.set_num_threads(self.fit.threads or 1)
        return SegmentWorker(self.fit, self.open_source(), self.plan, self.store, self.load_teachers())
