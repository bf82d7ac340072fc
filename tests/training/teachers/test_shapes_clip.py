"""A small CLIP learns from shapes and is saved as open_clip saves one."""

import json
import math
import random
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import torch.nn.functional as F

from lightning_inr.data.shapes.grammar import TASKS, Story, steps_of
from lightning_inr.errors import UserError
from lightning_inr.teachers.clip import load_clip
from lightning_inr.training.teachers.loop import take_step
from lightning_inr.training.teachers.shapes_clip import (
    MAX_LOGIT_SCALE,
    ClipTraining,
    build_clip,
    draw_clip_batch,
    save_teacher,
)
from lightning_inr.training.threads import use_threads
from tests.training.teachers.interruption import check_resumption

TINY: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 32},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


def make_training(steps: int = 30) -> ClipTraining:
    return ClipTraining(build_clip(TINY), seed=0, steps=steps, learning_rate=0.003, tasks=3, videos=2)


@pytest.fixture
def training() -> ClipTraining:
    return make_training()


def test_a_batch_is_never_of_the_test_split() -> None:
    batch = draw_clip_batch(random.Random(0), tasks=3, videos=2)
    assert batch.frames.shape == (6, 3, 3, 64, 64)
    assert (len(batch.captions), len(batch.labels), len(set(batch.tasks))) == (6, 18, 3)
    steps = {step.label: step for task in TASKS for step in steps_of(task)}
    for start in range(0, 18, 3):
        assert not Story(tuple(steps[label] for label in batch.labels[start : start + 3])).held_out


def test_the_loss_falls(training: ClipTraining) -> None:
    [phase] = training.phases
    losses = [take_step(phase, taken) for taken in range(30)]
    assert sum(losses[-6:]) < 0.9 * sum(losses[:6])


@pytest.mark.parametrize("after", [1, 3])
def test_an_interrupted_training_goes_on(tmp_path: Path, after: int) -> None:
    with use_threads(1):
        check_resumption(lambda: make_training(4), tmp_path, after)


def test_the_logit_scale_is_limited(training: ClipTraining) -> None:
    training.clip.logit_scale.data.fill_(5.0)
    take_step(training.phases[0], 0)
    assert float(training.clip.logit_scale.detach()) == pytest.approx(MAX_LOGIT_SCALE)


def test_without_equal_texts_the_loss_is_that_of_clip(training: ClipTraining) -> None:
    features, texts = F.normalize(torch.randn(4, 16), dim=-1), ["a ball", "a star", "a ring", "a red ball"]
    embedded = training.clip.encode_text(training.tokenize(texts), normalize=True)
    expected = open_clip.ClipLoss()(features, embedded, training.clip.logit_scale.exp())
    assert torch.allclose(training.contrastive_loss(features, texts), expected)


def test_equal_texts_both_match(training: ClipTraining) -> None:
    features = F.normalize(torch.randn(1, 16), dim=-1).expand(2, -1)
    # There is no other text; the text matches both frames, each with probability one half.
    loss = training.contrastive_loss(features, ["a ball", "a ball"])
    assert float(loss.detach()) == pytest.approx(math.log(2) / 2)


def test_open_clip_reads_it_back(training: ClipTraining, tmp_path: Path) -> None:
    take_step(training.phases[0], 15)
    save_teacher(training.clip, TINY, tmp_path / "teacher")
    assert {path.name for path in (tmp_path / "teacher").iterdir()} == {
        "open_clip_config.json",
        "open_clip_model.safetensors",
    }
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'teacher'}")
    before, after = training.clip.state_dict(), model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    texts = ["a red ball rolls left", "roll ball"]
    tokens = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'teacher'}")(texts)
    assert torch.equal(tokens, training.tokenize(texts))


def test_a_loaded_model_encodes_a_frame_as_in_training(training: ClipTraining, tmp_path: Path) -> None:
    save_teacher(training.clip, TINY, tmp_path)
    clip = load_clip(None, str(tmp_path), "cpu")
    frame = draw_clip_batch(random.Random(0), tasks=1, videos=1).frames[0]
    mean, std = training.norms
    with torch.no_grad():
        expected = training.clip.eval().encode_image((frame / 255 - mean) / std, normalize=True)
    assert torch.allclose(clip.embed_frames(frame), expected, atol=1e-5)
    assert json.loads((tmp_path / "open_clip_config.json").read_text())["model_cfg"] == TINY


def test_wrong_options_are_named(training: ClipTraining) -> None:
    with pytest.raises(UserError, match=r"training.tasks=25: choose 1 to 24"):
        ClipTraining(training.clip, seed=0, steps=1, learning_rate=0.003, tasks=25)
    with pytest.raises(UserError, match="teacher_steps=0: choose at least 1"):
        make_training(steps=0)
    with pytest.raises(UserError, match=r"clip.vision_cfg.image_size=32: shapes are 64"):
        build_clip({**TINY, "vision_cfg": {**TINY["vision_cfg"], "image_size": 32}})
    with pytest.raises(UserError, match="clip: open_clip cannot build this"):
        build_clip({**TINY, "vision_cfg": {**TINY["vision_cfg"], "head_width": 0}})
