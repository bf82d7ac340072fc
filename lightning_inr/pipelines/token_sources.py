"""Visual tokens of an item from every source (true frames, our latents, baselines), and the answers from each."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_inr.chat.scores import exact_match, token_kl, top1_agreement
from lightning_inr.codec import read_video
from lightning_inr.data.captioned.questions import Question
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.pipelines.chat_backend import TOKEN_ROLES, ChatBackend, FileTokens
from lightning_inr.pipelines.chat_items import EvaluationItem
from lightning_inr.pipelines.evaluation import check_same_video
from lightning_inr.ranges import FileRanges
from lightning_inr.retrieval.gallery import read_model
from lightning_inr.teachers.video_llm.interface import Message, VideoLLM

TRUE_FRAMES, OUR_LATENTS = "true frames", "our latents"
OTHER_LATENTS = "another video's latents"


class TokenSources(NamedTuple):
    """The tokens of an item by source."""

    file_tokens: FileTokens
    tokens: Mapping[str, Tensor]  # (K, d) each


class Answer(NamedTuple):
    """The answer from the tokens of one source; `kl` and `top1` are nan where the teacher's answer is empty."""

    method: str
    text: str
    kl: float  # nats, mean over the tokens of the teacher's answer
    top1: float  # share of those tokens
    exact: bool


class Exchange(NamedTuple):
    """A question and the answers of all methods."""

    question: Question
    answers: Sequence[Answer]


@torch.inference_mode()
def collect_token_sources(
    item: EvaluationItem, next_item: EvaluationItem | None, backend: ChatBackend, device: torch.device
) -> TokenSources:
    """Tokens of the true frames, of our latents, and of sources that show how much of an answer needs no video."""
    model = read_model(item.path, TOKEN_ROLES)
    file_tokens = backend.tokens_of_model(item.path, model)
    with item.open() as opened:
        source = opened.trim_to_stride(file_tokens.video.stride)
        check_same_video(str(item.path), source, file_tokens.video)
        frames = [source.read(number) for number in file_tokens.frame_numbers]
    true_tokens = backend.llm.features(frames, file_tokens.token_space)
    decoded = list(read_video(FileRanges(item.path), device).render(file_tokens.frame_numbers))
    tokens = {
        TRUE_FRAMES: true_tokens,
        OUR_LATENTS: file_tokens.tokens,
        "decoded frames": backend.llm.features(decoded, file_tokens.token_space),
        "mean token": true_tokens.mean(0).expand_as(true_tokens),
    }
    # A single latent has no standard deviation; latents of several segments are not of one distribution.
    if file_tokens.video.frames > 1 and isinstance(model, VideoRepresentation):
        tokens["random latents"] = backend.tokens_of_model(item.path, with_random_latents(model)).tokens
    if next_item is not None:
        other_tokens = backend.read(next_item.path).tokens
        if other_tokens.shape == true_tokens.shape:  # videos of other lengths may have fewer sampled frames
            tokens[OTHER_LATENTS] = other_tokens
    return TokenSources(file_tokens, tokens)


def with_random_latents(model: VideoRepresentation) -> VideoRepresentation:
    """The model with random latents, set in place: each dimension keeps its mean and standard deviation over time."""
    groups, state, generator = model.coded_groups(), model.state_dict(), torch.Generator().manual_seed(0)
    random_latents = {}
    for name in [name for role in ("latents", "embeddings") for name in groups.get(role, ())]:
        noise = torch.randn(state[name].shape, generator=generator)
        random_latents[name] = state[name].mean(0) + state[name].std(0, correction=0) * noise
    model.load_state_dict(random_latents, strict=False, assign=True)
    return model


@torch.inference_mode()
def answers_by_source(
    llm: VideoLLM, sources: TokenSources, question: Question, max_new_tokens: int
) -> Iterator[Answer]:
    """The greedy answer to `question` from every source, compared with the teacher's."""
    prompt = llm.prompt([Message("user", question.text)], sources.file_tokens.token_space)
    teacher_answer = llm.answer(prompt, sources.tokens[TRUE_FRAMES], max_new_tokens)
    reference = llm.logits(prompt, sources.tokens[TRUE_FRAMES], teacher_answer)
    for method, tokens in sources.tokens.items():
        ids = teacher_answer if method == TRUE_FRAMES else llm.answer(prompt, tokens, max_new_tokens)
        logits = reference if method == TRUE_FRAMES else llm.logits(prompt, tokens, teacher_answer)
        kl = float(token_kl(reference, logits).mean())
        yield Answer(
            method, llm.read(ids).strip(), kl, top1_agreement(reference, logits), exact_match(teacher_answer, ids)
        )
