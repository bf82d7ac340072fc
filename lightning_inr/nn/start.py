"""Starting values: construction leaves them open, so that a blueprint costs no memory."""

import torch
from torch import nn


@torch.no_grad()
def start_layer(layer: nn.Linear | nn.Conv2d, gain: float = 1.0) -> None:
    """Set a layer's starting weights, `gain` times those of He et al. 2015, and zero its bias.

    PyTorch's default shrinks a signal sixfold in variance a layer: all frames would start out alike.
    """
    nn.init.kaiming_normal_(layer.weight)
    layer.weight.mul_(gain)
    if layer.bias is not None:
        layer.bias.zero_()


def start_layers(module: nn.Module) -> None:
    """Set the starting values of all below `module`; what has a `start` of its own uses that."""
    for child in module.children():
        start = getattr(child, "start", None)
        if start is not None:
            start()
        elif isinstance(child, nn.Linear | nn.Conv2d):
            start_layer(child)
        elif isinstance(child, nn.LayerNorm):
            child.reset_parameters()
        else:
            start_layers(child)
