"""The ONNX decoder gives the frames of `decode`, for every model and at every float position."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from lightning_inr.codec import decode
from lightning_inr.errors import UserError
from lightning_inr.export import export
from lightning_inr.export.decoder import decoder_graph
from lightning_inr.models import MODELS
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.models.nerv import NeRV
from tests.conftest import small_model
from tests.export.conftest import POSITIONS, write_small

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("latent_inr", {"encoding": {"kind": "hash", "levels": 4, "log2_entries": 6, "coarsest": 3, "finest": 20}}),
    ("latent_inr", {
        "encoding": {"kind": "fourier"}, "modulation": "one_plus",
        "stages": [{"stride": 1, "channels": 3, "kernel": 1, "grid_channels": 0}],
    }),
    ("latent_inr_grids", {"motion": "affine", "activation": "silu", "shots": [0]}),
    ("latent_inr_grids", {"motion": "none", "activation": "relu"}),
    ("t_nerv", {"flow_guidance": False, "regular_convolutions": True, "grid_frames": []}),
    ("nirvana", {"reset_every": 2}),
    ("e_nerv", {"octaves": 80, "base": 1.3}),  # phases of 10⁹: exact in float64 alone
    ("hnerv_boost", {"octaves": 80}),
]  # fmt: skip


def frames_of(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    session = onnxruntime.InferenceSession(path)
    [frames] = session.run(None, {"positions": np.array(POSITIONS, np.float32)})
    return np.asarray(frames)


def assert_same_frames(bitstream: Path, out: Path) -> None:
    wanted = torch.stack(list(decode(bitstream.read_bytes()).render(POSITIONS))).numpy()
    frames = frames_of(out)
    assert frames.shape == wanted.shape
    assert frames.dtype == np.uint8
    differences = np.abs(frames.astype(int) - wanted)
    assert (differences <= 1).mean() >= 0.999, differences.max()


@pytest.mark.parametrize("name", MODELS)
def test_every_model_decodes_to_the_same_frames(name: str, tmp_path: Path) -> None:
    bitstream, out = write_small(tmp_path / "small.linr", name), tmp_path / "small.onnx"
    written = export(bitstream, out)
    assert written == (out, out.stat().st_size, 0)
    assert_same_frames(bitstream, out)


@pytest.mark.parametrize(("name", "changes"), VARIANTS)
def test_other_options_decode_to_the_same_frames(name: str, changes: dict[str, Any], tmp_path: Path) -> None:
    bitstream, out = write_small(tmp_path / "small.linr", name, **changes), tmp_path / "small.onnx"
    export(bitstream, out)
    assert_same_frames(bitstream, out)


def test_the_file_is_valid_and_names_nothing_of_this_machine(tmp_path: Path) -> None:
    bitstream, out = write_small(tmp_path / "small.linr", "latent_inr_grids"), tmp_path / "small.onnx"
    export(bitstream, out)
    graph = onnx.load(out)
    onnx.checker.check_model(graph, full_check=True)
    assert {each.key: each.value for each in graph.metadata_props} == {
        "frames": "5", "height": "22", "width": "30", "fps": "25.0", "stride": "1",
    }  # fmt: skip
    assert b".py" not in out.read_bytes()
    assert {each.domain for each in graph.opset_import} == {""}


def test_shuffles_are_one_operator_and_stored_tensors_stay_as_they_are() -> None:
    model = small_model("nerv")
    graph = decoder_graph(model).graph
    operators = [node.op_type for node in graph.node]
    assert operators.count("DepthToSpace") == 2
    assert operators.count("Transpose") <= 3  # one for the map, and those of the weights of linear layers
    stored = {each.name.removeprefix("decoder."): onnx.numpy_helper.to_array(each) for each in graph.initializer}
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(stored[name], tensor.numpy())


def test_a_frame_of_another_size() -> None:
    model = small_model("latent_inr_grids")
    session = onnxruntime.InferenceSession(decoder_graph(model, (44, 60)).SerializeToString())
    [frames] = session.run(None, {"position": np.array([2.5], np.float32)})
    [wanted] = model.render([2.5], (44, 60))
    assert np.abs(np.asarray(frames)[0].astype(int) - wanted.numpy()).max() <= 1


@pytest.mark.parametrize("out", ["clip.mp4", "clip", "clip.htm"])
def test_another_suffix_is_refused(out: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"out=.*{out}: choose a name that ends in \.html .* or \.onnx"):
        export(write_small(tmp_path / "small.linr", "nerv"), tmp_path / out)


@pytest.mark.parametrize("out", ["clip.onnx", "clip.html"])
def test_a_damaged_file_leaves_nothing(out: str, tmp_path: Path) -> None:
    bitstream = write_small(tmp_path / "small.linr", "nerv")
    bitstream.write_bytes(bitstream.read_bytes()[:-9])
    with pytest.raises(UserError, match="damaged"):
        export(bitstream, tmp_path / out)
    assert list(tmp_path.iterdir()) == [bitstream]


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(UserError, match=r"onnx is not installed; pip install 'lightning_inr\[player\]'"):
        decoder_graph(small_model("nerv"))


def eigenvalues(model: VideoRepresentation, index: Tensor) -> Tensor:
    values = torch.linalg.eigvals(torch.ones(2, 2) * index).real
    return values.sum().expand(1, 3, *model.padded_size)


def branch(model: VideoRepresentation, index: Tensor) -> Tensor:
    return (torch.ones if index[0] > 2 else torch.zeros)(1, 3, *model.padded_size)


@pytest.mark.parametrize("logits", [eigenvalues, branch])
def test_a_model_without_an_equivalent_is_named(
    logits: Callable[[VideoRepresentation, Tensor], Tensor],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    bitstream = write_small(tmp_path / "small.linr", "nerv")
    monkeypatch.setattr(NeRV, "logits", logits)
    with pytest.raises(UserError, match=r"export: NeRV has no equivalent in ONNX \(.*\); use task=decode") as raised:
        export(bitstream, tmp_path / "small.onnx")
    assert "\n" not in str(raised.value)
    assert capfd.readouterr() == ("", "")
