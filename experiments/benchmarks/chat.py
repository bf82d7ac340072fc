"""Time to the first word of an answer: from a file's latents, and from an equally long prompt of text.

    python experiments/benchmarks/chat.py [frames=2]

LLaVA-OneVision at its published 0.5 B size but for a vocabulary of bytes, with random weights, which change no time.
Its vision tower is on disk and must not be read. Counted from the question on: opening the file, its latents and
their projection, prompt and first token; not counted: imports and loading the model.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from statistics import median

import torch

from lightning_inr.chat.projector import read_tokens
from lightning_inr.codec import Codec
from lightning_inr.models import build
from lightning_inr.retrieval.gallery import SEMANTIC_ROLES, read_model
from lightning_inr.teachers.catalogue import load_video_llm
from lightning_inr.teachers.tiny.video_llm import write_small
from lightning_inr.teachers.video_llm.interface import Message
from lightning_inr.teachers.video_llm.transformers_llm import TransformersLLM
from lightning_inr.types import VideoShape

QUESTION = "What happens?"
TURNS = 7
PUBLISHED = {
    "text_config": {
        "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
        "num_key_value_heads": 2,
    },
    "vision_config": {
        "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 26, "num_attention_heads": 16,
        "image_size": 384, "patch_size": 14,
    },
}  # fmt: skip


def main() -> None:
    """Print both times, their ratio, and the memory."""
    frames = int(sys.argv[1].removeprefix("frames=")) if len(sys.argv) > 1 else 2
    with tempfile.TemporaryDirectory() as name:
        folder, file = write_small(Path(name) / "model", "llava_onevision", PUBLISHED), Path(name) / "video.linr"
        llm = load_video_llm(str(folder), load_vision=False, frames=frames, device="cpu")
        assert isinstance(llm, TransformersLLM)
        net = build("latent_inr", VideoShape(132, 180, 320, 25.0), latent_dim=512)
        net.attach_projector(llm.token_space(net.video))
        file.write_bytes(Codec().encode(net))
        prompt = llm.prompt([Message("user", QUESTION)], net.token_space)
        filler = "." * (prompt.length - llm.prompt([Message("user", "")], None).length)  # a byte is a token
        text = llm.prompt([Message("user", filler)], None)
        assert text.length == prompt.length

        def from_latents() -> Generator[str, None, None]:
            space, tokens = read_tokens(read_model(file, (*SEMANTIC_ROLES, "projector")), llm)
            return llm.generate(llm.prompt([Message("user", QUESTION)], space), tokens, max_new_tokens=8)

        methods = {
            "latents": from_latents,
            "text": lambda: llm.generate(llm.prompt([Message("user", filler)], None), None, max_new_tokens=8),
        }
        seconds: dict[str, list[float]] = {method: [] for method in methods}
        for _ in range(TURNS):
            for method, generate in methods.items():
                seconds[method].append(first_piece(generate))
        found = {method: median(each[1:]) for method, each in seconds.items()}
        print(f"{prompt.length} tokens, {len(llm.prompt([Message('user', QUESTION)], None).ids[0])} of them words")
        print(", ".join(f"{method}: {each:.3f} s" for method, each in found.items()))
        print(f"ratio {found['latents'] / found['text']:.3f}")
        print(f"language model {size(llm) / 2**20:.0f} MiB, vision tower {tower(llm) / 2**20:.0f} MiB")


def first_piece(generate: Callable[[], Generator[str, None, None]]) -> float:
    """Seconds until the first piece of the answer."""
    start = time.perf_counter()
    with closing(generate()) as answer:
        next(answer, None)
        return time.perf_counter() - start


def size(llm: TransformersLLM) -> int:
    """Bytes of all weights in memory."""
    return sum(tensor.nbytes for tensor in llm.model.state_dict().values() if not tensor.is_meta)


def tower(llm: TransformersLLM) -> int:
    """Bytes of the weights that only pixels need."""
    state = llm.model.state_dict().items()
    return sum(tensor.nbytes for name, tensor in state if "vision" in name or "multi_modal" in name)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
