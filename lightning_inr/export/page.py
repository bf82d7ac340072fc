"""One HTML page that holds the network of a file and onnxruntime-web, and plays the video without loading anything."""

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_inr.codec import Entry, read_coded
from lightning_inr.codec.codec import CodedTensor
from lightning_inr.export.decoder import PREFIX, decoder_graph
from lightning_inr.export.runtime import VERSION, WebRuntime
from lightning_inr.export.weights import pack_bytes, pack_floats, pack_payload, pack_tensor
from lightning_inr.models.base import VideoRepresentation

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

SOURCES = Path(__file__).parent
SCALES = (1, 2)  # of the video's size, at which a page renders
LEAST_SHARED = 64  # numbers of a constant that all graphs of a page share
LARGEST_SCALED = 2**21  # pixels; larger frames are rendered at the video's size only


def player_page(name: str, data: bytes, model: VideoRepresentation, runtime: WebRuntime) -> str:
    """The page of a file `name` that holds `data` and decodes to `model`; UserError if ONNX cannot express it."""
    video = model.video
    scales = [each for each in SCALES if each == 1 or each**2 * video.height * video.width <= LARGEST_SCALED]
    style, script, worker, notice = (_source(file) for file in ("player.css", "player.js", "worker.js", "notice.txt"))
    values = {
        "policy": _policy(style, script),
        "title": html.escape(name),
        "style": style,
        "script": script,
        "worker": worker,
        "notice": notice,
        "width": str(video.width),
        "height": str(video.height),
        "last": str(video.frames - 1),
        "scales": "".join(
            f'<option value="{scale}">{scale * video.width} &times; {scale * video.height}</option>' for scale in scales
        ),
        "facts": _facts(data, model),
        "video": _json({**video._asdict(), "webgpu": runtime.webgpu}),
        "payload": _text(network_payload(data, model, scales)),
        "module": _text(runtime.module),
        "wasm": _text(runtime.wasm),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], _source("player.html"))


def network_payload(data: bytes, model: VideoRepresentation, scales: Sequence[int] = SCALES) -> bytes:
    """The graph at each of `scales` times the video's size, and the tensors that they share (`export.weights`)."""
    height, width = model.video.height, model.video.width
    graphs = [decoder_graph(model, None if scale == 1 else (scale * height, scale * width)) for scale in scales]
    weights = _SharedWeights(read_coded(data))
    parts = [pack_bytes(weights.taken_from(graph).SerializeToString()) for graph in graphs]
    return pack_payload({"scales": scales, "tensors": weights.descriptions}, parts + weights.parts)


class _SharedWeights:
    """The tensors of a page's graphs, one after the other as float32 in a file `weights` that only the page has."""

    def __init__(self, coded: Sequence[tuple[Entry, CodedTensor]]) -> None:
        self.descriptions: list[dict[str, Any]] = []
        self.parts: list[bytes] = []
        self._coded = {PREFIX + entry.name: (entry, tensor) for entry, tensor in coded}
        self._starts: dict[str | bytes, int] = {}  # by name, or by content if the tensor is not of the file
        self._end = 0  # bytes so far

    def taken_from(self, graph: "ModelProto") -> "ModelProto":
        """The graph without the values of its tensors, but with their places in `weights`; small constants stay."""
        from onnx import TensorProto

        for tensor in graph.graph.initializer:
            stored = tensor.name in self._coded
            if not stored and (tensor.data_type != TensorProto.FLOAT or math.prod(tensor.dims) < LEAST_SHARED):
                continue
            start = self._start_of(tensor.name if stored else None, tensor)
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in {"location": "weights", "offset": start, "length": 4 * math.prod(tensor.dims)}.items():
                tensor.external_data.add(key=key, value=str(value))
        return graph

    def _start_of(self, name: str | None, tensor: "TensorProto") -> int:
        from onnx.numpy_helper import to_array

        key = tensor.raw_data if name is None else name
        if key not in self._starts:
            description, packed = pack_floats(to_array(tensor)) if name is None else pack_tensor(*self._coded[name])
            assert tuple(tensor.dims) == tuple(description["shape"])
            self.descriptions.append(description)
            self.parts += packed
            self._starts[key] = self._end
            self._end += 4 * math.prod(tensor.dims)
        return self._starts[key]


def _policy(style: str, script: str) -> str:
    """A content security policy: the page's own style and script, blobs made by it, and nothing from elsewhere."""
    style_hash, script_hash = (
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in (style, script)
    )
    return (
        f"default-src 'none'; style-src {style_hash}; script-src {script_hash} 'wasm-unsafe-eval' blob:; "
        f"worker-src blob:; img-src data:; base-uri 'none'; form-action 'none'"
    )


def _facts(data: bytes, model: VideoRepresentation) -> str:
    video = model.video
    facts = {
        "Model": type(model).__name__,
        "Video": f"{video.frames} frames of {video.width} by {video.height}, {video.fps:g} frames/s",
        "File": f"{len(data):,} bytes",
        "Runtime": f"onnxruntime-web {VERSION}",
    }
    return "".join(f"<dt>{html.escape(term)}</dt><dd>{html.escape(fact)}</dd>" for term, fact in facts.items())


def _source(name: str) -> str:
    return (SOURCES / name).read_text(encoding="utf-8")


def _json(values: Mapping[str, Any]) -> str:
    """JSON that can stand in a script element."""
    return json.dumps(values).replace("<", "\\u003c")


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
