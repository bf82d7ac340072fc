"""The registry of models, and their construction with checked options."""

import dataclasses
from typing import Any

import torch

from lightning_inr.errors import UserError
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.models.c_nerv import CNeRV
from lightning_inr.models.dnerv import DNeRV
from lightning_inr.models.e_nerv import ENeRV
from lightning_inr.models.ff_nerv import FFNeRV
from lightning_inr.models.hinerv import HiNeRV
from lightning_inr.models.hnerv import HNeRV
from lightning_inr.models.hnerv_boost import HNeRVBoost
from lightning_inr.models.latent_inr import LatentINR
from lightning_inr.models.latent_inr_grids import LatentINRGrids
from lightning_inr.models.nerv import NeRV
from lightning_inr.models.nirvana import NIRVANA
from lightning_inr.models.nvp import NVP
from lightning_inr.models.t_nerv import TNeRV
from lightning_inr.types import EmbeddingSpace, TokenSpace, VideoShape

MODELS: dict[str, type[VideoRepresentation]] = {
    "latent_inr": LatentINR,
    "latent_inr_grids": LatentINRGrids,
    "t_nerv": TNeRV,
    "nerv": NeRV,
    "e_nerv": ENeRV,
    "c_nerv": CNeRV,
    "ff_nerv": FFNeRV,
    "hnerv": HNeRV,
    "hnerv_boost": HNeRVBoost,
    "dnerv": DNeRV,
    "hinerv": HiNeRV,
    "nvp": NVP,
    "nirvana": NIRVANA,
}


def construct(name: str, video: VideoShape, config: dict[str, Any]) -> VideoRepresentation:
    """The model `name` for `video`, its parameters without values; UserError for an unknown model, option or value."""
    if name not in MODELS:
        raise UserError(f"model={name}: choose one of {', '.join(MODELS)}")
    model = MODELS[name]
    allowed = [field.name for field in dataclasses.fields(model.Config)]
    if unknown := sorted(set(config) - set(allowed)):
        raise UserError(f"model {name} has no option {', '.join(unknown)}; it has {', '.join(allowed)}")
    try:
        return model(video, model.Config(**config))
    except TypeError as error:  # for example, a list in place of a number
        raise UserError(f"model {name}: {error}") from error
    except ValueError as error:
        raise UserError(str(error)) from error


def build_on_meta(
    name: str,
    video: VideoShape,
    embedding_space: EmbeddingSpace | None = None,
    token_space: TokenSpace | None = None,
    **config: Any,
) -> VideoRepresentation:
    """The decoder of a model on the device "meta", without memory or values, to validate shapes before use."""
    with torch.device("meta"):
        model = construct(name, video, config)
        if embedding_space is not None:
            model.align(embedding_space)
        if token_space is not None:
            model.attach_projector(token_space)
    model.decoder_only()
    return model
