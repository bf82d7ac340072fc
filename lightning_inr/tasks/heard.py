"""What a film made a video language model say, kept film by film: a measuring that was killed goes on where it was."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from lightning_inr.chat.scores import Nearness, compare_tokens
from lightning_inr.data.questions import Question
from lightning_inr.paths import write_text
from lightning_inr.tasks.films import Film
from lightning_inr.tasks.talking import Listener
from lightning_inr.tasks.told import TRUE, Answer, Exchange, answer, tell


class Heard(NamedTuple):
    """All that a film made the model say."""

    exchanges: Sequence[Exchange]
    nearness: Mapping[str, Nearness]  # method -> of its tokens to the teacher's
    shown: Sequence[int]  # numbers of the frames


def hear(
    film: Film, following: Film | None, listener: Listener, most: int, device: torch.device, folder: Path
) -> Heard:
    """Tell the film in every way and ask its questions; what the same run has heard before is read from `folder`."""
    kept, key = folder / f"{film.path.stem}.json", _key(film, following, listener, most)
    before = _load(kept, key)
    if before is not None:
        return before
    told = tell(film, following, listener, device)
    heard = Heard(
        [Exchange(each, list(answer(listener.llm, told, each, most))) for each in film.questions],
        {method: compare_tokens(tokens, told.tokens[TRUE]) for method, tokens in told.tokens.items()},
        told.speaker.shown,
    )
    write_text(kept, json.dumps({"key": key, **heard._asdict()}))
    return heard


def _key(film: Film, following: Film | None, listener: Listener, most: int) -> str:
    """Of all that decides what is said."""
    files = [each.path.stat() for each in (film, following) if each is not None]
    weights = [] if listener.shared is None else listener.shared.network.state_dict().values()
    told = (
        listener.llm.fingerprint,
        listener.llm.tower,
        [float(tensor.double().sum()) for tensor in weights],
        [(file.st_size, file.st_mtime_ns) for file in files],
        most,
        film.questions,
    )
    return hashlib.blake2b(repr(told).encode(), digest_size=16).hexdigest()


def _load(kept: Path, key: str) -> Heard | None:
    try:
        state = json.loads(kept.read_text())
        if state["key"] != key:
            return None
        exchanges = [Exchange(Question(*asked), [Answer(*each) for each in said]) for asked, said in state["exchanges"]]
        return Heard(exchanges, {name: Nearness(*each) for name, each in state["nearness"].items()}, state["shown"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
