"""Questions about a file: streamed, in a conversation, over a collection; and errors of wrong options."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lightning_inr.codec import Codec
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.teachers.load_options import LoadOptions
from lightning_inr.teachers.tiny.video_llm import write_small
from lightning_inr.teachers.video_llm import transformers_llm
from lightning_inr.teachers.video_llm.interface import VideoLLM
from tests.conftest import Outcome, small_model
from tests.tasks.conftest import aligned_model, in_memory

Cli = Callable[..., Outcome]
CHAT = ["task=chat", "bitstream=video.linr", "max_new_tokens=4"]
COLLECTION = ["task=chat", "collection=collection", "max_new_tokens=4"]


@pytest.fixture
def aligned_file(llm: VideoLLM, tmp_path: Path) -> Path:
    """A file with a projector to the model."""
    path = tmp_path / "video.linr"
    path.write_bytes(Codec().encode(aligned_model(llm)))
    return path


def type_in(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_a_question_is_answered_from_latents_only(
    cli: Cli, aligned_file: Path, llm: VideoLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    towers: list[bool] = []
    load = transformers_llm.load_transformers_llm

    def recorded(model: str, options: LoadOptions) -> Any:
        towers.append(options.load_vision)
        return load(model, options)

    def rendered(*_: Any) -> Iterator[Any]:
        raise AssertionError("a frame was rendered")

    monkeypatch.setattr(transformers_llm, "load_transformers_llm", recorded)
    monkeypatch.setattr(VideoRepresentation, "render", rendered)
    outcome = cli(*CHAT, "question=What happens?")
    assert outcome.code == 0, outcome.err
    message, marked, answer = outcome.out.split("\n", 2)
    assert message == "video.linr: 3 of 5 frames, at 0.00, 0.08, 0.16 s, given to tiny as 12 tokens; no pixel decoded"
    assert marked.startswith("random weights")
    assert answer.strip()
    assert towers == [False]


def test_a_model_named_only_by_the_file_is_not_downloaded(cli: Cli, aligned_file: Path, llm: VideoLLM) -> None:
    net = aligned_model(llm)
    assert net.token_space is not None
    net.token_space = net.token_space._replace(model="someone/unknown-7b")
    aligned_file.write_bytes(Codec().encode(net))
    outcome = cli(*CHAT, "question=What happens?")
    assert outcome.code == 1
    assert "if you trust it, add video_llm=llava_onevision video_llm.model=someone/unknown-7b" in outcome.error


def test_a_conversation_ends_with_its_input(cli: Cli, aligned_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    type_in(monkeypatch, "What happens?\n\nforget\nAnd then?\n")
    outcome = cli(*CHAT)
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("> ") == 5
    type_in(monkeypatch, "exit\nWhat happens?\n")
    assert cli(*CHAT).out.count("> ") == 1


def test_ctrl_c_in_an_answer_returns_to_the_prompt(
    cli: Cli, aligned_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt_lengths: list[int] = []

    def generate(self: Any, prompt: Any, *_: Any, **__: Any) -> Iterator[str]:
        prompt_lengths.append(prompt.length)
        yield "so "
        if len(prompt_lengths) == 1:
            raise KeyboardInterrupt
        yield "far"

    monkeypatch.setattr(transformers_llm.TransformersLLM, "generate", generate)
    type_in(monkeypatch, "one\ntwo\n")
    outcome = cli(*CHAT)
    assert outcome.code == 0, outcome.err
    assert outcome.out.endswith("> so \n> so far\n> \n")
    assert prompt_lengths[1] > prompt_lengths[0]  # the second prompt holds the first answer


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([*CHAT, "question= "], "question: it is empty"),
        (["task=chat"], "give one of bitstream=video.linr and collection=FOLDER"),
        ([*CHAT, "max_new_tokens=0"], "max_new_tokens=0"),
        ([*CHAT, "temperature=-1"], "temperature=-1"),
        (["task=chat", "bitstream=none.linr"], "bitstream=none.linr: no such file"),
        (["task=chat", "bitstream=unaligned.linr"], "unaligned.linr: no projector"),
        ([*CHAT, "projector=unaligned.linr"], "projector=unaligned.linr"),
    ],
)
def test_wrong_options_are_errors_of_one_line(cli: Cli, aligned_file: Path, options: list[str], message: str) -> None:
    Path("unaligned.linr").write_bytes(Codec().encode(small_model()))
    assert message in cli(*options).error


def test_a_file_for_another_model_is_refused(cli: Cli, aligned_file: Path) -> None:
    write_small("other", seed=1)
    outcome = cli(*CHAT, "question=What?", "video_llm=llava_onevision", "video_llm.model=other")
    assert "it was aligned to tiny" in outcome.error


@pytest.fixture
def aligned_files(collection: Path, llm: VideoLLM) -> Path:
    """A collection in which all files but one have a projector."""
    for number in (0, 2, 3):
        (collection / f"video{number}.linr").write_bytes(Codec().encode(aligned_model(llm)))
    return collection


def rows(path: str = "answers.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_captioning_a_collection_is_resumed(cli: Cli, aligned_files: Path) -> None:
    outcome = cli(*COLLECTION)
    assert outcome.code == 0, outcome.err
    assert "left out: video1" in outcome.out + outcome.err
    assert "3 of 4 videos" in outcome.out
    whole = Path("answers.jsonl").read_bytes()
    assert [row["id"] for row in rows()] == ["video0", "video2", "video3"]
    assert all(row["question"] == "Describe the video." for row in rows())
    Path("answers.jsonl").write_bytes(whole[: whole.rstrip().rfind(b"\n") + 9])  # killed in the middle of a line
    assert cli(*COLLECTION).code == 0
    assert Path("answers.jsonl").read_bytes() == whole
    assert "max_new_tokens is 4 there, 5 now" in cli(*COLLECTION, "max_new_tokens=5").error
    assert "answers to other questions" in cli(*COLLECTION, "question=Why?").error


def test_a_collection_behind_a_url_has_the_same_answers(cli: Cli, aligned_files: Path) -> None:
    assert cli(*COLLECTION).code == 0
    outcome = cli(*COLLECTION, f"collection={in_memory(aligned_files)}", "out=remote.jsonl")
    assert outcome.code == 0, outcome.err
    assert Path("remote.jsonl").read_bytes() == Path("answers.jsonl").read_bytes()


def test_a_file_behind_a_url_is_asked(cli: Cli, aligned_files: Path) -> None:
    file = f"{in_memory(aligned_files)}/video0.linr"
    outcome = cli(*CHAT, f"bitstream={file}", "question=What happens?")
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith(f"{file}: 3 of 5 frames")


def test_answers_to_questions_of_a_file_include_the_truth(cli: Cli, aligned_files: Path) -> None:
    Path("q.jsonl").write_text(
        '{"id": "video2", "question": "What colour?", "answer": "red", "kind": "colour"}\n'
        '{"id": "video2", "question": "How many?"}\n'
        '{"id": "nowhere", "question": "How many?"}\n'
    )
    outcome = cli(*COLLECTION, "questions=file", "questions.path=q.jsonl", "out=deep/a.jsonl")
    assert outcome.code == 0, outcome.err
    first, second = rows("deep/a.jsonl")
    assert (first["id"], first["truth"], first["kind"]) == ("video2", "red", "colour")
    assert "truth" not in second
    assert "1 questions are about videos that are not in the collection" in outcome.out
