"""The answers about an item, written item by item: an evaluation that was killed is resumed."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from lightning_inr.chat.scores import Nearness, compare_tokens
from lightning_inr.data.captioned.questions import Question
from lightning_inr.paths import write_text
from lightning_inr.pipelines.chat_backend import ChatBackend
from lightning_inr.pipelines.chat_items import EvaluationItem
from lightning_inr.pipelines.token_sources import TRUE, Answer, Exchange, answers_by_source, collect_token_sources


class ItemResult(NamedTuple):
    """The exchanges about one item, and how near its tokens are to the teacher's."""

    exchanges: Sequence[Exchange]
    nearness: Mapping[str, Nearness]  # method -> of its tokens to the teacher's
    shown: Sequence[int]  # numbers of the frames


def evaluate_item(
    item: EvaluationItem,
    following: EvaluationItem | None,
    backend: ChatBackend,
    max_new_tokens: int,
    device: torch.device,
    folder: Path,
) -> ItemResult:
    """Ask the item's questions for every source of tokens; results that are in `folder` already are read from there."""
    kept, key = folder / f"{item.path.stem}.json", _key(item, following, backend, max_new_tokens)
    before = _load(kept, key)
    if before is not None:
        return before
    sources = collect_token_sources(item, following, backend, device)
    result = ItemResult(
        [
            Exchange(each, list(answers_by_source(backend.llm, sources, each, max_new_tokens)))
            for each in item.questions
        ],
        {method: compare_tokens(tokens, sources.tokens[TRUE]) for method, tokens in sources.tokens.items()},
        sources.file_tokens.shown,
    )
    write_text(kept, json.dumps({"key": key, **result._asdict()}))
    return result


def _key(item: EvaluationItem, following: EvaluationItem | None, backend: ChatBackend, max_new_tokens: int) -> str:
    """A digest of all that the answers depend on."""
    files = [each.path.stat() for each in (item, following) if each is not None]
    weights = [] if backend.shared is None else backend.shared.network.state_dict().values()
    parts = (
        backend.llm.fingerprint,
        backend.llm.vision_fingerprint,
        [float(tensor.double().sum()) for tensor in weights],
        [(file.st_size, file.st_mtime_ns) for file in files],
        max_new_tokens,
        item.questions,
    )
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()


def _load(kept: Path, key: str) -> ItemResult | None:
    try:
        state = json.loads(kept.read_text())
        if state["key"] != key:
            return None
        exchanges = [
            Exchange(Question(*asked), [Answer(*each) for each in given]) for asked, given in state["exchanges"]
        ]
        return ItemResult(
            exchanges, {name: Nearness(*each) for name, each in state["nearness"].items()}, state["shown"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
