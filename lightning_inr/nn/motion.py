"""The motion of a frame: an affine map of its latent, and a coarse field of displacements."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)  # of an affine map, row by row


class Motion(nn.Module):
    """Places in [-1, 1]² that each pixel of a frame reads: an affine map from the latent, plus a field from features.

    Both start at the identity. `scale`: what a unit of their outputs moves, in halves of the frame.
    """

    def __init__(self, latent_dim: int, features: int, field: bool, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.affine = nn.Linear(latent_dim, 6)
        self.field = nn.Linear(features, 2) if field else None

    def reset_parameters(self) -> None:
        """Set the starting values: no motion."""
        for layer in (self.affine, self.field):
            if layer is not None:
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, z: Tensor, features: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor | None]:
        """Latents (B, D) and features (B, cells, C) -> affine maps (B, 2, 3) and fields (B, 2, rows, columns)."""
        with torch.autocast(z.device.type, enabled=False):
            identity = torch.tensor(IDENTITY, device=z.device)
            maps = (identity + self.scale * self.affine(z.float())).view(-1, 2, 3)
            if self.field is None:
                return maps, None
            field = self.scale * self.field(features.float())
            return maps, field.mT.unflatten(2, (rows, columns))


def sampled_places(maps: Tensor, field: Tensor | None, height: int, width: int) -> Tensor:
    """Affine maps (B, 2, 3) and fields -> where each pixel of height x width reads, (B, height, width, 2), (x, y)."""
    with torch.autocast(maps.device.type, enabled=False):
        where = F.affine_grid(maps, [len(maps), 1, height, width], align_corners=False)
        if field is not None:
            fine = F.interpolate(field, (height, width), mode="bilinear", align_corners=False)
            where = where + fine.permute(0, 2, 3, 1)
        return where
