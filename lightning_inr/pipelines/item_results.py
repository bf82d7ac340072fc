"""The answers about an item, stored per item, so that an interrupted evaluation is resumed."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

import torch

from lightning_inr.chat.scores import TokenDistances, compare_tokens
from lightning_inr.data.captioned.questions import Question
from lightning_inr.paths import write_text
from lightning_inr.pipelines.chat_backend import ChatBackend
from lightning_inr.pipelines.chat_items import EvaluationItem
from lightning_inr.pipelines.token_sources import (
    TRUE_FRAMES,
    Answer,
    Exchange,
    answers_by_source,
    collect_token_sources,
)
from lightning_inr.storage import file_stamp

FIELDS = ("exchanges", "nearness", "shown")  # of a stored result; `ItemResult` has them in this order


class ItemResult(NamedTuple):
    """The exchanges about one item, and the distances of its tokens to the teacher's."""

    exchanges: Sequence[Exchange]
    token_distances: Mapping[str, TokenDistances]  # by method
    frame_numbers: Sequence[int]  # of the sampled frames


def evaluate_item(
    item: EvaluationItem,
    next_item: EvaluationItem | None,
    backend: ChatBackend,
    max_new_tokens: int,
    device: torch.device,
    folder: Path,
) -> ItemResult:
    """Answer the item's questions from every source of tokens; a result stored in `folder` is reused."""
    file, key = folder / f"{PurePath(item.path).stem}.json", _key(item, next_item, backend, max_new_tokens)
    stored = _load(file, key)
    if stored is not None:
        return stored
    sources = collect_token_sources(item, next_item, backend, device)
    result = ItemResult(
        [
            Exchange(each, list(answers_by_source(backend.llm, sources, each, max_new_tokens)))
            for each in item.questions
        ],
        {method: compare_tokens(tokens, sources.tokens[TRUE_FRAMES]) for method, tokens in sources.tokens.items()},
        sources.file_tokens.frame_numbers,
    )
    write_text(file, json.dumps(dict(zip(("key", *FIELDS), (key, *result), strict=True))))
    return result


def _key(item: EvaluationItem, next_item: EvaluationItem | None, backend: ChatBackend, max_new_tokens: int) -> str:
    """A digest of everything that the answers depend on."""
    files = [file_stamp(each.path) for each in (item, next_item) if each is not None]
    weights = [] if backend.shared is None else backend.shared.network.state_dict().values()
    parts = (
        backend.llm.fingerprint,
        backend.llm.vision_fingerprint,
        [float(tensor.double().sum()) for tensor in weights],
        files,
        max_new_tokens,
        item.questions,
    )
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()


def _load(file: Path, key: str) -> ItemResult | None:
    try:
        state = json.loads(file.read_text())
        if state["key"] != key:
            return None
        exchanges = [
            Exchange(Question(*question), [Answer(*each) for each in answers])
            for question, answers in state["exchanges"]
        ]
        return ItemResult(
            exchanges, {name: TokenDistances(*each) for name, each in state["nearness"].items()}, state["shown"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
