"""The motion of a frame: an affine map of its latent, and a coarse field of displacements."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_inr.devices import full_precision
from lightning_inr.nn.initialise import ResettableModule

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)  # of an affine map, row by row


class Motion(ResettableModule):
    """Places in [-1, 1]² that each pixel of a frame reads: an affine map from the latent, plus a field from features.

    Both start at the identity. `scale`: what a unit of their outputs moves, in halves of the frame.
    """

    def __init__(self, latent_dim: int, features: int, field: bool, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.affine = nn.Linear(latent_dim, 6)
        self.field = nn.Linear(features, 2) if field else None
        self._tables: dict[tuple[int, int, torch.device], Tensor] = {}  # what `places` has worked out

    def reset_parameters(self) -> None:
        """Set the starting values: no motion."""
        for layer in (self.affine, self.field):
            if layer is not None:
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, z: Tensor, features: Tensor, rows: int, columns: int) -> Tensor:
        """Latents (B, D) and features (B, cells, C) -> the motion (B, 2, rows + 2, columns + 2) of each frame.

        Of x and of y: the field's displacements at the cells; in the last two rows and columns the affine map, as
        coefficients of 1, x and y. Both are linear in functions of the row times functions of the column: `places`.
        """
        with full_precision(z.device):
            identity = torch.tensor(IDENTITY, device=z.device)
            of_x, of_y, of_one = (identity + self.scale * self.affine(z.float())).view(-1, 2, 3).unbind(2)
            affine = torch.stack([of_one, of_x, of_y, torch.zeros_like(of_one)], dim=2).unflatten(2, (2, 2))
            if self.field is None:
                return F.pad(affine, (columns, 0, rows, 0))
            field = (self.scale * self.field(features.float())).mT.unflatten(2, (rows, columns))
            return F.pad(field, (0, 2, 0, 2)) + F.pad(affine, (columns, 0, rows, 0))

    def places(self, motion: Tensor, height: int, width: int) -> Tensor:
        """What `forward` gave -> where each pixel of height x width reads, (B, height, width, 2), (x, y).

        Displacements are bilinear between the cells' centres, constant beyond. Two small matrix products: an affine
        grid and an interpolation take ten times as long on a CPU.
        """
        with full_precision(motion.device):
            down = self._functions(motion.shape[2] - 2, height, motion.device)
            along = self._functions(motion.shape[3] - 2, width, motion.device)
            return (down @ motion @ along.T).permute(0, 2, 3, 1)

    def _functions(self, cells: int, length: int, device: torch.device) -> Tensor:
        """(length, cells + 2): at each pixel, the shares of the cells in a linear interpolation, 1, and its place."""
        if (cells, length, device) not in self._tables:
            with torch.inference_mode(False):  # what decoding has worked out may serve training
                shares = F.interpolate(torch.eye(cells)[None], length, mode="linear", align_corners=False)[0].T
                place = (2 * torch.arange(length) + 1) / length - 1
                table = torch.cat([shares, torch.ones(length, 1), place[:, None]], dim=1)
                self._tables[cells, length, device] = table.to(device)
        return self._tables[cells, length, device]
