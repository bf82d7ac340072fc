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
from lightning_inr.training.teachers.loop import take_step
from lightning_inr.training.teachers.shapes_video_llm import VIDEO, VideoLLMTraining, build_untrained, save_trained
from lightning_inr.training.threads import use_threads
from tests.training.teachers.interruption import check_resumption

TINY: dict[str, Any] = {
    "text_config": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1},
    "vision_config": {"hidden_size": 32, "intermediate_size": 64, "image_size": SIDE, "patch_size": 32},
}


def make_training(llm: TransformersLLM, steps: int = 120, vision_share: float = 0.5) -> VideoLLMTraining:
    return VideoLLMTraining(llm, 0, steps, vision_share, 0.005, frames=12, conversations=8, stories=8)


@pytest.fixture
def llm() -> TransformersLLM:
    return build_untrained(TINY, shown=4, seed=0, device="cpu")


@pytest.fixture
def training(llm: TransformersLLM) -> VideoLLMTraining:
    return make_training(llm)


def test_each_word_is_a_token(llm: TransformersLLM) -> None:
    assert llm.untrained
    assert llm.tokenizer.tokenize("What colour is it") == ["What", "Ġcolour", "Ġis", "Ġit"]
    assert llm.tokenizer.decode(llm.tokenizer("Anything else, é.").input_ids) == "Anything else, é."


def test_the_losses_fall(training: VideoLLMTraining) -> None:
    for phase in training.phases:
        losses = [take_step(phase, taken) for taken in range(phase.steps)]
        assert sum(losses[-20:]) < 0.95 * sum(losses[:20])


def test_each_phase_has_its_share_of_the_steps(llm: TransformersLLM) -> None:
    for steps, share, expected in ((10, 0.6, [6, 4]), (2, 0.9, [1, 1]), (9, 0.01, [1, 8])):
        assert [phase.steps for phase in make_training(llm, steps, share).phases] == expected


@pytest.mark.parametrize("after", [1, 2, 3])  # in the vision phase, between the phases, in the language phase
def test_an_interrupted_training_goes_on(tmp_path: Path, after: int) -> None:
    def make() -> VideoLLMTraining:
        return make_training(build_untrained(TINY, shown=4, seed=0, device="cpu"), 5, 0.4)

    with use_threads(1):
        check_resumption(make, tmp_path, after)


def test_a_pool_of_another_size_is_refused(training: VideoLLMTraining) -> None:
    training.language_loss()
    state = training.state_dict()
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"tokens": [torch.zeros(4, 15)] * 8}, "tokens of another size"),
        ({"tokens": []}, "shorter"),
        ({"stories": [[0, 1, 2]] * 8}, "a story of 2 steps"),
    )
    for change, reason in wrong:
        with pytest.raises(ValueError, match=reason):
            training.load_state_dict(state | change)


def test_stories_are_never_of_the_test_split(training: VideoLLMTraining) -> None:
    training.language_loss()
    assert len(training.pool) == 8
    assert not any(story.held_out for story, _ in training.pool)
    assert all(tokens.shape == (4, 16) for _, tokens in training.pool)


def test_the_targets_are_answers(training: VideoLLMTraining) -> None:
    training.language_loss()
    tokenizer = training.llm.tokenizer
    for story, _ in training.pool:
        ids, in_loss = training.draw_conversation(story)
        assert len(ids) == len(in_loss)
        answers = tokenizer.decode([each for each, target in zip(ids, in_loss, strict=True) if target])
        assert answers.endswith("<|im_end|>")
        assert "?" not in answers


def test_a_conversation_is_written_as_it_is_asked(training: VideoLLMTraining) -> None:
    first, answer, second = "What is it?", "ball", "What does it do?"
    turns = [Message("user", first), Message("assistant", answer), Message("user", second)]
    expected = training.llm.prompt(turns, training.token_space).ids[0].tolist()
    assert training.question(first, True) + training.answer(answer) + training.question(second, False) == expected


def test_a_loaded_model_encodes_a_frame_as_in_training(training: VideoLLMTraining, tmp_path: Path) -> None:
    take_step(training.phases[0], 0)
    save_trained(training.llm, tmp_path / "trained")
    loaded = load_video_llm(str(tmp_path / "trained"), frames=4, device="cpu")
    assert not loaded.untrained
    frames = torch.randint(0, 256, (4, 3, SIDE, SIDE), dtype=torch.uint8)
    with torch.no_grad():
        expected = training.encode_frames(frames).flatten(0, 1)
    assert torch.allclose(loaded.features(list(frames), loaded.token_space(VIDEO)), expected, atol=1e-4)


def test_wrong_options_are_named(llm: TransformersLLM) -> None:
    with pytest.raises(UserError, match=r"training.conversations=0: choose at least 1"):
        VideoLLMTraining(llm, 0, 9, 0.5, learning_rate=0.01, frames=12, conversations=0, stories=8)
    with pytest.raises(UserError, match="teacher_steps=1: choose at least 2"):
        make_training(llm, steps=1)
    with pytest.raises(UserError, match="vision_share=1: choose a share between 0 and 1"):
        make_training(llm, steps=9, vision_share=1)
    with pytest.raises(UserError, match="video_llm_config: transformers cannot build this"):
        build_untrained({"text_config": {"hidden_size": "wide"}}, shown=4, seed=0)
