"""Builds a model that is ready to be fitted."""

from typing import Any

import torch
from torch import Tensor

from lightning_inr.models.base import VideoRepresentation
from lightning_inr.models.registry import construct
from lightning_inr.models.size import read_count, solve_width
from lightning_inr.types import EmbeddingSpace, VideoShape


def build(
    name: str,
    video: VideoShape,
    embedding_space: EmbeddingSpace | None = None,
    params: str | int | None = None,
    colour: Tensor | None = None,
    **config: Any,
) -> VideoRepresentation:
    """The model `name` for `video`, ready to be fitted; UserError for an unknown model, option or value.

    `embedding_space`: that of the teacher, for a model whose latents are aligned. `params`: the number of coded
    parameters, as 640000 or 3.0M, which replaces the width of `config`. `colour`: RGB (3,) in [0, 1], the mean of the
    video, which initial frames are close to.
    """
    if params is not None:
        config = solve_width(name, video, read_count(params), embedding_space, **config)
    model = construct(name, video, config)
    model.reset_parameters()
    if embedding_space is not None:
        model.align(embedding_space)
    if colour is not None:
        model.init_output_colour(colour)
    # As `model.to(memory_format=…)`, which fails for the fake tensors of tests. Convolutions with channels-last weights
    # are twice as fast on a CPU; buffers, too, so that sums have one order.
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.ndim == 4:
            tensor.data = tensor.data.to(memory_format=torch.channels_last)
    return model
