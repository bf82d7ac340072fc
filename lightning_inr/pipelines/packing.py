"""Fits of several small videos in one program, which takes less time than one after the other."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from lightning_inr.errors import UserError
from lightning_inr.models.latent_inr_grids import LatentINRGrids
from lightning_inr.models.registry import MODELS
from lightning_inr.paths import write_text
from lightning_inr.pipelines.fitting import (
    FitOptions,
    Fitted,
    Prepared,
    Spent,
    encode_fit,
    make_trainer,
    run_fit,
)
from lightning_inr.training.callbacks.base import all_of
from lightning_inr.training.packed.callbacks import pack_callbacks
from lightning_inr.training.packed.data import PackedDataModule
from lightning_inr.training.packed.module import PackModule
from lightning_inr.training.threads import use_threads

SECONDS_BETWEEN_CHECKPOINTS = 5.0  # of each video's share


def check_packable(options: FitOptions, pack: int) -> None:
    """UserError for a pack below 1, and for options that a pack of several videos does not support."""
    if not isinstance(pack, int) or pack < 1:
        raise UserError(f"pack={pack}: choose a whole number of videos from 1")
    if pack == 1:
        return
    found = {
        f"model={options.model}": MODELS.get(options.model) is not LatentINRGrids,
        "data.window": options.data.get("window") is not None,
        "data.blend_probability": bool(options.data.get("blend_probability")),
        f"trainer.devices={options.trainer.get('devices')}": options.trainer.get("devices", 1) != 1,
    }
    for option, is_set in found.items():
        if is_set:
            raise UserError(f"pack={pack}: {option} is for one video at a time; choose pack=1")
    pack_callbacks([options.make_callbacks()])


def likeness(prepared: Prepared) -> str:
    """Equal for fits that may be in one pack: model, options with the shots, and shape are the same."""
    net = prepared.module.net
    shape = net.video._replace(fps=0.0)
    return json.dumps([type(net).__name__, asdict(net.config), shape, prepared.data.batch_size])


def fit_pack(
    names: Sequence[str], fits: Sequence[Prepared], options: FitOptions, folder: Path
) -> list[Callable[[], Fitted]]:
    """Fit all videos together, from the checkpoint in `folder` if it is one of the same `names`.

    Returns for each video a function that encodes it; UserError from that of a video that broke. `fit_seconds` is the
    share of one video.
    """
    _keep_checkpoint_of(names, folder)
    own: list[list[Callback]] = [
        [each for each in all_of(fit.trainer) if not isinstance(each, ModelCheckpoint)] for fit in fits
    ]
    pack = PackModule([fit.module for fit in fits])
    options_of_pack = replace(options, make_callbacks=lambda: pack_callbacks(own))
    trainer = make_trainer(options_of_pack, folder, seconds=SECONDS_BETWEEN_CHECKPOINTS * len(fits))
    with use_threads(fits[0].threads):
        run_fit(trainer, pack, PackedDataModule([fit.data for fit in fits]), folder)
    pack.share_memory_with_fits()  # Lightning has moved the parameters to the CPU
    spent = Spent.of(trainer)
    spent = spent._replace(seconds=spent.seconds / len(fits))
    return [partial(_finish, fit, options, spent, pack.broken.get(number)) for number, fit in enumerate(fits)]


def _finish(fit: Prepared, options: FitOptions, spent: Spent, fault: str | None) -> Fitted:
    """Encode a video of a pack that was fitted; UserError if it has a fault."""
    if fault is not None:
        raise UserError(fault)
    return encode_fit(fit, options, spent)


def _keep_checkpoint_of(names: Sequence[str], folder: Path) -> None:
    """Remove what another pack has left in `folder`."""
    listed = folder / "videos.json"
    if not listed.exists() or json.loads(listed.read_text()) != list(names):
        shutil.rmtree(folder, ignore_errors=True)
        write_text(listed, json.dumps(list(names)))
