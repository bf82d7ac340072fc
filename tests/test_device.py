"""Training and decoding do not synchronise with the device and do not mix devices."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lightning_inr.losses import LOSSES
from lightning_inr.models import build
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.types import VideoShape
from tests.conftest import SMALL

VIDEO = VideoShape(5, 22, 30, 25.0)


@pytest.fixture
def fake() -> Iterator[FakeTensorMode]:
    """Tensors without values: reading a value or a shape that depends on one raises, and so does mixing devices."""
    with FakeTensorMode(allow_non_fake_inputs=False) as mode:
        yield mode


class NoCopies(TorchDispatchMode):
    """No operation copies a tensor of the host to the device, which no CUDA graph could repeat."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [each.device.type for each in tree_leaves((args, result)) if isinstance(each, Tensor)]
        if func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
            assert len(set(tensors)) == 1, f"{func} copies from the host"
        return result


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
def test_training_does_not_synchronise_with_the_device(name: str, fake: FakeTensorMode) -> None:
    model = fake_model(name)
    index, frames = torch.tensor([0.0, 1.5, 4.0]).to("cuda"), torch.empty(3, 3, 22, 30, device="cuda")
    model.training_outputs(index, frames)  # the first step may have more to do
    with NoCopies():
        outputs = model.training_outputs(index, frames)
        assert on_gpu(*outputs.values())
        if torch.cuda.is_available():  # PyTorch's backward pass reads the device even without a real one
            torch.stack([(output - frames).square().mean() for output in outputs.values()]).sum().backward()


@pytest.mark.parametrize("name", LOSSES)
def test_losses_do_not_synchronise_with_the_device(name: str, fake: FakeTensorMode) -> None:
    frames = torch.empty(2, 3, 180, 176, device="cuda")
    with NoCopies():
        assert on_gpu(LOSSES[name](frames, frames))


@pytest.mark.parametrize("name", SMALL)
def test_decoding_does_not_synchronise_with_the_device(name: str, fake: FakeTensorMode) -> None:
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
def test_training_stored_embeddings_does_not_synchronise_with_the_device(name: str, fake: FakeTensorMode) -> None:
    model = fake_model(name)
    model.store_embeddings([])
    index, frames = torch.tensor([0.0, 4.0]).to("cuda"), torch.empty(2, 3, 22, 30, device="cuda")
    assert on_gpu(*model.training_outputs(index, frames).values())
