import torch

from lightning_inr.nn.motion import Motion, sampled_places
from lightning_inr.nn.timeline import Timeline
from lightning_inr.nn.warped_grid import WarpedGrid


def fresh_motion() -> Motion:
    motion = Motion(4, 8, field=True, scale=0.03)
    motion.reset_parameters()
    return motion


def test_a_fresh_motion_moves_nothing() -> None:
    maps, field = fresh_motion()(torch.randn(2, 4), torch.randn(2, 6, 8), 2, 3)
    assert field is not None
    assert not field.any()
    grid = WarpedGrid(Timeline(range(3), [0], 1), 5, 7, 2, 3)
    grid.reset_parameters()
    index = torch.tensor([0.0, 1.5])
    torch.testing.assert_close(grid(index, sampled_places(maps, field, 5, 7)), grid(index, None), atol=1e-5, rtol=0)


def test_a_shift_moves_the_grid() -> None:
    motion = fresh_motion()
    with torch.no_grad():
        motion.affine.bias[2] = 2 / 7 / motion.scale  # one of seven columns, in halves of the frame
    maps, _ = motion(torch.zeros(1, 4), torch.zeros(1, 6, 8), 2, 3)
    grid = WarpedGrid(Timeline(range(1), [0], 1), 5, 7, 2, 3)
    grid.reset_parameters()
    index = torch.zeros(1)
    moved, still = grid(index, sampled_places(maps, None, 5, 7)), grid(index, None)
    torch.testing.assert_close(moved[..., :-1], still[..., 1:], atol=1e-5, rtol=0)
