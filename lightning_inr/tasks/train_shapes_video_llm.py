"""A video language model for those who have none: a small one trained on `shapes`, and how well it answers questions
about held-out videos from their frames."""

from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from lightning_inr.chat.scores import accuracy, chance
from lightning_inr.configuration.common import plain, shapes_listing
from lightning_inr.data.captioned.questions import Question
from lightning_inr.data.captioned.split import DatasetSplit, open_captioned
from lightning_inr.data.shapes.questions import shapes_questions
from lightning_inr.paths import alone_in
from lightning_inr.pipelines.chat_evaluation import by_kind
from lightning_inr.progress import ProgressBar
from lightning_inr.report.answers import AnswerRow, answers_table
from lightning_inr.teachers.catalogue import load_video_llm
from lightning_inr.teachers.video_llm.interface import Message, VideoLLM
from lightning_inr.training.teachers.loop import TrainingCheckpoint, run_training
from lightning_inr.training.teachers.shapes_video_llm import VideoLLMTraining, build_untrained, save_trained

# Options that the trained weights depend on.
SETTINGS = ["seed", "shown", "teacher_steps", "vision_share", "training", "video_llm_config"]
MAX_NEW_TOKENS = 8  # tokens an answer


def run(cfg: DictConfig) -> list[AnswerRow]:
    """Train and save a model if `video_llm_dir` has none; print and return how it answers about `dataset`."""
    options = shapes_listing(cfg)
    folder = Path(cfg.video_llm_dir).expanduser()
    listing: DatasetSplit = instantiate(options)
    questions = shapes_questions(options.split, options.videos, options.seed, cfg.questions_each)
    checkpoint = TrainingCheckpoint(folder, "video_llm_dir", plain(OmegaConf.masked_copy(cfg, SETTINGS)))
    with alone_in(folder, "video_llm_dir"):
        if (folder / "config.json").exists() and not checkpoint.path.exists():
            print(f"{folder} holds a video language model; delete it to train another")
        else:
            _train(cfg, checkpoint)
    rows = _measure(load_video_llm(str(folder), frames=cfg.shown, device=cfg.device), listing, questions)
    print(f"{listing.name}, {len(listing.videos)} videos, percent of {len(questions)} questions\n{answers_table(rows)}")
    print(f"align latents to it with video_llm=shapes video_llm.model={folder}")
    return rows


def _train(cfg: DictConfig, checkpoint: TrainingCheckpoint) -> None:
    torch.manual_seed(cfg.seed)
    llm = build_untrained(plain(cfg.video_llm_config), cfg.shown, cfg.seed, cfg.device)
    training = VideoLLMTraining(llm, cfg.seed, cfg.teacher_steps, cfg.vision_share, **cfg.training)
    run_training(training, checkpoint)
    save_trained(llm, checkpoint.folder)
    checkpoint.remove()


def _measure(llm: VideoLLM, listing: DatasetSplit, questions: list[Question]) -> list[AnswerRow]:
    """Answers from the true frames, compared with the most common answer of each kind."""
    given = []
    for video in ProgressBar(listing.videos, "measure", unit="video", leave=False):
        source = open_captioned(video.id, listing)
        space = llm.token_space(source.shape)
        tokens = llm.features([source.read(number) for number in source.shape.spread(space.sampling.frames)], space)
        for question in questions:
            if question.video == video.id:
                prompt = llm.prompt([Message("user", question.text)], space)
                given.append((question, llm.read(llm.answer(prompt, tokens, MAX_NEW_TOKENS))))
    percent_correct = by_kind(
        given, lambda some: accuracy([text for _, text in some], [str(each.answer) for each, _ in some])
    )
    chance_level = by_kind(
        given, lambda some: chance([str(each.answer) for each, _ in some], [str(each.kind) for each, _ in some])
    )
    return [
        AnswerRow("true frames", len(given), accuracy=percent_correct),
        AnswerRow("most common answer", len(given), accuracy=chance_level),
    ]
