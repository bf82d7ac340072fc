"""A folder of images as a video."""

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from lightning_inr.data.sources.source import VideoSource
from lightning_inr.errors import UserError

IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
FPS = 25.0  # frames per second; images have no frame rate
SWAPPED_SIDES = (5, 6, 7, 8)  # EXIF orientations that exchange height and width
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # what Pillow raises for a damaged image


class ImageFolder(VideoSource):
    """Images in the order of their numbers, or of their names where they have no numbers.

    Grey images are converted to RGB, transparent ones are composed over black.
    """

    def __init__(self, path: Path, fps: float = FPS) -> None:
        self.name = path.stem
        found = [file for file in path.iterdir() if file.suffix.lower() in IMAGES and not file.name.startswith(".")]
        self.files = _in_order(found)
        if not self.files:
            raise UserError(f"dataset.path={path}: no images in this folder; expected {', '.join(sorted(IMAGES))}")
        sizes = Counter(self._size(file) for file in self.files)
        if len(sizes) > 1:
            listed = ", ".join(f"{count} of {width}x{height}" for (width, height), count in sizes.most_common(3))
            raise UserError(f"dataset.path={path}: images of different sizes ({listed}); bring them to one size")
        self.width, self.height = next(iter(sizes))
        self.frames, self.fps = len(self.files), fps

    def read(self, index: int) -> Tensor:
        """Frame `index` as RGB (3, height, width) uint8."""
        try:
            with Image.open(self.files[index]) as image:
                upright = ImageOps.exif_transpose(image)
        except UNREADABLE as error:
            raise UserError(f"{self.files[index]}: {error}; replace this image") from error
        return torch.from_numpy(np.array(_eight_bits(upright, self.files[index]))).permute(2, 0, 1)

    @staticmethod
    def _size(file: Path) -> tuple[int, int]:
        try:
            with Image.open(file) as image:
                turned = image.format != "TIFF" and image.getexif().get(ExifTags.Base.Orientation) in SWAPPED_SIDES
                return image.size[::-1] if turned else image.size  # Pillow rotates a TIFF itself
        except UNREADABLE as error:
            raise UserError(f"{file}: not an image ({error}); remove or replace it") from error


def _in_order(files: list[Path]) -> list[Path]:
    """By number if all names are one prefix and a number (UserError if a number is missing); else by name."""
    files = sorted(files)
    named = [re.fullmatch(r"(.*?)(\d+)", file.stem) for file in files]
    if not all(named) or len({match[1] for match in named if match}) > 1:
        return files
    numbered = sorted((int(match[2]), file) for match, file in zip(named, files, strict=True) if match)
    for (number, file), (after, next_file) in pairwise(numbered):
        if after != number + 1:
            fault = f"frame number {number + 1} is missing" if after > number else f"number {number} is there twice"
            where = f"{file.name} is followed by {next_file.name}"
            raise UserError(f"{file.parent}: {fault} ({where}); complete the folder")
    return [file for _, file in numbered]


def _eight_bits(image: Image.Image, file: Path) -> Image.Image:
    """The image as 8-bit RGB; UserError if the value of white is not known."""
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image).astype(np.uint32) + 128) // 257  # 65535 is white; Pillow would clamp to 255
        image = Image.fromarray(grey.astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise UserError(f"{file}: pixels of 32 bits, whose white is not known; write images of 8 or 16 bits")
    return _opaque(image).convert("RGB")


def _opaque(image: Image.Image) -> Image.Image:
    """The image, composed over black if it has transparency."""
    if not image.has_transparency_data:
        return image
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba)
