"""Encodings of the input positions of a coordinate network: functions (P, 2) -> (P, width).

Positions are (y, x) in [0, 1], pixel centres at (i + 0.5) / size.
"""

import importlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_inr.nn.initialise import ResettableModule

LARGEST_TABLE = 2**24  # entries of a hash grid at most: a limit for hostile files, far above the papers' 2**19


class FourierFeatures(ResettableModule):
    """sin and cos of each coordinate at `octaves` doubling frequencies (Tancik et al. 2020), without parameters."""

    def __init__(self, octaves: int = 8) -> None:
        super().__init__()
        _check("encoding.octaves", octaves, 1, 24)
        self.octaves = octaves
        self.width = 4 * octaves

    def reset_parameters(self) -> None:
        """Do nothing: there are no parameters."""

    def forward(self, position: Tensor) -> Tensor:
        """(P, 2) -> (P, 4 * octaves); the lowest octave spans the frame with half a period."""
        frequency = math.pi * 2.0 ** torch.arange(self.octaves, device=position.device, dtype=position.dtype)
        phase = (position[:, :, None] * frequency).flatten(1)  # (P, 2 * octaves)
        return torch.cat([phase.sin(), phase.cos()], dim=1)


class DenseGrid(ResettableModule):
    """A learned map of `channels` features at height x width points, with bilinear interpolation."""

    def __init__(self, height: int = 16, width: int = 16, channels: int = 32) -> None:
        super().__init__()
        _check("encoding.height", height, 1, 4096)
        _check("encoding.width", width, 1, 4096)
        _check("encoding.channels", channels, 1, 1024)
        self.width = channels
        self.grid = nn.Parameter(torch.empty(channels, height, width))

    def reset_parameters(self) -> None:
        """Set the initial values."""
        nn.init.normal_(self.grid, std=0.1)

    def forward(self, position: Tensor) -> Tensor:
        """(P, 2) -> (P, channels); grid point (i, j) lies at ((i + 0.5) / height, (j + 0.5) / width)."""
        where = position.flip(1)[None, None] * 2 - 1  # (1, 1, P, 2) in (x, y) order
        read = F.grid_sample(self.grid[None], where, padding_mode="border", align_corners=False)
        return read[0, :, 0].T


class HashGrid(ResettableModule):
    """2-D multiresolution hash grid (Müller et al. 2022), spatial only.

    The memory layout is that of tiny-cuda-nn, so its kernels use the same parameters: on a GPU they run if
    `tinycudann` can be imported; otherwise PyTorch gathers four corners per level.
    """

    PRIME = 2654435761  # of the spatial hash x ^ (y * PRIME), Eq. 4

    def __init__(
        self, levels: int = 16, features: int = 2, log2_entries: int = 19, coarsest: int = 16, finest: int = 512
    ) -> None:
        super().__init__()
        _check("encoding.levels", levels, 1, 32)
        _check("encoding.features", features, 1, 8)
        _check("encoding.log2_entries", log2_entries, 3, 24)
        _check("encoding.coarsest", coarsest, 2, 65536)
        _check("encoding.finest", finest, coarsest, 65536)
        self.levels, self.features, self.coarsest = levels, features, coarsest
        self.log2_entries = log2_entries
        self.growth = math.exp(math.log(finest / coarsest) / max(1, levels - 1))
        self.width = levels * features
        entries = sum(self._entries(level) for level in range(levels))
        if entries > LARGEST_TABLE:
            raise ValueError(f"encoding of {entries} entries: at most {LARGEST_TABLE}; lower log2_entries or levels")
        # Flat, as in tiny-cuda-nn: level by level, entry by entry, the features of an entry adjacent.
        self.table = nn.Parameter(torch.empty(entries * features))
        self._kernel: list[Any] = []  # in a list: as a submodule it would add its parameters to the state dict

    def reset_parameters(self) -> None:
        """Set the initial values."""
        nn.init.uniform_(self.table, -0.1, 0.1)

    def forward(self, position: Tensor) -> Tensor:
        """(P, 2) -> (P, levels * features), float32."""
        if position.is_cuda and (backend := _tinycudann()) is not None:
            return self._by_kernel(position, backend)
        table = self.table.view(-1, self.features)
        return torch.cat([self._read(position, table, level) for level in range(self.levels)], dim=1)

    def _scale(self, level: int) -> float:
        # -1: `coarsest` counts grid points, not cells, as in tiny-cuda-nn
        return self.coarsest * self.growth**level - 1.0

    def _resolution(self, level: int) -> int:
        # 1e-4 is subtracted so that rounding errors of the power cannot add a row to the table.
        return math.ceil(self._scale(level) - 1e-4) + 1

    def _entries(self, level: int) -> int:
        dense = -(-(self._resolution(level) ** 2) // 8) * 8
        return min(dense, 2**self.log2_entries)

    def _read(self, position: Tensor, table: Tensor, level: int) -> Tensor:
        """Bilinear interpolation in one level: (P, 2) -> (P, features)."""
        entries = self._entries(level)
        start = sum(self._entries(coarser) for coarser in range(level))
        point = position.flip(1).float() * self._scale(level) + 0.5  # (x, y); 0.5 offsets the levels against each other
        corner = point.floor()
        fraction = point - corner
        corner = corner.long()
        read = torch.zeros(len(position), self.features, device=position.device)
        for dx in (0, 1):
            for dy in (0, 1):
                weight = (fraction[:, 0] if dx else 1 - fraction[:, 0]) * (fraction[:, 1] if dy else 1 - fraction[:, 1])
                index = self._index(corner[:, 0] + dx, corner[:, 1] + dy, level, entries)
                read = read + weight[:, None] * table[start + index]
        return read

    def _index(self, x: Tensor, y: Tensor, level: int, entries: int) -> Tensor:
        resolution = self._resolution(level)
        if resolution**2 <= entries:
            return (x + y * resolution) % entries
        return (x ^ (y * self.PRIME & 0xFFFFFFFF)) % entries

    def _by_kernel(self, position: Tensor, backend: Any) -> Tensor:
        if not self._kernel:
            config = {
                "otype": "HashGrid",
                "n_levels": self.levels,
                "n_features_per_level": self.features,
                "log2_hashmap_size": self.log2_entries,
                "base_resolution": self.coarsest,
                "per_level_scale": self.growth,
            }
            self._kernel.append(backend.Encoding(2, config, dtype=torch.float32))
        kernel = self._kernel[0]
        kernel.params = self.table
        return kernel(position.flip(1).float().contiguous()).float()


ENCODINGS: Mapping[str, Callable[..., FourierFeatures | DenseGrid | HashGrid]] = {
    "fourier": FourierFeatures,
    "grid": DenseGrid,
    "hash": HashGrid,
}


def build_encoding(kind: str, **options: int) -> FourierFeatures | DenseGrid | HashGrid:
    """The encoding named `kind`; ValueError for an unknown kind (it lists the known ones) or option."""
    if kind not in ENCODINGS:
        raise ValueError(f"encoding.kind={kind}: choose one of {', '.join(ENCODINGS)}")
    try:
        return ENCODINGS[kind](**options)
    except TypeError as error:
        raise ValueError(f"encoding {kind}: {error}") from error


def frequency_code(value: Tensor, base: float, octaves: int) -> Tensor:
    """sin and cos of `value` at frequencies baseⁱ π, i < octaves (NeRV, Eq. 2): (...) -> (..., 2 * octaves)."""
    # float64: at a frequency of 1.25⁷⁹ a float32 phase is wrong by several periods, and differs between machines.
    powers = base ** torch.arange(octaves, device=value.device, dtype=torch.float64)
    phase = math.pi * powers * value.double()[..., None]
    return torch.cat([phase.sin(), phase.cos()], dim=-1).float()


def cell_positions(top: int, left: int, rows: int, columns: int, height: float, width: float, like: Tensor) -> Tensor:
    """Centres (rows * columns, 2) of cells of a height x width raster, a rectangle that starts at cell (top, left)."""
    y = (torch.arange(top, top + rows, device=like.device) + 0.5) / height
    x = (torch.arange(left, left + columns, device=like.device) + 0.5) / width
    return torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).flatten(0, 1)


def _tinycudann() -> Any | None:
    try:
        return importlib.import_module("tinycudann")
    except (ImportError, OSError):  # OSError: built for another GPU or CUDA
        return None


def _check(name: str, value: int, least: int, most: int) -> None:
    if not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{name}={value}: choose a whole number from {least} to {most}")
