"""Evaluation of answers from latents, against the model's own answers from the true frames, and baselines."""

import json
import math
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from lightning_inr.chat.scores import TokenDistances, accuracy, chance
from lightning_inr.data.captioned.questions import Question
from lightning_inr.devices import choose_device
from lightning_inr.errors import UserError
from lightning_inr.paths import write_text
from lightning_inr.pipelines.chat_backend import UNTRAINED, BackendOptions, find_backend
from lightning_inr.pipelines.chat_items import EvaluationItem, items_with_tokens
from lightning_inr.pipelines.item_results import ItemResult, evaluate_item
from lightning_inr.pipelines.token_sources import OTHER_LATENTS, OUR_LATENTS, TRUE_FRAMES, Exchange
from lightning_inr.progress import ProgressBar
from lightning_inr.report.answers import AnswerRow, AnswerSample, answers_table, draw_answers
from lightning_inr.report.wandb_report import log_answers

ALL_KINDS = "all"  # key of the accuracy over questions of all kinds
AnsweredQuestion = tuple[Question, str]  # the question and the answer


@dataclass(frozen=True)
class ChatEvaluationOptions:
    """Options of a chat evaluation: the model, the length of answers, and what is written."""

    backend: BackendOptions
    max_new_tokens: int = 48
    shown: int = 4  # questions in answers.png
    identical: bool = False  # UserError if an answer from latents is not the teacher's own
    open_wandb: Callable[[Path], Any] | None = None  # opens a W&B run in a folder

    def __post_init__(self) -> None:
        for name in ("max_new_tokens", "shown"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise UserError(f"answers.{name}={value}: choose a whole number from 1")


def evaluate_chat(
    items: Sequence[EvaluationItem], about: Mapping[str, Any], folder: Path, options: ChatEvaluationOptions
) -> dict[str, Any]:
    """Measure the items; result.json, with `about` in it, answers.jsonl and answers.png go to `folder`."""
    backend = find_backend(options.backend, [item.path for item in items], load_vision=True)
    items = items_with_tokens(items, backend)
    parts, device = folder / "item_results", choose_device(options.backend.device)
    results: list[tuple[EvaluationItem, ItemResult]] = []
    for number, item in enumerate(ProgressBar(items, "answers", unit="video", leave=False, disable=None)):
        next_item = items[(number + 1) % len(items)] if len(items) > 1 else None
        results.append((item, evaluate_item(item, next_item, backend, options.max_new_tokens, device, parts)))
    exchanges = [exchange for _, each in results for exchange in each.exchanges]
    samples = choose_samples(results, options.shown)
    rows = summarize_answers(exchanges, [each.token_distances for _, each in results])
    note = UNTRAINED if backend.llm.untrained else ""
    write_text(
        folder / "answers.jsonl", "".join(json.dumps(_line(each), ensure_ascii=False) + "\n" for each in exchanges)
    )
    draw_answers(samples, folder / "answers.png", note)
    result = {**about, "video_llm": backend.llm.name, "note": note, "answers": [_values(row) for row in rows]}
    write_text(folder / "result.json", json.dumps(result, indent=2) + "\n")
    if options.open_wandb is not None:
        run = options.open_wandb(folder)
        log_answers(run, rows, samples)
        run.finish()
    shutil.rmtree(parts)
    if len(items) == 1:
        print(f"{OTHER_LATENTS}: left out, as there is only one file; measure a collection=FOLDER")
    print(answers_table(rows) + (f"\n{note}" if note else ""))
    print(f"look at {folder}: answers.png, answers.jsonl, result.json")
    if options.identical:
        _check_identical(exchanges)
    return result


def _check_identical(exchanges: Sequence[Exchange]) -> None:
    exact = [found.exact for each in exchanges for found in each.answers if found.method == OUR_LATENTS]
    if not all(exact):
        raise UserError(f"answers.identical: {exact.count(False)} of {len(exact)} answers are not the teacher's own")
    print(f"all {len(exact)} answers from latents are the teacher's own, token by token")


def summarize_answers(
    exchanges: Sequence[Exchange], token_distances: Sequence[Mapping[str, TokenDistances]]
) -> list[AnswerRow]:
    """A row per method, with means over questions (over videos for token distances), and one for the chance level."""
    rows = []
    for method in dict.fromkeys(method for each in token_distances for method in each):
        distances = [each[method] for each in token_distances if method in each]
        given = [(each.question, found) for each in exchanges for found in each.answers if found.method == method]
        figures = {
            "kl": _mean(found.kl for _, found in given),
            "top1": 100 * _mean(found.top1 for _, found in given),
            "exact": 100 * _mean(float(found.exact) for _, found in given),
            **{name: fmean(getattr(each, name) for each in distances) for name in TokenDistances._fields},
        }
        percent_correct = by_kind([(question, found.text) for question, found in given], _accuracy)
        rows.append(AnswerRow(method, len(given), **figures, accuracy=percent_correct))
    chance_level = by_kind([(each.question, "") for each in exchanges], _chance)
    return [*rows, AnswerRow("most common answer", len(exchanges), accuracy=chance_level)] if chance_level else rows


def by_kind(
    given: Sequence[AnsweredQuestion], score: Callable[[Sequence[AnsweredQuestion]], float]
) -> dict[str, float]:
    """`score` in percent over the questions with a ground truth, in total and per kind."""
    with_truth = [each for each in given if each[0].answer is not None]
    if not with_truth:
        return {}
    kinds = sorted({question.kind for question, _ in with_truth if question.kind})
    return {
        kind: 100 * score([each for each in with_truth if kind in (ALL_KINDS, each[0].kind)])
        for kind in (ALL_KINDS, *kinds)
    }


def _accuracy(given: Sequence[AnsweredQuestion]) -> float:
    return accuracy([text for _, text in given], [question.answer or "" for question, _ in given])


def _chance(given: Sequence[AnsweredQuestion]) -> float:
    return chance([question.answer or "" for question, _ in given], [question.kind or "" for question, _ in given])


def _mean(values: Iterable[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return fmean(defined) if defined else math.nan


def choose_samples(results: Sequence[tuple[EvaluationItem, ItemResult]], count: int) -> list[AnswerSample]:
    """`count` exchanges, over as many items and questions as possible, with the frames that the model gets."""
    samples = []
    for number in range(count):
        turn, index = divmod(number, len(results))
        item, (exchanges, _, frame_numbers) = results[index]
        if turn < len(exchanges):
            question, answers = exchanges[(index + turn) % len(exchanges)]
            texts = {each.method: each.text for each in answers if each.method in (TRUE_FRAMES, OUR_LATENTS)}
            truth = {} if question.answer is None else {"truth": question.answer}
            with item.open() as source:
                frames = [source.read(each) for each in frame_numbers]
            samples.append(AnswerSample(question.video, question.text, frames, texts | truth))
    return samples


def _line(exchange: Exchange) -> dict[str, Any]:
    """A line of answers.jsonl."""
    question, answers = exchange
    truth = {} if question.answer is None else {"truth": question.answer}
    kind = {} if question.kind is None else {"kind": question.kind}
    texts = {each.method: each.text for each in answers}
    return {"id": question.video, "question": question.text, **truth, **kind, "answers": texts}


def _values(row: AnswerRow) -> dict[str, Any]:
    """A row for JSON, which has no nan."""
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row._asdict().items()
    }
