import torch

from lightning_inr.data.shots import find_shots


def scene(seed: int, frames: int) -> torch.Tensor:
    """Frames of a static background with a moving square."""
    torch.manual_seed(seed)
    picture = torch.nn.functional.interpolate(torch.rand(1, 3, 4, 5), (60, 80), mode="bilinear") * 255
    video = picture.to(torch.uint8).repeat(frames, 1, 1, 1)
    for number in range(frames):
        video[number, :, 20:30, 10 + 2 * number : 20 + 2 * number] = 255
    return video


def test_a_cut_is_detected_at_its_frame() -> None:
    assert find_shots(torch.cat([scene(0, 12), scene(1, 15), scene(2, 9)])) == [0, 12, 27]


def test_one_shot_is_one_shot() -> None:
    assert find_shots(scene(0, 20)) == [0]
    assert find_shots(scene(0, 1)) == [0]
    assert find_shots(torch.zeros(5, 3, 8, 8, dtype=torch.uint8)) == [0]
