"""YCbCr planes to RGB with an explicit matrix: PSNR over RGB is not comparable between matrices."""

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA_WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}  # of red and blue


def rgb_from_planes(y: Tensor, u: Tensor, v: Tensor, matrix: str) -> Tensor:
    """Limited-range 8-bit planes -> RGB (3, H, W) uint8 (ITU-R BT.601, BT.709).

    `y` (H, W); `u` and `v` (H/2, W/2) for 4:2:0, or (H, W) for 4:4:4.

    Chroma is up-sampled bilinearly; its samples are centred between luma rows and columns.
    """
    red, blue = LUMA_WEIGHTS[matrix]
    green = 1 - red - blue
    height, width = y.shape
    chroma = torch.stack([u, v])[None].float() - 128
    if u.shape != y.shape:
        even = (2 * u.shape[0], 2 * u.shape[1])  # an odd side has half a chroma sample too many
        chroma = F.interpolate(chroma, even, mode="bilinear", align_corners=False)
    chroma = chroma[0, :, :height, :width]
    luma = (y.float() - 16) / 219
    pb, pr = chroma / 224
    r = luma + 2 * (1 - red) * pr
    b = luma + 2 * (1 - blue) * pb
    g = (luma - red * r - blue * b) / green
    return (torch.stack([r, g, b]) * 255).round_().clamp_(0, 255).to(torch.uint8)
