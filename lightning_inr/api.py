"""The Python API beside `lightning_inr.video`: fit a video, search a collection."""

import contextlib
import io
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from omegaconf import DictConfig, open_dict

from lightning_inr.configuration.fits import run_options
from lightning_inr.devices import choose_device
from lightning_inr.errors import UserError
from lightning_inr.option_checks import check_options, compose, explain
from lightning_inr.paths import writing
from lightning_inr.pipelines.provenance import Provenance
from lightning_inr.pipelines.ranks import ranks_of
from lightning_inr.pipelines.run_folder import fit_into
from lightning_inr.pipelines.search import Query, clip_of_collection, find_hits
from lightning_inr.progress import use_progress
from lightning_inr.retrieval.query import Hit, open_collection
from lightning_inr.video import Pathlike, Video


def fit(
    source: Pathlike,
    out: Pathlike,
    *,
    bpp: float | None = None,
    psnr: float | None = None,
    effort: str = "medium",
    seconds: float | None = None,
    height: int | None = None,
    model: str | None = None,
    device: str = "auto",
    seed: int = 0,
    segment_frames: int | None = None,
    progress: bool | str = True,
    run_dir: Pathlike | None = None,
    options: Mapping[str, Any] | None = None,
) -> Video:
    """Fit the video `source` and write the file `out`; its figures are in `figures` of the result.

    `source` is any video that `dataset=file` of the command line reads; `bpp` is the rate in bits a pixel, `psnr`
    the quality in dB, neither for those of the default rate weight; `effort` is fast, medium or slow; `seconds` limits
    the fit; `height` in pixels, None for the source's own. With `segment_frames`, a long video has one network per that
    many frames at most, in one file; `effort` and `seconds` are those of each. `progress` is shown on stderr, as bars
    or as one of `lightning_inr.progress.MODES`. `options` are further options of the command line, as {"rank": 4,
    "max_steps": 500}. A call that was interrupted is resumed by the same call. The run folder, with pictures and
    result.json, stays only if `run_dir` names it. UserError for every wrong value, and for an option that nothing
    reads.

    >>> import lightning_inr as li
    >>> video = li.fit("clip.mp4", "clip.linr", effort="fast", progress=False, options={"max_steps": 20})
    >>> len(video), round(video.figures["bpp"], 1) > 0
    (12, True)
    """
    target = Path(out).expanduser()
    folder = Path(run_dir) if run_dir is not None else target.with_name(f".{target.name}.fit")
    chosen = {"model": model, "bpp": bpp, "psnr": psnr, "max_seconds": seconds, "segment_frames": segment_frames}
    given_here = {name: value for name, value in chosen.items() if value is not None}  # callbacks may have no targets
    cfg = _configuration({**given_here, "effort": effort, "device": device, "seed": seed, **(options or {})})
    cfg.dataset.path, cfg.dataset.height, cfg.run_dir = os.fspath(source), height, str(folder)
    with _user_errors():
        run = run_options(cfg)
    if ranks_of(run.fit.trainer, choose_device(run.fit.device)).environment is not None:
        raise UserError("fit starts the processes of trainer.devices itself; run this script without torchrun or srun")
    given = [f"{name}={value}" for name, value in (options or {}).items()]
    command = f"lightning_inr.fit({os.fspath(source)!r})"
    run = replace(run, provenance=Provenance(run.provenance.dataset, given, command))
    mode = progress if isinstance(progress, str) else "auto" if progress else "none"
    with _user_errors(), use_progress(mode), contextlib.redirect_stdout(io.StringIO()):
        figures = fit_into(folder, run)
    if target.resolve() != (folder / "video.linr").resolve():
        with writing(target) as draft:
            shutil.copyfile(folder / "video.linr", draft)
    if run_dir is None:
        shutil.rmtree(folder)
    return Video(target, device, figures)


def _configuration(values: Mapping[str, Any]) -> DictConfig:
    """The configuration of a command line with `dataset=file` and these options, None for the default."""
    given = ["dataset=file", "dataset.path=''", *(f"{name}={_word(value)}" for name, value in values.items())]
    try:
        cfg = compose(given)
    except HydraException as error:
        raise UserError(str(explain(error, given))) from error
    HydraConfig.instance().set_config(cfg)
    try:
        check_options(cfg)
        cfg.preset = HydraConfig.get().runtime.choices["model"]
    finally:
        HydraConfig.instance().cfg = None
    with open_dict(cfg):
        del cfg.hydra
    return cfg


@contextlib.contextmanager
def _user_errors() -> Iterator[None]:
    """Convert Hydra's error for a value that a constructor refuses to UserError."""
    try:
        yield
    except InstantiationException as error:
        if isinstance(error.__cause__, ValueError | TypeError):
            raise UserError(str(error.__cause__)) from error
        raise


def _word(value: object) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def search(
    collection: Pathlike,
    text: str | None = None,
    *,
    image: Pathlike | None = None,
    file: Pathlike | None = None,
    frame: float = 0.0,
    k: int = 5,
    per: str = "video",
    device: str = "auto",
) -> list[Hit]:
    """The `k` frames of a collection nearest to a text, an image, or the frame at position `frame` of a `.linr` file.

    `collection` is a folder, or a URL such as s3://bucket/name. `per="video"` returns the best frame of each video,
    `per="frame"` any frames. The text is embedded by the teacher that the collection's configuration names; no frame
    is decoded. UserError if nothing or more than one is given.

    >>> import lightning_inr as li
    >>> [hit.record.id for hit in li.search("collection", file="collection/video2.linr", frame=3, k=1)]
    ['video2']
    """
    query, opened = Query(text, _name(image), _name(file), frame), open_collection(os.fspath(collection))
    return find_hits(opened, query, k, per, lambda folder: clip_of_collection(folder, device))


def _name(path: Pathlike | None) -> str | None:
    return None if path is None else os.fspath(path)
