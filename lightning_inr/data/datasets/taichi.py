"""TaiChi-HD (Siarohin et al. 2019): clips of 256x256, `<video id>#<start>#<end>.mp4`, files or folders of PNGs."""

import csv
from pathlib import Path

from typing_extensions import Unpack

from lightning_inr.data.published import PublishedDataset
from lightning_inr.data.sources.file import open_source
from lightning_inr.data.sources.source import ClipOptions, VideoSource, adapt

TAICHI = PublishedDataset(
    "TaiChi-HD",
    "taichi",
    "https://github.com/AliaksandrSiarohin/video-preprocessing",
    "test/<video id>#<start>#<end>.mp4, files or folders of 0000000.png …, and taichi-metadata.csv for frame rates",
)


def open_taichi(
    sequence: str, root: str | None = None, split: str = "test", fps: float = 25.0, **part: Unpack[ClipOptions]
) -> VideoSource:
    """A clip by its name or a unique prefix; `fps` if the metadata have no rate (that of the files is arbitrary)."""
    folder = TAICHI.root(root)
    clips = {path.name.removesuffix(".mp4"): path for path in (folder / split).glob("*#*#*.mp4")}
    matching = [name for name in clips if name.startswith(sequence)]
    name = matching[0] if len(matching) == 1 else sequence
    TAICHI.check(name, clips, folder / split)
    source = open_source(str(clips[name]), option="dataset.root")
    source.name, source.fps = name, _rates(folder).get(name, fps)
    return adapt(source, **part)


def _rates(folder: Path) -> dict[str, float]:
    """Clip name -> frames per second, from taichi-metadata.csv; empty if that file does not exist."""
    metadata = folder / "taichi-metadata.csv"
    if not metadata.exists():
        return {}
    with metadata.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {f"{row['video_id']}#{int(row['start']):06d}#{int(row['end']):06d}": float(row["fps"]) for row in rows}
