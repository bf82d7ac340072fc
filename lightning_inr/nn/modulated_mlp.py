"""An MLP over cells, some layers of which are modulated by the latent of a frame (Latent-INR, Eq. 2)."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from lightning_inr.devices import full_precision
from lightning_inr.nn.hypernetwork import Hypernetwork
from lightning_inr.nn.initialise import ResettableModule, init_layer
from lightning_inr.nn.modulation import MODULATIONS, ModulatedLinear

SIGMOID = MODULATIONS["sigmoid"]


class ModulatedMLP(ResettableModule):
    """`layers` of `width` with `activation`; a sigmoid of a low-rank product scales the weights of `modulated` ones."""

    def __init__(
        self,
        inputs: int,
        width: int,
        layers: int,
        modulated: Sequence[int],
        latent_dim: int,
        hyper_width: int,
        rank: int,
        activation: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__()
        self.activation = activation
        self.layers, self.hypernetworks = nn.ModuleList(), nn.ModuleDict()
        for layer in range(layers):
            fan_in = width if layer else inputs
            self.layers.append((ModulatedLinear if layer in modulated else nn.Linear)(fan_in, width))
            if layer in modulated:
                self.hypernetworks[str(layer)] = Hypernetwork(
                    latent_dim, 1, hyper_width, fan_in, width, rank, SIGMOID.start
                )

    def reset_parameters(self) -> None:
        """Set the initial values, with which the network equals an unmodulated one."""
        for layer in self.layers:
            assert isinstance(layer, nn.Linear)
            init_layer(layer, gain=1 / SIGMOID.neutral if isinstance(layer, ModulatedLinear) else 1.0)
        for network in self.hypernetworks.values():
            assert isinstance(network, Hypernetwork)
            network.reset_parameters()

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Cells (B, P, inputs) and latents (B, D) -> (B, P, width)."""
        with full_precision(z.device):
            factors = {layer: network(z) for layer, network in self.hypernetworks.items()}
            modulation = {layer: SIGMOID.sigma(p @ q.mT) for layer, (p, q) in factors.items()}
        for number, layer in enumerate(self.layers):
            if isinstance(layer, ModulatedLinear):
                x = self.activation(layer.modulated(x, modulation[str(number)]))
            else:
                x = self.activation(layer(x))
        return x
