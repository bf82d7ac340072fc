"""Finds frames in pictures drawn by Matplotlib, by their colours."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]  # (H, W, 3)


def read_picture(path: Path | str) -> Pixels:
    return np.asarray(Image.open(path).convert("RGB"))


def visible_share(path: Path | str, frame: Pixels) -> float:
    """The share of a frame's colours that are in the picture: 1 if it is drawn there at its size or larger."""
    wanted, there = (
        {*map(tuple, np.unique(pixels.reshape(-1, 3), axis=0).tolist())} for pixels in (frame, read_picture(path))
    )
    return len(wanted & there) / len(wanted)


def places(path: Path | str, colour: tuple[int, int, int]) -> NDArray[np.float64]:
    """(N, 2): left and top of all pixels with exactly that colour, as shares of the picture's width and height."""
    picture = read_picture(path)
    rows, columns = (picture == colour).all(2).nonzero()
    return np.stack([columns / picture.shape[1], rows / picture.shape[0]], 1)
