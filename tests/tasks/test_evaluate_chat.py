"""Evaluation of answers from latents, with those from true frames and baselines."""

import json
import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_inr.chat.scores import TokenDistances
from lightning_inr.codec import Codec, decode
from lightning_inr.data.captioned.questions import Question
from lightning_inr.data.sources.file import open_video
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.pipelines import item_results
from lightning_inr.pipelines.chat_evaluation import choose_samples, summarize_answers
from lightning_inr.pipelines.chat_items import EvaluationItem
from lightning_inr.pipelines.token_sources import (
    Answer,
    Exchange,
    TokenSources,
    collect_token_sources,
    with_random_latents,
)
from lightning_inr.teachers.video_llm.interface import VideoLLM
from lightning_inr.types import VideoShape
from tests.conftest import Outcome, moving_square, small_model, write_images
from tests.pictures import visible_share
from tests.tasks.conftest import aligned_model, in_memory

Cli = Callable[..., Outcome]
SOURCE = ["dataset=file", "dataset.path=images"]
MEASURE = ["task=evaluate_chat", "run_dir=out", "answers.max_new_tokens=4", "answers.ask=[What happens?]"]
SHAPE = VideoShape(6, 48, 64, 25.0)


def exact_model(llm: VideoLLM) -> VideoRepresentation:
    """A model whose tokens are those of `llm` for the moving square, up to rounding."""
    net = small_model(video=SHAPE)
    space = llm.token_space(SHAPE)
    net.attach_projector(space)
    assert net.projector is not None
    video = moving_square()
    target = llm.features([video[number] for number in SHAPE.spread(space.sampling.frames)], space)
    with torch.no_grad():
        for parameter in net.projector.parameters():
            parameter.zero_()
        net.projector.linear.bias.copy_(target.mean(0))
    return net


def by_method(path: str = "out/result.json") -> dict[str, dict[str, Any]]:
    return {row["method"]: row for row in json.loads(Path(path).read_text())["answers"]}


def test_a_file_is_measured_beside_its_source(cli: Cli, llm: VideoLLM) -> None:
    write_images(Path("images"), moving_square())
    Path("video.linr").write_bytes(Codec(default_bits=32).encode(exact_model(llm)))
    Path("q.jsonl").write_text('{"id": "images", "question": "What?", "answer": "a square", "kind": "what"}\n')
    questions = ["questions=file", "questions.path=q.jsonl"]
    outcome = cli(*MEASURE, *SOURCE, "bitstream=video.linr", *questions)
    assert outcome.code == 0, outcome.err
    rows = by_method()
    true, ours, mean = (rows[name] for name in ("true frames", "our latents", "mean token"))
    assert (true["kl"], true["top1"], true["exact"], true["relative_mse"]) == (0.0, 100.0, 100.0, 0.0)
    # All tokens of this file are the mean token, so the answers are equal.
    assert ours["relative_mse"] == pytest.approx(1.0, abs=0.01)
    assert ours["kl"] == pytest.approx(mean["kl"], abs=0.05)
    assert rows["random latents"]["kl"] == pytest.approx(mean["kl"], abs=0.05)
    assert rows["most common answer"]["accuracy"] == {"all": 100.0, "what": 100.0}
    assert rows["most common answer"]["kl"] is None
    assert "another video's latents" not in rows
    assert "left out, as there is only one file" in outcome.out
    assert "the answers have no meaning" in outcome.out
    (line,) = map(json.loads, Path("out/answers.jsonl").read_text().splitlines())
    assert (line["id"], line["truth"], set(line["answers"])) == (
        "images",
        "a square",
        set(rows) - {"most common answer"},
    )
    assert visible_share("out/answers.png", moving_square()[0].permute(1, 2, 0).numpy()) > 0.9


def test_frames_beyond_the_last_stride_are_ignored(cli: Cli, llm: VideoLLM) -> None:
    write_images(Path("images"), moving_square())
    Path("video.linr").write_bytes(Codec().encode(aligned_model(llm, SHAPE._replace(frames=5, stride=2))))
    outcome = cli(*MEASURE, *SOURCE, "bitstream=video.linr")
    assert outcome.code == 0, outcome.err
    assert by_method()["true frames"]["exact"] == 100.0


def test_a_collection_has_another_videos_latents_too(cli: Cli, collection: Path, llm: VideoLLM) -> None:
    shape = VideoShape(6, 64, 64, 25.0)
    manifest = json.loads((collection / "records" / "video0.json").read_text())
    shape = shape._replace(height=manifest["height"], width=manifest["width"], fps=manifest["fps"])
    for number in (0, 2):  # video1 stays as it is: unaligned
        torch.manual_seed(number)
        (collection / f"video{number}.linr").write_bytes(Codec().encode(aligned_model(llm, shape)))
    outcome = cli(*MEASURE, "collection=collection", "answers.videos=3")
    assert outcome.code == 0, outcome.err
    rows = by_method()
    assert "left out: video1" in outcome.out
    assert {row["questions"] for row in rows.values()} == {2}
    assert rows["another video's latents"]["kl"] != rows["our latents"]["kl"]
    assert len(Path("out/answers.jsonl").read_text().splitlines()) == 2
    outcome = cli(*MEASURE, f"collection={in_memory(collection)}", "answers.videos=3", "run_dir=remote")
    assert outcome.code == 0, outcome.err
    assert by_method("remote/result.json") == rows


def test_an_interrupted_evaluation_is_resumed(
    cli: Cli, collection: Path, llm: VideoLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = decode((collection / "video0.linr").read_bytes()).video
    for path in collection.glob("*.linr"):
        path.write_bytes(Codec().encode(aligned_model(llm, video)))
    request = [*MEASURE, "collection=collection", "answers.videos=3"]
    sources: list[str] = []

    def killed_at_the_third(item: EvaluationItem, *rest: Any) -> TokenSources:
        sources.append(item.id)
        if len(sources) == 3:
            raise KeyboardInterrupt
        return collect_token_sources(item, *rest)

    monkeypatch.setattr(item_results, "collect_token_sources", killed_at_the_third)
    assert cli(*request).code == 130
    assert cli(*request).code == 0
    assert sources == ["video0", "video1", "video2", "video2"]
    first = by_method()
    assert not Path("out/item_results").exists()
    monkeypatch.setattr(item_results, "collect_token_sources", collect_token_sources)
    assert cli(*request).code == 0
    assert by_method() == first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["bitstream=a.linr", "collection=b"], "give one of them"),
        (["bitstream=none.linr"], "no such file"),
        (["bitstream=video.linr", "answers.max_new_tokens=0"], "answers.max_new_tokens=0"),
        (["bitstream=video.linr", "answers.ask=[]"], "answers.ask=[]: list some"),
        (["bitstream=video.linr", "answers.ask=['']"], "answers.ask=['']: list some"),
        (["bitstream=video.linr", "answers.ask=What?"], "answers.ask=What?: list some"),
        (["bitstream=video.linr", "dataset.frames=3"], "holds 6 frames"),
        (["bitstream=video.linr", "questions=file", "questions.path=q.jsonl"], "none is about images"),
    ],
)
def test_wrong_options_are_errors_of_one_line(cli: Cli, llm: VideoLLM, options: list[str], message: str) -> None:
    write_images(Path("images"), moving_square())
    Path("video.linr").write_bytes(Codec().encode(aligned_model(llm, SHAPE)))
    Path("q.jsonl").write_text('{"id": "another", "question": "What?"}\n')
    assert message in cli(*MEASURE, *SOURCE, *options).error


def test_means_ignore_undefined_values_and_accuracy_is_by_kind() -> None:
    questions = [Question("a", "?", "red", "colour"), Question("a", "?", "two", "count"), Question("a", "?")]
    texts = ["Red.", "three", "who knows"]
    kls = [0.5, math.nan, 1.5]
    exchanges = [
        Exchange(question, [Answer("our latents", text, kl, 1.0, text == "Red.")])
        for question, text, kl in zip(questions, texts, kls, strict=True)
    ]
    ours, chance_level = summarize_answers(
        exchanges, [{"our latents": near} for near in (TokenDistances(0.5, 0.25, 1.0), TokenDistances(1.0, 0.75, 0.0))]
    )
    assert (ours.kl, ours.top1, ours.exact) == pytest.approx((1.0, 100.0, 100 / 3))
    assert (ours.cosine, ours.centred_cosine, ours.relative_mse) == (0.75, 0.5, 0.5)
    assert ours.accuracy == {"all": 50.0, "colour": 100.0, "count": 0.0}
    assert chance_level.accuracy["all"] == 100.0


def test_random_latents_keep_mean_and_standard_deviation() -> None:
    net = small_model(video=VideoShape(400, 22, 30, 25.0))
    before = net.state_dict()["latents"].clone()
    after = with_random_latents(net).state_dict()["latents"]
    assert not torch.allclose(before, after)
    assert torch.allclose(before.mean(0), after.mean(0), atol=4 * float(before.std()) / 20)
    assert torch.allclose(before.std(0), after.std(0), rtol=0.3)


def test_samples_cover_items_and_questions(images: Path) -> None:
    results = []
    for name in "ab":
        exchanges = [Exchange(Question(name, text), []) for text in ("who?", "what?")]
        item = EvaluationItem(name, images, lambda: nullcontext(open_video(str(images))), [])
        results.append((item, item_results.ItemResult(exchanges, {}, [0, 5])))
    samples = choose_samples(results, 9)
    assert [each.video for each in samples[:2]] == ["a", "b"]
    assert len({(each.video, each.question) for each in samples}) == len(samples) == 4
    assert [len(each.frames) for each in samples] == [2] * 4
