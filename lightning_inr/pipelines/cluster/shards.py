"""How a collection is cut: into shards, one for each job, and units of work, which are fitted together."""

import os
import re
from collections.abc import Callable, Iterator, Mapping

from lightning_inr.errors import UserError

SLURM = "slurm"  # the shard of a job of a SLURM array: its number and the count come from the environment

Unit = tuple[int, ...]  # indices of the videos that one call of a worker fits


def take_shard(videos: int, shard: str, environment: Mapping[str, str] = os.environ) -> range:
    """`3/16` of so many videos -> the indices of the third, the nineteenth … video.

    `slurm`: the part of this job of a SLURM array. UserError for a part beyond the count, and outside an array.
    """
    text = _of_slurm(environment) if shard == SLURM else str(shard)
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if match is None:
        raise UserError(f"shard={shard}: give PART/PARTS, as in shard=3/16, or shard={SLURM}")
    part, parts = int(match[1]), int(match[2])
    if not 1 <= part <= parts:
        raise UserError(f"shard={shard}: part {part} of {parts}; give PART/PARTS with a part from 1 to {parts}")
    return range(part - 1, videos, parts)


def cut(shard: range, size: int = 1, kind_of: Callable[[int], str] = lambda _: "") -> Iterator[Unit]:
    """The units of work of a shard: `size` videos of one kind each; those left at the end make smaller units."""
    waiting: dict[str, list[int]] = {}
    for index in shard:
        kind = kind_of(index) if size > 1 else ""
        unit = waiting.setdefault(kind, [])
        unit.append(index)
        if len(unit) == size:
            yield tuple(waiting.pop(kind))
    yield from map(tuple, waiting.values())


def _of_slurm(environment: Mapping[str, str]) -> str:
    """PART/PARTS of this job, from 1; the numbers of an array may begin anywhere, and have a step (`--array=3-9:2`)."""
    names = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_COUNT")
    missing = [name for name in names if not environment.get(name, "").isdecimal()]
    if missing:
        raise UserError(f"shard={SLURM}: {missing[0]} is not set; submit with sbatch --array=0-15, or give shard=3/16")
    number, first, count = (int(environment[name]) for name in names)
    step = int(environment.get("SLURM_ARRAY_TASK_STEP") or 1)
    return f"{(number - first) // step + 1}/{count}"
