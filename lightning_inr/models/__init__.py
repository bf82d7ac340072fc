"""The only list of models, and the only way to build one."""

import dataclasses
from typing import Any

from lightning_inr.models.base import VideoRepresentation
from lightning_inr.models.latent_inr import LatentINR
from lightning_inr.types import VideoShape

MODELS: dict[str, type[VideoRepresentation]] = {"latent_inr": LatentINR}


def build(name: str, video: VideoShape, **config: Any) -> VideoRepresentation:
    """The model `name` for `video`; ValueError names an unknown model, option or value, and what is allowed."""
    if name not in MODELS:
        raise ValueError(f"model={name}: choose one of {', '.join(MODELS)}")
    model = MODELS[name]
    allowed = [field.name for field in dataclasses.fields(model.Config)]
    if unknown := sorted(set(config) - set(allowed)):
        raise ValueError(f"model {name} has no option {', '.join(unknown)}; it has {', '.join(allowed)}")
    try:
        return model(video, model.Config(**config))
    except TypeError as error:  # a list where a number belongs, and the like
        raise ValueError(f"model {name}: {error}") from error
