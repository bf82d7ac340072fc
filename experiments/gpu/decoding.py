"""Frames a second of a file, with CUDA graphs and without, beside what the device allows.

    python experiments/gpu/decoding.py FILE.linr [--seconds 3]

Two bounds, from rates measured on the device by a large copy and a large product in bfloat16: all multiply-adds of a
frame at the rate of the product; and the input and output of every operation at that of the copy.
"""

import argparse
import copy
import json
import time
from collections import deque
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lightning_inr import cuda_graphs
from lightning_inr.codec import decode, frame_cost
from lightning_inr.devices import choose_device
from lightning_inr.models.base import VideoRepresentation


class Traffic(TorchDispatchMode):
    """Counts the bytes of the tensors that operations read and write; views move none."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [each for each in tree_leaves((args, kwargs, result)) if isinstance(each, Tensor)]
            self.bytes += sum(each.numel() * each.element_size() for each in tensors)
        return result


def milliseconds(call: Any, repeats: int = 20) -> float:
    """Of a call on the device, a mean."""
    call()
    synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    synchronize()
    return 1e3 * (time.perf_counter() - start) / repeats


def synchronize() -> None:
    """Wait for the device, if it is a GPU."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def rates(device: torch.device) -> tuple[float, float]:
    """Bytes per second of a copy, read and written; multiply-adds per second of a product in bfloat16."""
    size = 8192 if device.type == "cuda" else 512
    source = torch.randn(size, size, device=device)
    target = torch.empty_like(source)
    product = source.to(torch.bfloat16)
    copied = 2 * 4 * size**2 / milliseconds(lambda: target.copy_(source)) * 1e3
    return copied, size**3 / milliseconds(lambda: product @ product) * 1e3


def frames_per_second(model: VideoRepresentation, seconds: float) -> float:
    """Of rendering all frames in order, to memory of the host."""
    deque(model.render(range(model.video.frames)), maxlen=0)
    start, frames = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        deque(model.render(range(model.video.frames)), maxlen=0)
        frames += model.video.frames
    return frames / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    device = choose_device("auto")
    model = decode(arguments.file.read_bytes()).to(device).eval()
    found = {"graphs": frames_per_second(model, arguments.seconds)}
    cuda_graphs.MOST_CAPTURES = 0
    found["without"] = frames_per_second(model, arguments.seconds)
    index = torch.zeros(1, device=device)
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
        shared = model.prepare()
        model.prepare_batch(shared, [0.0])
        found["forward_ms"] = milliseconds(lambda: model(index, prepared=shared))
        with Traffic() as traffic:
            model(index, prepared=shared)
    copied, product = rates(device)
    cost = frame_cost(copy.deepcopy(model).to("meta"))
    found |= {"copy_tb_s": copied / 1e12, "product_tmac_s": product / 1e12, "traffic_mb": traffic.bytes / 1e6}
    found |= {"traffic_ms": 1e3 * traffic.bytes / copied, "product_ms": 1e3 * cost.multiply_adds / product}
    print(json.dumps({name: round(value, 3) for name, value in found.items()}))


if __name__ == "__main__":
    main()
