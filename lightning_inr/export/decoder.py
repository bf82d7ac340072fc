"""The decoder of a model as a graph of standard ONNX operators, which onnxruntime runs in Python and in browsers.

The graph of one frame has a fixed size. `over_positions` wraps it in a loop (ONNX Scan) over any number of positions.
"""

import importlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lightning_inr.errors import UserError
from lightning_inr.models.base import VideoRepresentation

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnx_ir import Model, Node

PACKAGES = ("onnx", "onnxscript")  # of the extra `player`, imported when a graph is made
OPSET = 18  # the GridSample of later ones does not run on WebGPU in onnxruntime-web
PREFIX = "decoder."  # of an initializer, before the name of the tensor in the state dict
# Elements of the largest constant that is computed here. Runtimes compute the rest when they load the graph: results
# would be stored in addition to the tensors that they are computed from.
LARGEST_FOLDED = 512
LARGEST_GRAPH = 2**31 - 1  # bytes that one ONNX file may have


def decoder_graph(model: VideoRepresentation, size: tuple[int, int] | None = None) -> "ModelProto":
    """The decoder of one frame of (height, width) `size`, by default the video's.

    Input `position`, (1,) float32: a frame position. Output `rgb`, (1, 3, height, width) uint8: the frame, rounded as
    by `VideoRepresentation.render`. The tensors of the state dict are initializers named PREFIX + name. UserError if a
    package is missing or the model has an operation without equivalent in ONNX.
    """
    for package in PACKAGES:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise UserError(f"export: {package} is not installed; pip install 'lightning_inr[player]'") from error
    module = _FrameDecoder(model, size).eval()
    with torch.no_grad(), _quietly():
        module(torch.zeros(1))  # models cache tables in their first call; made while exporting they have no values
        try:
            program = torch.onnx.export(
                module, (torch.zeros(1),), dynamo=True, optimize=False, opset_version=OPSET, verbose=False,
                input_names=["position"], output_names=["rgb"], custom_translation_table=_exact_numbers(),
            )  # fmt: skip
        except torch.onnx.OnnxExporterError as error:
            name, reason = type(model).__name__, _reason(error)
            raise UserError(f"export: {name} has no equivalent in ONNX ({reason}); use task=decode instead") from error
    assert program is not None
    _simplify(program.model)
    return _without_notes(program.model_proto)


def over_positions(frame: "ModelProto") -> "ModelProto":
    """The graph of one frame, from `decoder_graph`, applied to any number of positions.

    Input `positions`, (count,) float32. Output `frames`, (count, 3, height, width) uint8.
    """
    from onnx import TensorProto, helper

    graph = frame.graph
    shape = [each.dim_value for each in graph.output[0].type.tensor_type.shape.dim][1:]
    first = helper.make_tensor("first_axis", TensorProto.INT64, [1], [0])
    body = helper.make_graph(
        [
            helper.make_node("Unsqueeze", ["one_position", "first_axis"], ["position"]),
            *graph.node,
            helper.make_node("Squeeze", ["rgb", "first_axis"], ["one_frame"]),
        ],
        "frame",
        [helper.make_tensor_value_info("one_position", TensorProto.FLOAT, [])],
        [helper.make_tensor_value_info("one_frame", TensorProto.UINT8, shape)],
    )
    scan = helper.make_node("Scan", ["positions"], ["frames"], body=body, num_scan_inputs=1)
    looped = helper.make_graph(
        [scan],
        "decoder",
        [helper.make_tensor_value_info("positions", TensorProto.FLOAT, ["count"])],
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["count", *shape])],
        [*graph.initializer, first],
    )
    return helper.make_model(looped, opset_imports=frame.opset_import, ir_version=frame.ir_version)


class _FrameDecoder(nn.Module):
    """Frame position (1,) -> frame (1, 3, h, w) uint8."""

    def __init__(self, decoder: VideoRepresentation, size: tuple[int, int] | None) -> None:
        super().__init__()
        self.decoder, self.size = decoder, size

    def forward(self, position: Tensor) -> Tensor:
        return (self.decoder(position, self.size) * 255 + 0.5).to(torch.uint8)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the warnings, the log and the output of the exporter, which prints whole programs when it fails."""
    level, output = logging.root.manager.disable, io.StringIO()
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(output), redirect_stderr(output):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _exact_numbers() -> dict[Any, Callable[..., Any]]:
    """Translations of operations with numbers of Python: those of torch round the numbers to float32.

    The codes of time and position multiply π in float64 by up to 10⁸.
    """
    from onnx import TensorProto, helper
    from onnxscript import opset18

    def constant(number: float, kind: int) -> Any:
        return opset18.Constant(value=helper.make_tensor("number", kind, [], [number]))

    def scalar_tensor(s: float, dtype: int = TensorProto.FLOAT, **_: Any) -> Any:
        return constant(s, dtype)

    def power(self: float, exponent: Any) -> Any:
        exact: Any = opset18.Cast(exponent, to=TensorProto.DOUBLE)
        return opset18.CastLike(opset18.Pow(constant(self, TensorProto.DOUBLE), exact), exponent)

    return {torch.ops.aten.scalar_tensor.default: scalar_tensor, torch.ops.aten.pow.Scalar: power}


def _reason(error: BaseException) -> str:
    """The first line of the error that caused this one."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{str(error).strip().partition(chr(10))[0]:.200}"


def _simplify(model: "Model") -> None:
    """Compute small constants, and use an operator where there is one; tensors of the state dict stay as stored."""
    from onnxscript import optimizer
    from onnxscript.rewriter import pattern

    def is_folded(node: "Node") -> bool | None:
        stored = any(each is not None and (each.name or "").startswith(PREFIX) for each in node.inputs)
        return False if stored else None

    optimizer.optimize_ir(
        model, should_fold=is_folded, input_size_limit=LARGEST_FOLDED, output_size_limit=LARGEST_FOLDED
    )
    rules = [pattern.RewriteRule(each, _as_one_operator) for each in (_shuffle, _shuffle_to_planes)]
    pattern.RewriteRuleSet(rules).apply_to_model(model)
    optimizer.remove_unused_nodes(model)


def _shuffle(op: Any, x: Any, cells: Any, pixels: Any) -> Any:
    """What `nn.upsample.depth_to_space` becomes: its operators cost a third of the time of a frame."""
    split = op.Reshape(op.Transpose(x, perm=[0, 2, 3, 1]), cells, _outputs=["split"])
    joined = op.Reshape(op.Transpose(split, perm=[0, 1, 3, 2, 4, 5]), pixels)
    return op.Transpose(joined, perm=[0, 3, 1, 2])


def _shuffle_to_planes(op: Any, x: Any, cells: Any, pixels: Any) -> Any:
    """The same for RGB."""
    split = op.Reshape(op.Transpose(x, perm=[0, 2, 3, 1]), cells, _outputs=["split"])
    return op.Reshape(op.Transpose(split, perm=[0, 5, 1, 3, 2, 4]), pixels)


def _as_one_operator(op: Any, x: Any, split: Any, **_: Any) -> Any:
    return op.DepthToSpace(x, blocksize=int(split.shape[3]), mode="DCR")


def _without_notes(graph: "ModelProto") -> "ModelProto":
    """The same graph without the exporter's notes, which name files of this machine and are longer than the graph."""
    for node in graph.graph.node:
        for field in ("metadata_props", "doc_string", "name"):
            node.ClearField(field)
    for field in ("value_info", "metadata_props", "doc_string"):
        graph.graph.ClearField(field)
    for value in (*graph.graph.input, *graph.graph.output, *graph.graph.initializer):
        value.ClearField("metadata_props")
        value.ClearField("doc_string")
    graph.ClearField("metadata_props")
    return graph
