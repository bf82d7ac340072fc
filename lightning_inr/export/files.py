"""A `.linr` file as an ONNX decoder, or as a page that plays it in a browser."""

import os
from pathlib import Path
from typing import NamedTuple

from lightning_inr.codec import decode
from lightning_inr.errors import UserError
from lightning_inr.export.decoder import LARGEST_GRAPH, decoder_graph, over_positions
from lightning_inr.export.page import player_page
from lightning_inr.export.runtime import web_runtime
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.paths import read_bytes, write_bytes

Pathlike = str | os.PathLike[str]


class ExportedFile(NamedTuple):
    """A file that was written."""

    path: Path
    bytes: int
    runtime_bytes: int  # of these, those of onnxruntime-web; 0 for an ONNX file


def export_file(bitstream: Pathlike, out: Pathlike, *, webgpu: bool = False) -> ExportedFile:
    """Write the `.linr` file `bitstream` as a page (`out` ends in .html) or as an ONNX decoder (.onnx).

    `webgpu` is of a page alone, see `export_page`. UserError for another suffix, a damaged file, a model that ONNX
    cannot express, a missing package, or a runtime that cannot be fetched.
    """
    suffix = Path(out).suffix.lower()
    if suffix == ".html":
        return export_page(bitstream, out, webgpu=webgpu)
    if suffix == ".onnx":
        return export_onnx(bitstream, out)
    raise UserError(f"out={out}: choose a name that ends in .html (a page) or .onnx (a decoder)")


def export_onnx(bitstream: Pathlike, out: Pathlike) -> ExportedFile:
    """Write the decoder of a `.linr` file as ONNX, weights included: from float positions to frames of its size.

    Input `positions`, (count,) float32. Output `frames`, (count, 3, height, width) uint8, RGB. The operators are those
    of ONNX, opset 18. UserError as for `export_file`.
    """
    model, _ = _open(bitstream)
    graph = over_positions(decoder_graph(model))
    graph.producer_name = "lightning_inr"
    for key, value in model.video._asdict().items():
        graph.metadata_props.add(key=key, value=str(value))
    if graph.ByteSize() > LARGEST_GRAPH:
        raise UserError(f"bitstream={bitstream}: its network is too large for one ONNX file; use task=decode instead")
    return _written(out, graph.SerializeToString())


def export_page(bitstream: Pathlike, out: Pathlike, *, webgpu: bool = False) -> ExportedFile:
    """Write one HTML page that decodes and plays a `.linr` file in a browser and loads nothing from elsewhere.

    The network runs on WebAssembly. `webgpu` adds a build of the runtime that uses WebGPU where there is one; the page
    is 4 MB larger. The runtime is fetched from the npm registry once. UserError as for `export_file`.
    """
    model, data = _open(bitstream)
    runtime = web_runtime(webgpu)
    page = player_page(Path(bitstream).name, data, model, runtime)
    return _written(out, page.encode(), runtime.embedded_bytes)


def _open(bitstream: Pathlike) -> tuple[VideoRepresentation, bytes]:
    data = read_bytes(bitstream, "bitstream")
    return decode(data), data


def _written(out: Pathlike, content: bytes, runtime_bytes: int = 0) -> ExportedFile:
    write_bytes(out, content)
    return ExportedFile(Path(out).expanduser(), len(content), runtime_bytes)
