"""ActivityNet Captions (Krishna et al. 2017): each video has a paragraph with a sentence per event."""

from pathlib import Path

from lightning_inr.data.captioned.addresses import also_at_addresses
from lightning_inr.data.captioned.annotations import field, make_segments, normalise_spaces, read_ids, read_members
from lightning_inr.data.captioned.split import ROOT, CaptionedVideo, DatasetSplit, check_split, find_videos, list_found
from lightning_inr.data.published import PublishedDataset

ACTIVITYNET = PublishedDataset(
    "ActivityNet Captions",
    "activitynet",
    "https://cs.stanford.edu/people/ranjaykrishna/densevid/",
    "train.json, val_1.json, val_2.json and <id>.mp4 (or .webm, .mkv; with or without v_; in any folder below)",
    option=ROOT,
)
PREFIX = "v_"  # of ids in the annotations; optional in the names of files


@also_at_addresses
def list_activitynet(root: str | None = None, split: str = "val_1", manifest: str | None = None) -> DatasetSplit:
    """Videos of train, val_1 or val_2, or those of them that a `manifest` lists, with a paragraph and its events.

    Ids without captions, some of which the published lists of ids contain, are left out.
    """
    check_split(split, ("train", "val_1", "val_2"))
    folder = ACTIVITYNET.root(root)
    path = ACTIVITYNET.find(folder, f"{split}.json")[0]
    described = (_read(id, entry, f"{path}: {id}") for id, entry in read_members(path))
    videos = {video.id: video for video in described if any(video.captions)}
    if manifest is not None:
        ids = read_ids(manifest, "dataset.listing.manifest")
        wanted = (id if id in videos else PREFIX + id for id in ids)
        videos = {id: videos[id] for id in wanted if id in videos}
    files = find_videos(folder)
    files = {PREFIX + name: file for name, file in files.items()} | files
    return list_found(f"ActivityNet Captions {split}", videos.values(), files)


def _read(id: str, entry: object, where: str) -> CaptionedVideo:
    sentences = field(entry, "sentences", list, where)
    segments = make_segments(field(entry, "timestamps", list, where), sentences, where)
    paragraph = normalise_spaces(" ".join(sentence for sentence in sentences if isinstance(sentence, str)))
    return CaptionedVideo(id, Path(), captions=(paragraph,), segments=segments)
