import torch
import torch.nn.functional as F

from lightning_inr.nn.motion import AT_REST, IDENTITY, Motion
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
    slices = grid.timeline.at(torch.tensor([0.0, 1.5]))
    torch.testing.assert_close(grid(slices, where), grid(slices, None), atol=1e-5, rtol=0)


def test_a_shift_moves_the_grid() -> None:
    motion = fresh_motion()
    with torch.no_grad():
        motion.affine.bias[2] = 2 / 7 / motion.scale  # one of seven columns, in halves of the frame
    where = motion.sampling_positions(motion(torch.zeros(1, 4), torch.zeros(1, 6, 8), 2, 3), 5, 7)
    grid = WarpedGrid(Timeline(range(1), [0], 1), 5, 7, 2, 3)
    grid.reset_parameters()
    slices = grid.timeline.at(torch.zeros(1))
    moved, still = grid(slices, where), grid(slices, None)
    torch.testing.assert_close(moved[..., :-1], still[..., 1:], atol=1e-5, rtol=0)


def test_positions_for_each_slice_bring_what_moves_to_where_it_is() -> None:
    grid = WarpedGrid(Timeline(range(8), [0], 4), 1, 9, 1, 1)
    with torch.no_grad():
        grid.table.copy_(F.one_hot(torch.tensor([2, 6]), 9).unsqueeze(2))  # four columns in four frames
        grid.mix.weight.fill_(1)
    velocity = Motion(4, 8, field=False, scale=1.0, initial=AT_REST)
    velocity.reset_parameters()
    with torch.no_grad():
        velocity.affine.bias[2] = 2 / 9  # a column a frame, in halves of the frame
    still, moving = fresh_motion(), velocity(torch.zeros(1, 4), torch.zeros(1, 6, 8), 2, 3)
    slices = grid.timeline.at(torch.tensor([2.5]))  # a frame after the first slice, three before the second
    motion = still(torch.zeros(1, 4), torch.zeros(1, 6, 8), 2, 3) + slices.frames.view(2, 1, 1, 1) * moving
    shown = grid(slices, still.sampling_positions(motion, 1, 9))
    torch.testing.assert_close(shown[0, 0, 0], F.one_hot(torch.tensor(3), 9).float(), atol=1e-5, rtol=0)
    blended = grid(slices, None)[0, 0, 0]
    torch.testing.assert_close(blended[[2, 6]], torch.tensor([0.75, 0.25]), atol=1e-5, rtol=0)


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
