from pathlib import Path

import pytest
import torch
from PIL import Image

from lightning_inr.data.module import FrameDataModule
from lightning_inr.data.motion import motion_blend, optical_flows
from lightning_inr.data.sources.file import open_source
from lightning_inr.errors import UserError
from tests.conftest import moving_square


@pytest.mark.parametrize("memory_gib", [4.0, 0.0])
def test_an_epoch_has_every_frame_once_as_bytes(images: Path, memory_gib: float) -> None:
    data = FrameDataModule(open_source(str(images)), batch_size=4, memory_gib=memory_gib)
    batches = list(data.train_dataloader())
    assert sorted(int(index) for batch in batches for index in batch.index) == list(range(6))
    for batch in batches:
        assert batch.frames.dtype == torch.uint8
        assert torch.equal(batch.frames, moving_square()[batch.index.long()])
    assert (data.frames.memory is None) == (memory_gib == 0)


def test_a_window_is_at_its_position(images: Path) -> None:
    data = FrameDataModule(open_source(str(images)), batch_size=2, window=(10, 200))
    for batch in data.train_dataloader():
        top, left, height, width = batch.window
        assert (height, width, left) == (10, 64, 0)  # as wide as the frame at most
        assert torch.equal(batch.frames, moving_square()[batch.index.long()][..., top : top + 10, :])


def test_frames_become_floats_on_the_device_only(images: Path) -> None:
    data = FrameDataModule(open_source(str(images)))
    batch = data.transfer_batch_to_device(next(iter(data.train_dataloader())), torch.device("cpu"), 0)
    assert batch.frames.dtype == torch.float32
    assert batch.frames.max() <= 1


def test_stride_two_trains_on_every_second_frame(images: Path) -> None:
    batches = list(FrameDataModule(open_source(str(images)), stride=2).train_dataloader())
    assert sorted(float(batch.index) for batch in batches) == [0, 2, 4]
    for batch in batches:
        assert torch.equal(batch.frames[0], moving_square()[int(batch.index)])


def test_blends_are_at_their_positions(images: Path) -> None:
    data = FrameDataModule(open_source(str(images)), stride=2, batch_size=3, blend_probability=0.99)
    positions = []
    for batch in data.train_dataloader():
        for position, frame in zip(batch.index, batch.frames, strict=True):
            before = int(position) // 2 * 2
            pair = moving_square()[[before, before + 2]]
            expected = motion_blend(
                pair[:1], pair[1:], optical_flows(pair[0], pair[1])[None], (position[None] - before) / 2
            )[0]
            assert (frame.int() - expected.int()).abs().max() <= 1
            positions.append(float(position))
    assert min(positions) >= 0
    assert max(positions) <= 4


def test_a_blend_across_a_cut_is_the_nearer_frame(tmp_path: Path) -> None:
    frames = torch.cat([torch.full((6, 64, 64, 3), value, dtype=torch.uint8) for value in (30, 220)])
    for number, frame in enumerate(frames):
        Image.fromarray(frame.numpy()).save(tmp_path / f"{number:05d}.png")
    data = FrameDataModule(open_source(str(tmp_path)), batch_size=12, blend_probability=0.99)
    for _ in range(3):
        for batch in data.train_dataloader():
            for position, frame in zip(batch.index, batch.frames, strict=True):
                assert frame.unique().tolist() == [30 if position < 5.5 else 220]


def test_blend_probability_is_a_share(images: Path) -> None:
    with pytest.raises(UserError, match=r"data.blend_probability=1: choose a share"):
        FrameDataModule(open_source(str(images)), blend_probability=1)


def test_wrong_batch_size(images: Path) -> None:
    with pytest.raises(UserError, match="batch_size=0"):
        FrameDataModule(open_source(str(images)), batch_size=0)
