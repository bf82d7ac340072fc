"""Features of a clip, and answers from them, which equal those from pixels."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import Blip2Config

from lightning_inr.errors import UserError
from lightning_inr.teachers.video_llama.model import VideoLlama, load_video_llama
from lightning_inr.teachers.video_llama.prompt import segments
from lightning_inr.teachers.video_llama.tower import Tower, preprocess_frame
from lightning_inr.types import FrameSampling
from tests.conftest import moving_square
from tests.teachers.video_llama.conftest import QUESTION, VIDEO, load_space, pieces


def reference_answer(model: VideoLlama, frames: Tensor, max_new_tokens: int) -> Tensor:
    """The ids of an answer from pixels, frame by frame and token by token, without a cache."""
    assert model.vision is not None
    vision, encoded = model.vision, []
    for place, frame in enumerate(frames):
        patches = vision.vision_model(preprocess_frame(frame)[None]).last_hidden_state
        queries = vision.qformer(vision.query_tokens, encoder_hidden_states=patches).last_hidden_state
        encoded.append(queries + vision.video_frame_position_embedding(torch.tensor([place])))
    clip = vision.video_qformer(
        vision.video_query_tokens, encoder_hidden_states=torch.cat(encoded, 1)
    ).last_hidden_state
    sampling = (
        model.token_space(VIDEO)
        ._replace(sampling=model.token_space(VIDEO).sampling._replace(frames=len(frames)))
        .sampling
    )
    before, after = segments("llama_2", QUESTION, sampling, "", model.tokenizer.eos_token)
    words = model.language.get_input_embeddings()
    ids = [torch.tensor(model.tokenizer(text).input_ids) for text in (before, after)]
    read = torch.cat([words(ids[0])[None], model.projection(clip), words(ids[1])[None]], 1)
    generated: list[int] = []
    for _ in range(max_new_tokens):
        generated.append(int(model.language(inputs_embeds=read, use_cache=False).logits[0, -1].argmax()))
        read = torch.cat([read, words(torch.tensor([[generated[-1]]]))], 1)
    return torch.tensor(generated)


def test_the_published_model_makes_32_tokens_of_768_whatever_the_number_of_frames() -> None:
    with torch.device("meta"):
        tower = Tower(Blip2Config(), places=32, tokens=32)
        shapes = {tower(torch.empty(frames, 3, 224, 224)).shape for frames in (1, 8, 32)}
    assert shapes == {(32, 768)}
    assert len(tower.vision_model.encoder.layers) == 39
    assert [layer.has_cross_attention for layer in tower.video_qformer.encoder.layer] == [True, True]


def test_features_are_of_the_whole_clip(model: VideoLlama) -> None:
    for frames in (1, 3, 32):
        space = load_space(model, frames)
        found = model.features(list(moving_square(frames)), space)
        assert found.shape == (space.tokens, space.width)
        assert space.groups == 0
        assert found.dtype == torch.float32
        assert not found.requires_grad


def test_tokens_depend_on_the_order_of_frames(model: VideoLlama) -> None:
    video = moving_square(4)
    space = load_space(model, 4)
    there, back = (model.features(list(frames), space) for frames in (video, video.flip(0)))
    assert (there - back).abs().max() > 1e-3


def test_frames_are_evenly_spaced_and_at_most_as_many_as_positions(small: Path, model: VideoLlama) -> None:
    assert model.token_space(VIDEO).sampling == pytest.approx(FrameSampling(8, 224, 224, 39 / 7 / 10))
    assert model.token_space(VIDEO._replace(frames=3)).sampling == pytest.approx(FrameSampling(3, 224, 224, 0.1))
    assert model.token_space(VIDEO._replace(frames=1)).sampling.frames == 1
    with pytest.warns(UserWarning, match="32 frames, not 40"):
        many = load_video_llama(**pieces(small), frames=40, load_vision=False)
    assert many.token_space(VIDEO).sampling.frames == 32


def test_answers_from_features_are_those_from_pixels(model: VideoLlama) -> None:
    space = model.token_space(VIDEO)
    answers = []
    for video in (moving_square(8), torch.randint(256, (8, 3, 30, 50), dtype=torch.uint8)):
        prompt = model.prompt(QUESTION, space)
        answers.append(model.answer(prompt, model.features(list(video), space), max_new_tokens=12))
        assert torch.equal(answers[-1], reference_answer(model, video, max_new_tokens=12))
    assert not torch.equal(*answers)


def test_without_the_vision_tower_answers_are_the_same(small: Path, model: VideoLlama) -> None:
    shutil.move(small / "blip2", small / "gone")  # not even read
    try:
        without_tower = load_video_llama(**pieces(small), load_vision=False)
    finally:
        shutil.move(small / "gone", small / "blip2")
    space = model.token_space(VIDEO)
    assert (without_tower.has_vision, without_tower.vision, without_tower.untrained) == (False, None, True)
    assert (without_tower.token_space(VIDEO), without_tower.fingerprint) == (space, model.fingerprint)
    tokens, prompt = torch.randn(space.tokens, space.width), model.prompt(QUESTION, space)
    assert torch.equal(
        without_tower.answer(without_tower.prompt(QUESTION, space), tokens, 8), model.answer(prompt, tokens, 8)
    )
    for call in (
        lambda: without_tower.features(list(moving_square(8)), space),
        lambda: without_tower.vision_fingerprint,
    ):
        with pytest.raises(UserError, match="load_vision=true"):
            call()
