"""What a forward pass must not do where the device works on its own: wait for a value, or read from two devices."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from lightning_inr.models import build
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.types import VideoShape
from tests.conftest import SMALL

VIDEO = VideoShape(5, 22, 30, 25.0)


@pytest.fixture
def fake() -> Iterator[FakeTensorMode]:
    """Tensors without values: to ask for one, or for a shape that depends on one, raises, as does mixing devices."""
    with FakeTensorMode(allow_non_fake_inputs=False) as mode:
        yield mode


def fake_model(name: str) -> VideoRepresentation:
    """The small model `name`, built on the CPU and moved to a GPU, which need not exist."""
    model = build(name, VIDEO, **SMALL[name])
    for module in model.modules():
        for key, parameter in module.named_parameters(recurse=False):
            setattr(module, key, nn.Parameter(parameter.detach().to("cuda")))
        for key, buffer in module.named_buffers(recurse=False):
            setattr(module, key, buffer.to("cuda"))
    return model


def on_gpu(*tensors: object) -> bool:
    return all(isinstance(tensor, FakeTensor) and tensor.device.type == "cuda" for tensor in tensors)


@pytest.mark.parametrize("name", SMALL)
def test_training_waits_for_no_value(name: str, fake: FakeTensorMode) -> None:
    model = fake_model(name)
    index, frames = torch.tensor([0.0, 1.5, 4.0]).to("cuda"), torch.empty(3, 3, 22, 30, device="cuda")
    for _ in range(2):  # the first step may have more to do
        outputs = model.training_outputs(index, frames)
        assert on_gpu(*outputs.values())
        if torch.cuda.is_available():  # the backward pass, PyTorch's own, asks for the device even where none is real
            torch.stack([(view - frames).square().mean() for view in outputs.values()]).sum().backward()


@pytest.mark.parametrize("name", SMALL)
def test_decoding_waits_for_no_value(name: str, fake: FakeTensorMode) -> None:
    model = fake_model(name).eval()
    model.decoder_only()
    index = torch.tensor([0.0, 1.5, 4.0]).to("cuda")
    assert on_gpu(model(index))
    with torch.no_grad():
        prepared = model.prepare()
        for positions in ([0.0, 1.0, 2.5], [2.0, 3.0, 4.0]):
            model.prepare_batch(prepared, positions)
            assert on_gpu(model(torch.tensor(positions).to("cuda"), prepared=prepared))


@pytest.mark.parametrize("name", SMALL)
def test_stored_embeddings_are_trained_without_waiting(name: str, fake: FakeTensorMode) -> None:
    model = fake_model(name)
    model.store_embeddings([])
    index, frames = torch.tensor([0.0, 4.0]).to("cuda"), torch.empty(2, 3, 22, 30, device="cuda")
    assert on_gpu(*model.training_outputs(index, frames).values())
