"""Conventional codecs on the frames of a dataset, measured like a `.linr` file."""

import json
import os
from pathlib import Path

from omegaconf import DictConfig

from lightning_inr.configuration.common import plain, provenance, source_opener
from lightning_inr.data.module import Frames
from lightning_inr.data.writer import Encoding
from lightning_inr.paths import write_text
from lightning_inr.pipelines.reference_codecs import measure_codec
from lightning_inr.progress import ProgressBar


def run(cfg: DictConfig) -> None:
    """Encode with every codec at every rate: one folder with a result.json each; existing results are kept."""
    os.environ.setdefault("SVT_LOG", "1")  # errors only
    source = source_opener(cfg.dataset)()
    frames = Frames(source, range(source.frames), None, cfg.data.memory_gib)  # read once for all encoders
    peers = plain(cfg.peers)
    points = [(name, peer, crf) for name, peer in peers.items() for crf in peer["crf"]]
    for name, peer, crf in ProgressBar(points, "encode", unit="file"):
        folder = Path(cfg.run_dir) / f"{name}-crf{crf}"
        if (folder / "result.json").exists():
            continue
        encoding = Encoding(peer["codec"], {**peer["options"], peer.get("rate_option", "crf"): str(crf)})
        result = {
            "model": name,
            **provenance(cfg).record(source.matrix),
            **measure_codec(frames, folder / f"video.{peer['format']}", encoding),
        }
        result["overrides"].insert(0, f"crf={crf}")
        write_text(folder / "result.json", json.dumps(result, indent=2) + "\n")
    print(f"{len(points)} files in {cfg.run_dir}; python -m lightning_inr.run task=report runs={cfg.run_dir}")
