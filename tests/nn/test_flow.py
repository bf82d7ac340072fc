import torch

from lightning_inr.nn.flow import aggregate, backward_warp, enlarge_motion


def test_a_warp_reads_where_the_flow_points_and_the_border_beyond_it() -> None:
    frame = torch.rand(1, 3, 5, 7)
    flow = torch.zeros(1, 2, 5, 7)
    flow[:, 0], flow[:, 1] = 2, -1  # x, y
    warped = backward_warp(frame, flow)
    torch.testing.assert_close(warped[:, :, 1:, :-2], frame[:, :, :-1, 2:])
    torch.testing.assert_close(warped[:, :, 0, :-2], frame[:, :, 0, 2:])
    torch.testing.assert_close(warped[:, :, 1:, -1], frame[:, :, :-1, -1])


def test_neighbours_are_mixed_by_their_weights() -> None:
    frames = torch.rand(2, 4, 3, 5, 7)
    motion = torch.zeros(2, 12, 5, 7)
    torch.testing.assert_close(aggregate(frames, motion), frames.mean(1))
    motion[:, 3 * 2 + 2] = 50.0  # the third one's weight
    torch.testing.assert_close(aggregate(frames, motion), frames[:, 2])


def test_enlarged_motion_keeps_its_length_in_pixels() -> None:
    motion = torch.full((1, 12, 3, 4), 2.5, dtype=torch.bfloat16)
    enlarged = enlarge_motion(motion, 12, 16)
    torch.testing.assert_close(enlarged, torch.full((1, 12, 12, 16), 2.5))
