"""Initial values: construction leaves them unset, so that a model on the meta device costs no memory."""

import torch
from torch import nn


class ResettableModule(nn.Module):
    """A module that sets its own parameters when it is asked to, and not when it is constructed."""

    def reset_parameters(self) -> None:
        """Set the initial value of every parameter."""
        raise NotImplementedError


@torch.no_grad()
def init_layer(layer: nn.Linear | nn.Conv2d, gain: float = 1.0) -> None:
    """Set a layer's initial weights, `gain` times those of He et al. 2015, and zero its bias.

    PyTorch's default shrinks a signal sixfold in variance a layer: what differs in time would start out small.
    """
    nn.init.kaiming_normal_(layer.weight)
    layer.weight.mul_(gain)
    if layer.bias is not None:
        layer.bias.zero_()


def init_layers(module: nn.Module) -> None:
    """Give all layers below `module` He's initial values."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            init_layer(layer)


def reset_modules(module: nn.Module) -> None:
    """Reset every `ResettableModule` below `module`.

    Layers keep PyTorch's values: the NeRV family is better off with them, by 0.8 dB after twelve epochs of NeRV, than
    with He's, which lets frames differ more, but starts with frames of noise.
    """
    for child in module.children():
        if isinstance(child, ResettableModule):
            child.reset_parameters()
        else:
            reset_modules(child)
