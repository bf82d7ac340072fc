"""The contract that every model in MODELS must fulfil."""

import pytest
import torch

from lightning_inr.codec import Codec, decode
from lightning_inr.devices import fast_bfloat16
from lightning_inr.errors import BitstreamError
from lightning_inr.models import MODELS, build
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.models.nirvana import NIRVANA
from lightning_inr.models.nvp import NVP
from lightning_inr.types import FrameBatch, VideoShape, Window
from tests.conftest import SMALL, small_model

INDEX = torch.tensor([0.0, 1.5, 4.0])


def test_every_model_has_a_small_configuration() -> None:
    assert set(SMALL) == set(MODELS)


def test_frames_have_their_shape_and_range(model: VideoRepresentation) -> None:
    frames = model(INDEX)
    assert frames.shape == (3, 3, model.video.height, model.video.width)
    assert frames.min() >= 0
    assert frames.max() <= 1


def test_frames_differ_in_time(model: VideoRepresentation) -> None:
    first, between, last = model(INDEX)
    assert (first - last).abs().max() > 1e-4
    assert (first - between).abs().max() > 1e-4


@pytest.mark.parametrize("window", [Window(0, 0, 5, 7), Window(9, 11, 8, 13), Window(21, 29, 1, 1)])
def test_a_window_is_a_crop(model: VideoRepresentation, window: Window) -> None:
    whole = model(INDEX)
    part = model(INDEX, window=window)
    top, left, height, width = window
    torch.testing.assert_close(part, whole[:, :, top : top + height, left : left + width], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [(11, 15), (44, 60), (33, 20), (22, 30)])
def test_windows_are_crops_at_every_size(model: VideoRepresentation, size: tuple[int, int]) -> None:
    whole = model(INDEX, size=size)
    assert whole.shape == (3, 3, *size)
    part = model(INDEX, size=size, window=Window(2, 3, 5, 7))
    torch.testing.assert_close(part, whole[:, :, 2:7, 3:10], atol=1e-5, rtol=1e-4)
    rendered = torch.stack(list(model.render(INDEX.tolist(), size)))
    off = (rendered - 255 * whole).abs()  # bytes, and bfloat16 where the machine has it: noise magnifies what it loses
    assert off.mean() < 1
    assert off.max() < (16 if fast_bfloat16(torch.device("cpu")) else 8)


def test_half_the_size_is_the_mean_of_the_rendered_pixels(model: VideoRepresentation) -> None:
    means = model(INDEX).unflatten(2, (11, 2)).unflatten(4, (15, 2)).mean((3, 5))
    assert (model(INDEX, size=(11, 15)) - means).abs().mean() < 0.02


def test_prepared_data_do_not_change_the_result(model: VideoRepresentation) -> None:
    torch.testing.assert_close(model(INDEX, prepared=model.prepare()), model(INDEX))


def test_groups_name_every_tensor_once(model: VideoRepresentation) -> None:
    names = [name for names in model.coded_groups().values() for name in names]
    model.decoder_only()
    assert sorted(names) == sorted(model.state_dict())


def test_forward_uses_coded_tensors_only(model: VideoRepresentation) -> None:
    expected = model(INDEX)
    coded = {name for names in model.coded_groups().values() for name in names}
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if name not in coded:
                tensor.add_(torch.randn_like(tensor))
    torch.testing.assert_close(model(INDEX), expected)


def test_gradients_reach_every_parameter(model: VideoRepresentation) -> None:
    index = torch.arange(model.video.frames)
    target = torch.rand(model.video.frames, 3, model.video.height, model.video.width)
    for _ in range(2):  # by the encoder, and by the embeddings stored by `store_embeddings`
        (model.reconstruct(index, target) - target).square().mean().backward()
        model.store_embeddings([FrameBatch(index, target)])
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_stored_embeddings_give_the_fitted_frames(model: VideoRepresentation) -> None:
    index = torch.arange(model.video.frames)
    frames = torch.rand(model.video.frames, 3, model.video.height, model.video.width)
    with torch.no_grad():
        model.store_embeddings([FrameBatch(index[:2], frames[:2]), FrameBatch(index[2:], frames[2:])])
        expected = model.reconstruct(index, frames)
        torch.testing.assert_close(model(index), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("coder", ["range", "huffman"])
def test_a_decoded_model_encodes_to_the_same_bytes(model: VideoRepresentation, coder: str) -> None:
    codec = Codec(default_bits=6, coder=coder)
    data = codec.encode(model)
    decoded = decode(data)
    assert codec.encode(decoded) == data
    assert decoded.video == model.video
    assert decoded.config == model.config


def test_full_precision_decodes_to_the_same_frames(model: VideoRepresentation) -> None:
    decoded = decode(Codec(default_bits=32).encode(model))
    torch.testing.assert_close(decoded(INDEX), model(INDEX), atol=1e-5, rtol=1e-4)


def test_damaged_bytes_raise(model: VideoRepresentation) -> None:
    data = bytearray(Codec().encode(model))
    data[len(data) // 2] ^= 16
    with pytest.raises(BitstreamError):
        decode(bytes(data))


def test_one_frame_of_one_pixel(model: VideoRepresentation) -> None:
    tiny = small_model(next(name for name, kind in MODELS.items() if kind is type(model)), VideoShape(1, 1, 1, 1.0))
    assert tiny(torch.tensor([0.0])).shape == (1, 3, 1, 1)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="model=nerf: choose one of latent_inr"):
        build("nerf", VideoShape(2, 8, 8, 25.0))
    with pytest.raises(ValueError, match="has no option depth"):
        build("latent_inr", VideoShape(2, 8, 8, 25.0), depth=3)


def test_initial_frames_are_near_the_colour_of_the_video(model: VideoRepresentation) -> None:
    means = []
    for level in (0.1, 0.9):
        model.init_output_colour(torch.full((3,), level))
        means.append(float(model(torch.tensor([1.0])).detach().mean()))
    dark, light = means
    assert light > dark + 0.4 or (dark == light and isinstance(model, NIRVANA | NVP))
