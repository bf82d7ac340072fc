"""Motion-compensated blends: frames at positions between two frames, along the optical flow from one to the other."""

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

FLOW_REDUCTION = 4  # flows are kept at a quarter of the frames' height and width, which costs less than 0.1 dB
LEAST_SIDE = 32  # pixels; smaller frames are taken to be still, since DIS needs patches of several scales


def optical_flows(first: Tensor, second: Tensor) -> Tensor:
    """Flows from `first` to `second` and back, for two frames (3, H, W) uint8 on the host.

    Returned as (2, 2, h, w) in half precision: displacements to the right and down in pixels of the frames, at a
    quarter of their size. Dense inverse search (Kroeger et al., ECCV 2016), OpenCV's preset of medium speed.
    """
    height, width = first.shape[1:]
    size = (-(-height // FLOW_REDUCTION), -(-width // FLOW_REDUCTION))
    if min(height, width) < LEAST_SIDE:
        return torch.zeros(2, 2, *size, dtype=torch.half)
    one, other = _grey(first), _grey(second)
    still = np.zeros((height, width, 2), np.float32)  # where the search starts
    flows = np.stack([_search().calc(one, other, still.copy()), _search().calc(other, one, still.copy())])
    return F.adaptive_avg_pool2d(torch.from_numpy(flows).permute(0, 3, 1, 2), size).half()


def motion_blend(first: Tensor, second: Tensor, flows: Tensor, share: Tensor) -> Tensor:
    """The frames (B, 3, H, W) uint8 at `share` (B,), 0 to 1, of the way from `first` to `second`, of the same type.

    `flows` (B, 2, 2, h, w): those of `optical_flows`. The two frames are warped along flows that are estimated at the
    position between, and blended linearly (Super SloMo, Jiang et al., CVPR 2018, Eq. 2 without visibility, Eq. 4).
    """
    flows = F.interpolate(flows.float().flatten(1, 2), size=first.shape[-2:], mode="bilinear")
    there, back = flows.split(2, dim=1)
    share = share.view(-1, 1, 1, 1)
    rest = 1 - share
    from_first = _warp(first.float(), share * (share * back - rest * there))
    from_second = _warp(second.float(), rest * (rest * there - share * back))
    return torch.lerp(from_first, from_second, share).round_().to(torch.uint8)


def _warp(frames: Tensor, flow: Tensor) -> Tensor:
    """For each pixel the value of `frames` (B, C, H, W) where `flow` (B, 2, H, W) leads, in pixels."""
    height, width = frames.shape[-2:]
    pixels = torch.tensor([2 / width, 2 / height], device=flow.device)  # in the unit of grid_sample: half frame sizes
    still = torch.tensor([[[1.0, 0, 0], [0, 1.0, 0]]], device=flow.device).expand(len(frames), -1, -1)
    places = F.affine_grid(still, list(frames.shape), align_corners=False)
    places = places + flow.permute(0, 2, 3, 1) * pixels
    return F.grid_sample(frames, places, padding_mode="border", align_corners=False)


def _grey(frame: Tensor) -> NDArray[Any]:
    return cv2.cvtColor(np.ascontiguousarray(frame.permute(1, 2, 0).numpy()), cv2.COLOR_RGB2GRAY)


@lru_cache(maxsize=1)
def _search() -> cv2.DISOpticalFlow:
    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
