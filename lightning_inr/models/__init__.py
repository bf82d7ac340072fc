"""The only list of models, and the only way to build one."""

import dataclasses
from typing import Any

import torch

from lightning_inr.errors import UserError
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.models.latent_inr import LatentINR
from lightning_inr.models.nerv import NeRV
from lightning_inr.types import VideoShape

MODELS: dict[str, type[VideoRepresentation]] = {"latent_inr": LatentINR, "nerv": NeRV}


def build(name: str, video: VideoShape, **config: Any) -> VideoRepresentation:
    """The model `name` for `video`, ready to fit; UserError names an unknown model, option or value."""
    model = _construct(name, video, config)
    model.start()
    return model


def blueprint(name: str, video: VideoShape, **config: Any) -> VideoRepresentation:
    """The same without memory or values for its tensors: shapes to check before anything is believed."""
    with torch.device("meta"):
        return _construct(name, video, config)


def _construct(name: str, video: VideoShape, config: dict[str, Any]) -> VideoRepresentation:
    if name not in MODELS:
        raise UserError(f"model={name}: choose one of {', '.join(MODELS)}")
    model = MODELS[name]
    allowed = [field.name for field in dataclasses.fields(model.Config)]
    if unknown := sorted(set(config) - set(allowed)):
        raise UserError(f"model {name} has no option {', '.join(unknown)}; it has {', '.join(allowed)}")
    try:
        return model(video, model.Config(**config))
    except TypeError as error:  # a list where a number belongs, and the like
        raise UserError(f"model {name}: {error}") from error
    except ValueError as error:
        raise UserError(str(error)) from error
