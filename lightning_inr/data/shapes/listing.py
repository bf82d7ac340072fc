"""`shapes`: a synthetic captioned dataset, rendered when needed and read by the loaders of published datasets."""

import os
from pathlib import Path

from lightning_inr.data.captioned.activitynet import list_activitynet
from lightning_inr.data.captioned.coin import list_coin
from lightning_inr.data.captioned.split import DatasetSplit
from lightning_inr.data.published import FOLDER_VARIABLE
from lightning_inr.data.shapes.export import export
from lightning_inr.errors import UserError

SPLITS = {"test": ("testing", "val_1"), "train": ("training", "train")}  # their names in COIN and ActivityNet
MOST = 480  # videos per split: 20 of each task; some tasks have only 31 held-out stories


def list_shapes(root: str | None = None, split: str = "test", videos: int = 96, seed: int = 0) -> DatasetSplit:
    """Videos of a split with tasks, steps and paragraphs, rendered if missing; UserError if `root` holds other files.

    `root`: the folder; None: `shapes` in the folder that LIGHTNING_INR_DATA names, else in `runs`. `videos`: per
    split. The same `seed` renders the same videos.
    """
    if split not in SPLITS:
        raise UserError(f"dataset.listing.split={split}: choose one of {', '.join(SPLITS)}")
    if not isinstance(videos, int) or not 1 <= videos <= MOST:
        raise UserError(f"dataset.listing.videos={videos}: choose 1 to {MOST}")
    folder = Path(root or os.path.join(os.environ.get(FOLDER_VARIABLE) or "runs", "shapes")).expanduser()
    export(folder, videos, seed)
    coin, activitynet = SPLITS[split]
    paragraphs = {video.path: video.captions for video in list_activitynet(str(folder), activitynet).videos}
    listing = list_coin(str(folder), coin)
    captioned = tuple(video._replace(captions=paragraphs[video.path]) for video in listing.videos)
    return DatasetSplit(f"shapes {split}", captioned, listing.missing)
