"""A small video language model learns from shapes and is saved as transformers saves one."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_inr.data.shapes.render import SIDE
from lightning_inr.errors import UserError
from lightning_inr.teachers.catalogue import load_video_llm
from lightning_inr.teachers.video_llm.interface import Message
from lightning_inr.teachers.video_llm.transformers_llm import TransformersLLM
from lightning_inr.training.teachers.shapes_video_llm import (
    VIDEO,
    VideoLLMTraining,
    build_untrained,
    save_trained,
    train_video_llm,
)

TINY: dict[str, Any] = {
    "text_config": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1},
    "vision_config": {"hidden_size": 32, "intermediate_size": 64, "image_size": SIDE, "patch_size": 32},
}


@pytest.fixture
def llm() -> TransformersLLM:
    return build_untrained(TINY, shown=4, seed=0, device="cpu")


@pytest.fixture
def teaching(llm: TransformersLLM) -> VideoLLMTraining:
    return VideoLLMTraining(llm, seed=0, learning_rate=0.005, frames=12, talks=8, stories=8)


def test_each_word_is_a_token(llm: TransformersLLM) -> None:
    assert llm.untrained
    assert llm.tokenizer.tokenize("What colour is it") == ["What", "Ġcolour", "Ġis", "Ġit"]
    assert llm.tokenizer.decode(llm.tokenizer("Anything else, é.").input_ids) == "Anything else, é."


def test_the_losses_fall(teaching: VideoLLMTraining) -> None:
    for learn in (teaching.look, teaching.read):
        losses = [teaching.step(learn, number, number / 60) for number in range(60)]
        assert sum(losses[-20:]) < 0.95 * sum(losses[:20])


def test_stories_are_never_of_the_test_split(teaching: VideoLLMTraining) -> None:
    teaching.read()
    assert len(teaching.pool) == 8
    assert not any(story.held_out for story, _ in teaching.pool)
    assert all(tokens.shape == (4, 16) for _, tokens in teaching.pool)


def test_only_answers_are_learnt(teaching: VideoLLMTraining) -> None:
    teaching.read()
    tokenizer = teaching.llm.tokenizer
    for story, _ in teaching.pool:
        ids, said = teaching.talk(story)
        assert len(ids) == len(said)
        answers = tokenizer.decode([each for each, mine in zip(ids, said, strict=True) if mine])
        assert answers.endswith("<|im_end|>")
        assert "?" not in answers


def test_a_conversation_is_written_as_it_is_asked(teaching: VideoLLMTraining) -> None:
    first, answer, second = "What is it?", "ball", "What does it do?"
    turns = [Message("user", first), Message("assistant", answer), Message("user", second)]
    expected = teaching.llm.prompt(turns, teaching.token_space).ids[0].tolist()
    assert teaching.question(first, True) + teaching.answer(answer) + teaching.question(second, False) == expected


def test_it_sees_a_frame_as_it_did_in_training(teaching: VideoLLMTraining, tmp_path: Path) -> None:
    teaching.step(teaching.look, 0, 0.5)
    save_trained(teaching.llm, tmp_path / "trained")
    loaded = load_video_llm(str(tmp_path / "trained"), frames=4, device="cpu")
    assert not loaded.untrained
    frames = torch.randint(0, 256, (4, 3, SIDE, SIDE), dtype=torch.uint8)
    with torch.no_grad():
        expected = teaching.see(frames).flatten(0, 1)
    assert torch.allclose(loaded.features(list(frames), loaded.token_space(VIDEO)), expected, atol=1e-4)


def test_what_cannot_be_taught_is_said(teaching: VideoLLMTraining) -> None:
    with pytest.raises(UserError, match=r"teaching.talks=0: choose at least 1"):
        VideoLLMTraining(teaching.llm, seed=0, learning_rate=0.01, frames=12, talks=0, stories=8)
    with pytest.raises(UserError, match="teacher_steps=1: choose at least 2"):
        train_video_llm(teaching, 1)
    with pytest.raises(UserError, match="teacher_looking=1: choose a share between 0 and 1"):
        train_video_llm(teaching, 9, 1)
    with pytest.raises(UserError, match="video_llm_config: transformers cannot build this"):
        build_untrained({"text_config": {"hidden_size": "wide"}}, shown=4, seed=0)
