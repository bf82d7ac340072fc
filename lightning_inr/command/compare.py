"""Measures a file beside conventional codecs, with the encoders of conf/task/reference_codecs.yaml."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from lightning_inr.data.sources.file import open_video
from lightning_inr.data.writer import Encoding
from lightning_inr.errors import UserError
from lightning_inr.option_checks import compose
from lightning_inr.pipelines.comparison import ReferenceCodec, compare_with_codecs, table_of_comparison
from lightning_inr.progress import use_progress

PEERS = {"x265": "x265_medium", "x264": "x264_medium", "svtav1": "svt_av1", "vvc": "vvenc_medium"}  # their names there
RANGES = {"x265": (0, 51), "x264": (0, 51), "svtav1": (1, 63), "vvc": (0, 63)}  # of the quality option


def compare_file(
    bitstream: Path, video: str, codecs: Sequence[str], out: Path, height: int | None, device: str, progress: str
) -> None:
    """Print a table of the file and the codecs, and write comparison.png; UserError for an unknown codec."""
    for name in codecs:
        if name not in PEERS:
            raise UserError(f"--codecs {name}: choose from {', '.join(PEERS)}")
    peers = compose(["task=reference_codecs", "dataset=file", "dataset.path=''"]).peers
    chosen = {}
    for name in codecs:
        peer = peers[PEERS[name]]
        encoding = Encoding(peer.codec, {key: str(value) for key, value in peer.options.items()})
        chosen[name] = ReferenceCodec(encoding, peer.format, peer.get("rate_option", "crf"), *RANGES[name])
    open_source = partial(open_video, video, height=height)
    with use_progress(progress):
        rows = compare_with_codecs(bitstream, open_source, chosen, out, device)
    print(f"{table_of_comparison(rows)}\nlook at {out / 'comparison.png'}")
