"""Loads models of transformers from disk or the hub to a device: with all weights, frozen, without remote code."""

import importlib.util
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.utils import logging as hub_logging
from transformers.utils import logging as transformers_logging

from lightning_inr.devices import choose_device
from lightning_inr.errors import UserError
from lightning_inr.teachers.load_options import LoadOptions

MOST_NUMBERS_A_BYTE = 2  # of weights with 4 bits each


def placing(load: LoadOptions) -> dict[str, Any]:
    """Arguments of `from_pretrained` for placement and precision, or `device` if `load_whole` moves the model."""
    bits, device_map = load.bits, load.device_map
    if bits and importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(f"video_llm.bits={bits}: needs bitsandbytes; pip install bitsandbytes accelerate, or set null")
    if (bits or device_map) and importlib.util.find_spec("accelerate") is None:
        raise UserError(f"video_llm.device_map={device_map}: needs accelerate; pip install accelerate, or set null")
    chosen = choose_device(load.device)
    if not (bits or device_map):
        return {"dtype": load.dtype, "device": chosen}
    placed: dict[str, Any] = {"dtype": load.dtype, "device_map": device_map or {"": chosen}}
    if bits:
        shrunk = {"load_in_4bit": bits == 4, "load_in_8bit": bits == 8}
        placed["quantization_config"] = transformers.BitsAndBytesConfig(**shrunk)
    return placed


def load_whole(
    option: str, model: str, head: Any, config: Any, weights: Mapping[str, Path], placed: Mapping[str, Any]
) -> Any:
    """Load the class `head` with all its weights, frozen; UserError if weights that `config` needs are missing.

    `weights` is the result of `find_weights`, `placed` that of `placing`, and `option` the option that names `model`.
    Damaged weights raise the errors of transformers, of many types.
    """
    _check_size(option, model, head, config, weights)
    device, how = placed.get("device"), {key: value for key, value in placed.items() if key != "device"}
    loaded, info = head.from_pretrained(
        model, config=config, use_safetensors=True, trust_remote_code=False, output_loading_info=True, **how
    )
    lacking = sorted(info["missing_keys"]) + sorted(map(str, info.get("mismatched_keys", ())))
    if lacking:
        raise UserError(f"{option}={model}: the weights lack {lacking[0]}; {remedy(model)}")
    loaded = loaded.eval().requires_grad_(False)
    return loaded if device is None else loaded.to(device)


def remedy(model: str) -> str:
    """The part of a message with how to get a missing `model`."""
    return f"get it with `hf download {model}`, or name a folder that contains it"


def reason(error: Exception) -> str:
    """The first line of the error's message, or its type if there is no message."""
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__


def greedy(model: Any) -> Any:
    """The model's generation config, changed to greedy decoding; arguments of `generate` override it."""
    config = deepcopy(model.generation_config)
    config.do_sample, config.num_beams = False, 1
    config.temperature = config.top_p = config.top_k = None
    if config.pad_token_id is None:
        ends = config.eos_token_id
        config.pad_token_id = ends[0] if isinstance(ends, list) else ends
    return config


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the logs and progress bars of transformers and the hub.

    Otherwise transformers warns of the weights of a vision tower that is not loaded on purpose, and the hub logs each
    attempt to connect.
    """
    before, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    hub = hub_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.CRITICAL)
    hub_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(before)
        hub_logging.set_verbosity(hub)
        if bars:
            transformers_logging.enable_progress_bar()


def _check_size(option: str, model: str, head: Any, config: Any, weights: Mapping[str, Path]) -> None:
    """UserError if the config describes more numbers than the weight files can hold."""
    with torch.device("meta"):  # takes no memory
        numbers = sum(parameter.numel() for parameter in head(config).parameters())
    there = sum(file.stat().st_size for file in set(weights.values()))
    if numbers > MOST_NUMBERS_A_BYTE * there:
        raise UserError(
            f"{option}={model}: its config describes {numbers} numbers, but the weights beside it are missing "
            f"or cut ({there} bytes); {remedy(model)}"
        )
