"""The motion of a frame: an affine map computed from its latent, plus a coarse field of displacements.

The same sum is also its velocity: how far each pixel moves per frame.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_inr.devices import full_precision
from lightning_inr.nn.initialise import ResettableModule

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)  # affine map, row by row
AT_REST = (0.0,) * 6  # an affine map of zeros: no velocity


class Motion(ResettableModule):
    """Sampling positions in [-1, 1]² of each pixel: an affine map from the latent, plus a field from features.

    The initial affine map is `initial`, row by row. `scale`: displacement per unit of the two outputs, in half frame
    sizes.
    """

    def __init__(
        self, latent_dim: int, features: int, field: bool, scale: float, initial: tuple[float, ...] = IDENTITY
    ) -> None:
        super().__init__()
        self.scale, self.initial = scale, initial
        self.affine = nn.Linear(latent_dim, 6)
        self.field = nn.Linear(features, 2) if field else None
        # Results of `_initial_map` and `_basis`, made once: a copy from the host cannot be part of a CUDA graph.
        self._initial_maps: dict[torch.device, Tensor] = {}
        self._tables: dict[tuple[int, int, torch.device], Tensor] = {}

    def reset_parameters(self) -> None:
        """Set the initial values: the initial affine map, and no displacements."""
        for layer in (self.affine, self.field):
            if layer is not None:
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, z: Tensor, features: Tensor, rows: int, columns: int) -> Tensor:
        """Latents (B, D) and features (B, cells, C) -> the motion (B, 2, rows + 2, columns + 2) of each frame.

        For x and for y: the displacements of the field at the cells; in the last two rows and columns the affine map,
        as coefficients of 1, x and y. `places` multiplies both with functions of the row and of the column.
        """
        with full_precision(z.device):
            of_x, of_y, of_one = (
                (self._initial_map(z.device) + self.scale * self.affine(z.float())).view(-1, 2, 3).unbind(2)
            )
            affine = torch.stack([of_one, of_x, of_y, torch.zeros_like(of_one)], dim=2).unflatten(2, (2, 2))
            if self.field is None:
                return F.pad(affine, (columns, 0, rows, 0))
            field = (self.scale * self.field(features.float())).mT.unflatten(2, (rows, columns))
            return F.pad(field, (0, 2, 0, 2)) + F.pad(affine, (columns, 0, rows, 0))

    def sampling_positions(self, motion: Tensor, height: int, width: int) -> Tensor:
        """Motion from `forward` -> the sampling position (x, y) of each pixel, (B, height, width, 2).

        Displacements are bilinear between the cells' centres, constant beyond. Two small matrix products compute this:
        an affine grid and an interpolation take ten times as long on a CPU.
        """
        with full_precision(motion.device):
            # At positions that are not numbers, as in a fit that diverges, `grid_sample` reads outside of its input.
            motion = motion.nan_to_num(0.0, 0.0, 0.0)
            down = self._basis(motion.shape[2] - 2, height, motion.device)
            along = self._basis(motion.shape[3] - 2, width, motion.device)
            return (down @ motion @ along.T).permute(0, 2, 3, 1)

    def _initial_map(self, device: torch.device) -> Tensor:
        if device not in self._initial_maps:
            with torch.inference_mode(False):  # training may reuse a table made in decoding
                self._initial_maps[device] = torch.tensor(self.initial, device=device)
        return self._initial_maps[device]

    def _basis(self, cells: int, length: int, device: torch.device) -> Tensor:
        """(length, cells + 2): for each pixel, the linear interpolation weights of the cells, 1, and its position."""
        if (cells, length, device) not in self._tables:
            with torch.inference_mode(False):  # training may reuse a table made in decoding
                shares = F.interpolate(torch.eye(cells)[None], length, mode="linear", align_corners=False)[0].T
                position = (2 * torch.arange(length) + 1) / length - 1
                table = torch.cat([shares, torch.ones(length, 1), position[:, None]], dim=1)
                self._tables[cells, length, device] = table.to(device)
        return self._tables[cells, length, device]
