import pytest
import torch

from lightning_inr.nn.timeline import Timeline


def test_one_slice_per_frame_gives_that_frame() -> None:
    timeline = Timeline(range(0, 9, 2), [0], 1)
    assert timeline.slices == 5
    between = timeline.at(torch.tensor([-3.0, 0.0, 1.0, 4.0, 8.0, 12.0]))
    values = between.read(torch.arange(5.0)[:, None])[:, 0]
    torch.testing.assert_close(values, torch.tensor([0.0, 0.0, 0.5, 2.0, 4.0, 4.0]))


def test_slices_do_not_blend_across_a_cut() -> None:
    timeline = Timeline(range(10), [0, 4], 1)
    table = torch.cat([torch.zeros(4, 1), torch.ones(6, 1)])
    values = timeline.at(torch.tensor([3.0, 3.4, 3.6, 4.0])).read(table)[:, 0]
    assert values.tolist() == [0, 0, 1, 1]  # the nearer side's


def test_a_cut_between_training_frames_lies_half_way() -> None:
    timeline = Timeline(range(0, 13, 4), [0, 8], 0)
    assert timeline.slices == 2
    values = timeline.at(torch.tensor([4.0, 5.9, 6.1, 8.0])).read(torch.tensor([[0.0], [1.0]]))[:, 0]
    assert values.tolist() == [0, 0, 1, 1]


def test_a_slice_lies_in_the_middle_of_its_frames() -> None:
    timeline = Timeline(range(12), [0], 4)
    assert timeline.slices == 3
    values = timeline.at(torch.tensor([0.0, 1.5, 5.5, 9.5, 11.0])).read(torch.arange(3.0)[:, None])[:, 0]
    torch.testing.assert_close(values, torch.tensor([0.0, 0.0, 1.0, 2.0, 2.0]))


def test_the_frames_to_each_slice() -> None:
    index = torch.tensor([0.0, 3.5, 11.0])
    assert Timeline(range(12), [0], 4).at(index).frames.tolist() == [1.5, 5.5, -2, 2, -1.5, -1.5]
    every_second = Timeline(range(0, 12, 2), [0, 6], 3).at(torch.tensor([0.0, 4.0, 6.0]))
    torch.testing.assert_close(every_second.frames, torch.tensor([2.0, 2, -2, -2, 2, 2]))


@pytest.mark.parametrize("shots", [[0], [0, 1, 2], [0, 3, 3]])
def test_a_single_frame_is_a_single_slice(shots: list[int]) -> None:
    assert Timeline(range(1), shots, 3).slices == 1
