"""Prompts in the styles of the language models, and where answers end."""

import re
from pathlib import Path

import pytest
import torch

from lightning_inr.teachers.video_llama import model as video_llama
from lightning_inr.teachers.video_llama.model import VideoLlama, load_video_llama
from lightning_inr.teachers.video_llama.prompt import STOPS, segments
from lightning_inr.teachers.video_llm.interface import Message
from tests.teachers.video_llama.conftest import QUESTION, VIDEO, load_space, pieces


def test_answers_are_streamed_scored_and_can_be_stopped(model: VideoLlama) -> None:
    space = model.token_space(VIDEO)
    tokens = torch.randn(space.tokens, space.width, requires_grad=True)
    history = [*QUESTION, Message("assistant", "A square."), Message("user", "Which colour?")]
    prompt = model.prompt(history, space)
    answer = model.answer(prompt, tokens, 8)
    assert "".join(model.generate(prompt, tokens.detach(), 8)) == model.read(answer)
    logits = model.logits(prompt, tokens, answer)
    assert torch.equal(logits.argmax(-1), answer)
    logits.sum().backward()
    assert tokens.grad is not None
    assert tokens.grad.abs().sum() > 0
    pieces = model.generate(prompt, tokens.detach(), 4000)
    next(pieces)
    pieces.close()
    assert model.prompt(history, None).length < prompt.length
    assert len(model.answer(model.prompt(history, None), None, 3)) <= 3


def test_the_prompt_states_the_number_and_times_of_frames(model: VideoLlama) -> None:
    space = load_space(model, 3)
    prompt = model.prompt([Message("user", "Where is <ImageHere>?")], space)
    text = model.read(torch.cat([prompt.ids[0, : prompt.grids["start"]], prompt.ids[0, prompt.grids["start"] + 8 :]]))
    assert (
        "<Video></Video> The video contains 3 frames sampled at 0.0, 0.6, 1.1 seconds.  Where is <ImageHere>?" in text
    )
    assert prompt.length == len(text) + 8


def test_each_style_has_the_turn_format_of_its_language_model() -> None:
    history = [Message("user", "A?"), Message("assistant", "B."), Message("user", "C?")]
    (llama,) = segments("llama_2", history, None)
    (vicuna,) = segments("vicuna", history, None)
    assert llama.startswith("[INST] <<SYS>>\nYou are able")
    assert llama.endswith("\n<</SYS>>\n\nA? [/INST] B. </s><s>[INST] C? [/INST]")
    assert vicuna.startswith("You are able")
    assert vicuna.endswith("detail.###Human: A?###Assistant: B.###Human: C?###Assistant:")


def test_answers_end_at_the_stop_string_of_the_style(
    small: Path, model: VideoLlama, monkeypatch: pytest.MonkeyPatch
) -> None:
    vicuna = load_video_llama(**pieces(small), style="vicuna", load_vision=False)
    assert vicuna.fingerprint != model.fingerprint
    prompt = vicuna.prompt(QUESTION, None)
    whole = vicuna.read(vicuna.answer(prompt, None, 60))
    mark = re.findall(r"[!-~]", whole)[-1]
    monkeypatch.setitem(STOPS, "vicuna", mark)
    found = vicuna.answer(prompt, None, 60)
    assert len(found) < 60
    assert vicuna.read(found) == "".join(vicuna.generate(prompt, None, 60)) == whole.partition(mark)[0]


@pytest.mark.parametrize(
    "pieces_of_text", [["a ", "b##", "#c"], ["a b###", "c"], ["a ", "b", "#", "#", "#", "c"], ["a b"]]
)
def test_the_stop_string_is_not_part_of_the_answer(pieces_of_text: list[str]) -> None:
    assert "".join(video_llama._until("###", pieces_of_text)) == "a b"


def test_a_prefix_of_the_stop_string_is_part_of_the_answer() -> None:
    assert "".join(video_llama._until("###", ["a#", "#b", "##"])) == "a##b##"
