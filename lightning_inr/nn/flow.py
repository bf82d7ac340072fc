"""Warping of frames along a flow, and the aggregation of a frame from its neighbours (FFNeRV, section 3.2)."""

import torch
import torch.nn.functional as F
from torch import Tensor


def backward_warp(frames: Tensor, flow: Tensor) -> Tensor:
    """Sample frames (N, C, h, w) at each pixel's position plus the flow (N, 2, h, w), (x, y) in pixels, bilinearly.

    Positions outside the frame get the value of the nearest border pixel.
    """
    height, width = frames.shape[2:]
    x = torch.arange(width, device=flow.device) + 0.5 + flow[:, 0]
    y = torch.arange(height, device=flow.device)[:, None] + 0.5 + flow[:, 1]
    where = torch.stack([x * (2 / width) - 1, y * (2 / height) - 1], dim=-1)
    return F.grid_sample(frames, where, padding_mode="border", align_corners=False)


def aggregate(frames: Tensor, motion: Tensor) -> Tensor:
    """Neighbours (B, K, 3, h, w) and motion (B, 3 K, h, w): x, y and weight of each -> weighted mean (B, 3, h, w).

    Each neighbour is warped by (x, y) pixels; the softmax over the K weights of a pixel gives the shares.
    """
    motion = motion.unflatten(1, (-1, 3))
    warped = backward_warp(frames.flatten(0, 1), motion[:, :, :2].flatten(0, 1)).view_as(frames)
    return (warped * motion[:, :, 2:].softmax(1)).sum(1)


def enlarge_motion(motion: Tensor, height: int, width: int) -> Tensor:
    """Motion (B, 3 K, h, w) in pixels of the whole frame -> (B, 3 K, height, width), float32, bilinear."""
    # float32: in bfloat16 a flow of 16 pixels has a resolution of an eighth of a pixel
    motion = motion.float().contiguous(memory_format=torch.channels_last)  # backward ten times as fast on a CPU
    return F.interpolate(motion, (height, width), mode="bilinear", align_corners=False)
