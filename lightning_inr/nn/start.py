"""Starting values: construction leaves them open, so that a blueprint costs no memory."""

import torch
from torch import nn


@torch.no_grad()
def start_layer(layer: nn.Linear | nn.Conv2d, gain: float = 1.0) -> None:
    """Set a layer's starting weights, `gain` times those of He et al. 2015, and zero its bias.

    PyTorch's default shrinks a signal sixfold in variance a layer: what differs in time would start out small.
    """
    nn.init.kaiming_normal_(layer.weight)
    layer.weight.mul_(gain)
    if layer.bias is not None:
        layer.bias.zero_()


def start_layers(module: nn.Module) -> None:
    """Give all layers below `module` He's starting values."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            start_layer(layer)


def start_modules(module: nn.Module) -> None:
    """Have all below `module` that has a `start` of its own set its starting values.

    Layers keep PyTorch's: the NeRV family is better off with them, by 0.8 dB after twelve epochs of NeRV, than with
    He's, which lets frames differ more, but starts with pictures of noise.
    """
    for child in module.children():
        start = getattr(child, "start", None)
        if start is not None:
            start()
        else:
            start_modules(child)
