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
from lightning_inr.training.teachers.shapes_clip import ClipTraining, build_clip, draw_lesson, save_teacher, train_clip

TINY: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 32},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture
def teaching() -> ClipTraining:
    return ClipTraining(build_clip(TINY), seed=0, learning_rate=0.003, tasks=3, videos=2)


def test_a_lesson_is_never_of_the_test_split() -> None:
    lesson = draw_lesson(random.Random(0), tasks=3, videos=2)
    assert lesson.frames.shape == (6, 3, 3, 64, 64)
    assert (len(lesson.captions), len(lesson.labels), len(set(lesson.tasks))) == (6, 18, 3)
    steps = {step.label: step for task in TASKS for step in steps_of(task)}
    for start in range(0, 18, 3):
        assert not Story(tuple(steps[label] for label in lesson.labels[start : start + 3])).held_out


def test_the_loss_falls(teaching: ClipTraining) -> None:
    losses = [teaching.step(0.01 * number) for number in range(30)]
    assert sum(losses[-6:]) < 0.9 * sum(losses[:6])


def test_without_equal_texts_the_loss_is_that_of_clip(teaching: ClipTraining) -> None:
    seen, texts = F.normalize(torch.randn(4, 16), dim=-1), ["a ball", "a star", "a ring", "a red ball"]
    said = teaching.clip.encode_text(teaching.tokenize(texts), normalize=True)
    expected = open_clip.ClipLoss()(seen, said, teaching.clip.logit_scale.exp())
    assert torch.allclose(teaching.contrast(seen, texts), expected)


def test_equal_texts_are_no_rivals(teaching: ClipTraining) -> None:
    seen = F.normalize(torch.randn(1, 16), dim=-1).expand(2, -1)
    # No other text to mistake it for; the text is of either frame, as likely.
    assert float(teaching.contrast(seen, ["a ball", "a ball"]).detach()) == pytest.approx(math.log(2) / 2)


def test_open_clip_reads_it_back(teaching: ClipTraining, tmp_path: Path) -> None:
    teaching.step(0.5)
    save_teacher(teaching.clip, TINY, tmp_path / "teacher")
    assert {path.name for path in (tmp_path / "teacher").iterdir()} == {
        "open_clip_config.json",
        "open_clip_model.safetensors",
    }
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'teacher'}")
    before, after = teaching.clip.state_dict(), model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    texts = ["a red ball rolls left", "roll ball"]
    tokens = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'teacher'}")(texts)
    assert torch.equal(tokens, teaching.tokenize(texts))


def test_it_sees_a_frame_as_it_did_in_training(teaching: ClipTraining, tmp_path: Path) -> None:
    save_teacher(teaching.clip, TINY, tmp_path)
    clip = load_clip(None, str(tmp_path), "cpu")
    frame = draw_lesson(random.Random(0), tasks=1, videos=1).frames[0]
    mean, std = teaching.norms
    with torch.no_grad():
        expected = teaching.clip.eval().encode_image((frame / 255 - mean) / std, normalize=True)
    assert torch.allclose(clip.embed_frames(frame), expected, atol=1e-5)
    assert json.loads((tmp_path / "open_clip_config.json").read_text())["model_cfg"] == TINY


def test_what_cannot_be_taught_is_said(teaching: ClipTraining) -> None:
    with pytest.raises(UserError, match=r"teaching.tasks=25: choose 1 to 24"):
        ClipTraining(teaching.clip, seed=0, learning_rate=0.003, tasks=25)
    with pytest.raises(UserError, match="teacher_steps=0: choose at least 1"):
        train_clip(teaching, 0)
    with pytest.raises(UserError, match=r"clip.vision_cfg.image_size=32: shapes are 64"):
        build_clip({**TINY, "vision_cfg": {**TINY["vision_cfg"], "image_size": 32}})
    with pytest.raises(UserError, match="clip: open_clip cannot build this"):
        build_clip({**TINY, "vision_cfg": {**TINY["vision_cfg"], "head_width": 0}})
