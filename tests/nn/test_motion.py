import torch
import torch.nn.functional as F

from lightning_inr.nn.motion import IDENTITY, Motion
from lightning_inr.nn.timeline import Timeline
from lightning_inr.nn.warped_grid import WarpedGrid


def fresh_motion() -> Motion:
    motion = Motion(4, 8, field=True, scale=0.03)
    motion.reset_parameters()
    return motion


def test_the_initial_motion_is_the_identity() -> None:
    motion = fresh_motion()
    where = motion.sampling_positions(motion(torch.randn(2, 4), torch.randn(2, 6, 8), 2, 3), 5, 7)
    grid = WarpedGrid(Timeline(range(3), [0], 1), 5, 7, 2, 3)
    grid.reset_parameters()
    index = torch.tensor([0.0, 1.5])
    torch.testing.assert_close(grid(index, where), grid(index, None), atol=1e-5, rtol=0)


def test_a_shift_moves_the_grid() -> None:
    motion = fresh_motion()
    with torch.no_grad():
        motion.affine.bias[2] = 2 / 7 / motion.scale  # one of seven columns, in halves of the frame
    where = motion.sampling_positions(motion(torch.zeros(1, 4), torch.zeros(1, 6, 8), 2, 3), 5, 7)
    grid = WarpedGrid(Timeline(range(1), [0], 1), 5, 7, 2, 3)
    grid.reset_parameters()
    index = torch.zeros(1)
    moved, still = grid(index, where), grid(index, None)
    torch.testing.assert_close(moved[..., :-1], still[..., 1:], atol=1e-5, rtol=0)


def test_sampling_positions_are_pytorchs_affine_grid_and_interpolated_field() -> None:
    motion = Motion(4, 8, field=True, scale=0.1)
    z, features = torch.randn(3, 4), torch.randn(3, 4 * 5, 8)
    assert motion.field is not None
    maps = (torch.tensor(IDENTITY) + motion.scale * motion.affine(z)).view(-1, 2, 3)
    field = (motion.scale * motion.field(features)).mT.unflatten(2, (4, 5))
    affine = F.affine_grid(maps, [3, 1, 18, 23], align_corners=False)
    moved = F.interpolate(field, (18, 23), mode="bilinear", align_corners=False).permute(0, 2, 3, 1)
    torch.testing.assert_close(motion.sampling_positions(motion(z, features, 4, 5), 18, 23), affine + moved)
    affine_alone = Motion(4, 8, field=False, scale=0.1)
    affine_alone.affine = motion.affine
    torch.testing.assert_close(affine_alone.sampling_positions(affine_alone(z, features, 4, 5), 18, 23), affine)


def test_tables_cached_in_decoding_are_usable_in_training() -> None:
    motion = fresh_motion()
    z, features = torch.randn(1, 4), torch.randn(1, 6, 8)
    with torch.inference_mode():
        motion.sampling_positions(motion(z, features, 2, 3), 5, 7)
    motion.sampling_positions(motion(z, features, 2, 3), 5, 7).sum().backward()
    assert motion.affine.weight.grad is not None
