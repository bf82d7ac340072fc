"""How much of a video its latents tell: answers from them beside the model's own from the true frames, and floors."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor
from tqdm import tqdm

from lightning_inr.chat.scores import (
    Nearness,
    accuracy,
    chance,
    compare_tokens,
    exact_match,
    token_kl,
    top1_agreement,
)
from lightning_inr.codec import decode, describe
from lightning_inr.data.questions import Question
from lightning_inr.data.source import VideoSource
from lightning_inr.devices import choose_device
from lightning_inr.errors import UserError
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.paths import existing, write_text
from lightning_inr.report.answers import Row, Sample, answers_table, draw_answers
from lightning_inr.report.board import log_answers
from lightning_inr.retrieval.collection import open_original, read_manifest
from lightning_inr.retrieval.gallery import read_model
from lightning_inr.tasks import fit
from lightning_inr.tasks.collect import collect
from lightning_inr.tasks.evaluate import check_same_video
from lightning_inr.tasks.record import provenance
from lightning_inr.tasks.talking import TALKING, UNTRAINED, Listener, Speaker, find_listener
from lightning_inr.teachers.video_llm import Message, VideoLLM

TRUE, OURS = "true frames", "our latents"
ANOTHER = "another video's latents"
ALL = "all"  # kinds of questions together
Given = tuple[Question, str]  # and how it was answered


class Film(NamedTuple):
    """A file, and the video that it was made from."""

    id: str
    path: Path
    open: Callable[[], VideoSource]
    questions: Sequence[Question]


class Answer(NamedTuple):
    """What one way to tell of a video made the model say; `kl` and `top1` are nan where the teacher said nothing."""

    method: str
    text: str
    kl: float  # nats, mean over the tokens of the teacher's answer
    top1: float  # share of those tokens
    exact: bool


class Exchange(NamedTuple):
    """A question, and the answers of every method."""

    question: Question
    answers: Sequence[Answer]


class Told(NamedTuple):
    """A film: its tokens by every method, and the frames that they stand for."""

    speaker: Speaker
    frames: Sequence[Tensor]  # (3, H, W) uint8
    tokens: Mapping[str, Tensor]  # (K, d) each


def run(cfg: DictConfig) -> dict[str, Any]:
    """Measure `bitstream`, `collection`, or the fit of this configuration; result.json, answers.jsonl, answers.png."""
    folder = Path(cfg.run_dir)
    _check(cfg)
    films, about = films_of(cfg)
    listener = find_listener(cfg, [film.path for film in films], sees=True)
    films = those_that_talk(films, listener)
    exchanges: list[Exchange] = []
    nearness: dict[str, list[Nearness]] = {}
    samples: list[Sample] = []
    for place, film in enumerate(tqdm(films, "answers", unit="video", leave=False, disable=None)):
        following = films[(place + 1) % len(films)] if len(films) > 1 else None
        told = tell(film, following, listener, choose_device(cfg.device))
        for method, tokens in told.tokens.items():
            nearness.setdefault(method, []).append(compare_tokens(tokens, told.tokens[TRUE]))
        new = [
            Exchange(question, list(answer(listener.llm, told, question, cfg.answers.most)))
            for question in film.questions
        ]
        samples += [_sample(told, each) for each in new[: -(-cfg.answers.shown // len(films))]]
        exchanges += new
    rows = summarise(exchanges, nearness)
    note = UNTRAINED if listener.llm.untrained else ""
    write_text(
        folder / "answers.jsonl", "".join(json.dumps(_line(each), ensure_ascii=False) + "\n" for each in exchanges)
    )
    draw_answers(samples[: cfg.answers.shown], folder / "answers.png", note)
    result = {**about, "video_llm": listener.llm.name, "note": note, "answers": [_values(row) for row in rows]}
    write_text(folder / "result.json", json.dumps(result, indent=2) + "\n")
    if cfg.logger is not None and "project" in cfg.logger:
        board = instantiate(cfg.logger, save_dir=str(folder)).experiment
        log_answers(board, rows, samples)
        board.finish()
    if len(films) == 1:
        print(f"{ANOTHER}: left out, there is one file; measure a collection=FOLDER")
    print(answers_table(rows) + (f"\n{note}" if note else ""))
    print(f"look at {folder}: answers.png, answers.jsonl, result.json")
    if cfg.answers.identical:
        _check_identical(exchanges)
    return result


def _check_identical(exchanges: Sequence[Exchange]) -> None:
    exact = [found.exact for each in exchanges for found in each.answers if found.method == OURS]
    if not all(exact):
        raise UserError(f"answers.identical: {exact.count(False)} of {len(exact)} answers are not the teacher's own")
    print(f"all {len(exact)} answers from latents are the teacher's own, token by token")


def _check(cfg: DictConfig) -> None:
    if cfg.bitstream is not None and cfg.collection is not None:
        raise UserError("bitstream and collection: give one of them")
    for name, least in (("most", 1), ("shown", 1), ("videos", 1)):
        value = cfg.answers[name]
        if not (isinstance(value, int) and value >= least) and not (value is None and name == "videos"):
            raise UserError(f"answers.{name}={value}: choose a whole number from {least}")
    if cfg.questions is None and not cfg.answers.ask:
        raise UserError("answers.ask: it is empty; list some questions, or choose questions=file")


def films_of(cfg: DictConfig) -> tuple[list[Film], dict[str, Any]]:
    """The files to be measured, those fitted first that are not there yet, and what result.json says of them."""
    opened: list[tuple[str, Path, Callable[[], VideoSource]]]
    folder = _collection(cfg)
    if folder is not None:
        records = read_manifest(folder)[: cfg.answers.videos]
        opened = [(each.id, folder / each.path, partial(open_original, each)) for each in records]
        about = {
            "model": cfg.preset,
            "video": folder.name,
            **provenance(cfg, "file"),
            "videos": len(records),
            "bytes": sum(each.bytes for each in records),
            "bpp": fmean(each.bpp for each in records),
            "psnr": fmean(each.psnr for each in records),
        }
    else:
        about = fit.run(cfg) if cfg.bitstream is None else {}
        path = existing(cfg.bitstream or Path(cfg.run_dir) / "video.linr", "bitstream")
        source: VideoSource = instantiate(cfg.dataset)
        opened = [(source.name, path, lambda: source)]
        if cfg.bitstream is not None:
            described = describe(path.read_bytes())
            figures = {name: described[name] for name in ("model", "bytes", "bpp")}
            about = {"video": source.name, **provenance(cfg, source.matrix), **figures}
    asked: list[Question] | None = None if cfg.questions is None else instantiate(cfg.questions)
    films = [Film(*each, _questions(asked, each[0], each[1], cfg.answers.ask)) for each in opened]
    if not any(film.questions for film in films):
        raise UserError(
            f"questions: none is about {films[0].id}, or another of these videos; ask about them by their id"
        )
    return [film for film in films if film.questions], about


def _collection(cfg: DictConfig) -> Path | None:
    """The folder of files to be measured, filled first if it is this configuration's; None: one file is measured."""
    if cfg.collection is None and cfg.bitstream is None and "listing" in cfg.dataset:
        collect(cfg, Path(cfg.run_dir))
        return Path(cfg.run_dir)
    return None if cfg.collection is None else Path(cfg.collection)


def _questions(asked: Sequence[Question] | None, name: str, path: Path, otherwise: Sequence[str]) -> list[Question]:
    if asked is None:
        return [Question(name, str(text)) for text in otherwise]
    return [question for question in asked if question.video in (name, path.stem)]


def those_that_talk(films: Sequence[Film], listener: Listener) -> list[Film]:
    """Without those that say nothing to this model, which are named; UserError if none is left."""
    found = []
    for film in films:
        try:
            listener.hear(film.path)
        except UserError as error:
            if len(films) == 1:
                raise
            print(f"left out: {film.id}: {error}")
            continue
        found.append(film)
    if not found:
        raise UserError(f"not one of {len(films)} files talks to {listener.llm.name}; align them with task=align")
    return found


@torch.inference_mode()
def tell(film: Film, following: Film | None, listener: Listener, device: torch.device) -> Told:
    """A film by every method: the true frames, our latents, and what shows how much of an answer needs no video."""
    model = read_model(film.path, TALKING)
    speaker = listener.hear_model(film.path, model)
    source = film.open()
    check_same_video(str(film.path), source, speaker.video)
    frames = [source.read(number) for number in speaker.shown]
    true = listener.llm.features(frames, speaker.space)
    painted = list(decode(film.path.read_bytes(), device).render(speaker.shown))
    tokens = {
        TRUE: true,
        OURS: speaker.tokens,
        "decoded frames": listener.llm.features(painted, speaker.space),
        "mean token": true.mean(0).expand_as(true),
        "random latents": listener.hear_model(film.path, scrambled(model)).tokens,
    }
    if following is not None:
        other = listener.hear(following.path).tokens
        if other.shape == true.shape:  # videos of other lengths may be shown as fewer frames
            tokens[ANOTHER] = other
    return Told(speaker, frames, tokens)


def scrambled(model: VideoRepresentation) -> VideoRepresentation:
    """The same model, changed in place: random latents, each dimension with the mean and spread it has over time."""
    groups, state, chance_of = model.coded_groups(), model.state_dict(), torch.Generator().manual_seed(0)
    fresh = {}
    for name in [name for role in ("latents", "embeddings") for name in groups.get(role, ())]:
        noise = torch.randn(state[name].shape, generator=chance_of)
        fresh[name] = state[name].mean(0) + state[name].std(0, correction=0) * noise
    model.load_state_dict(fresh, strict=False, assign=True)
    return model


@torch.inference_mode()
def answer(llm: VideoLLM, told: Told, question: Question, most: int) -> Iterator[Answer]:
    """What `question` is answered by every method, beside the teacher's own greedy answer."""
    prompt = llm.prompt([Message("user", question.text)], told.speaker.space)
    own = llm.answer(prompt, told.tokens[TRUE], most)
    reference = llm.logits(prompt, told.tokens[TRUE], own)
    for method, tokens in told.tokens.items():
        ids = own if method == TRUE else llm.answer(prompt, tokens, most)
        logits = reference if method == TRUE else llm.logits(prompt, tokens, own)
        kl = float(token_kl(reference, logits).mean())
        yield Answer(method, llm.read(ids).strip(), kl, top1_agreement(reference, logits), exact_match(own, ids))


def summarise(exchanges: Sequence[Exchange], nearness: Mapping[str, Sequence[Nearness]]) -> list[Row]:
    """A line a method, means over questions, and over videos where tokens are compared; and one for chance."""
    rows = []
    for method, near in nearness.items():
        given = [(each.question, found) for each in exchanges for found in each.answers if found.method == method]
        figures = {
            "kl": _mean(found.kl for _, found in given),
            "top1": 100 * _mean(found.top1 for _, found in given),
            "exact": 100 * _mean(float(found.exact) for _, found in given),
            **{name: fmean(getattr(each, name) for each in near) for name in Nearness._fields},
        }
        right = by_kind([(question, found.text) for question, found in given], _accuracy)
        rows.append(Row(method, len(given), **figures, accuracy=right))
    lucky = by_kind([(each.question, "") for each in exchanges], _chance)
    return [*rows, Row("most common answer", len(exchanges), accuracy=lucky)] if lucky else rows


def by_kind(given: Sequence[Given], score: Callable[[Sequence[Given]], float]) -> dict[str, float]:
    """Percent of all questions whose truth is known, and of those of each kind."""
    known = [each for each in given if each[0].answer is not None]
    if not known:
        return {}
    kinds = sorted({question.kind for question, _ in known if question.kind})
    return {kind: 100 * score([each for each in known if kind in (ALL, each[0].kind)]) for kind in (ALL, *kinds)}


def _accuracy(given: Sequence[Given]) -> float:
    return accuracy([text for _, text in given], [question.answer or "" for question, _ in given])


def _chance(given: Sequence[Given]) -> float:
    return chance([question.answer or "" for question, _ in given], [question.kind or "" for question, _ in given])


def _mean(values: Iterable[float]) -> float:
    there = [value for value in values if not math.isnan(value)]
    return fmean(there) if there else math.nan


def _sample(told: Told, exchange: Exchange) -> Sample:
    question, answers = exchange
    shown = {each.method: each.text for each in answers if each.method in (TRUE, OURS)}
    truth = {} if question.answer is None else {"truth": question.answer}
    return Sample(question.video, question.text, told.frames, shown | truth)


def _line(exchange: Exchange) -> dict[str, Any]:
    """A line of answers.jsonl."""
    question, answers = exchange
    truth = {} if question.answer is None else {"truth": question.answer}
    kind = {} if question.kind is None else {"kind": question.kind}
    said = {each.method: each.text for each in answers}
    return {"id": question.video, "question": question.text, **truth, **kind, "answers": said}


def _values(row: Row) -> dict[str, Any]:
    """A row for JSON, which knows no nan."""
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row._asdict().items()
    }
