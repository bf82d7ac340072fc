"""The visual tokens of an item from every source, the true frames, our latents and floors, and the answers to each."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_inr.chat.scores import exact_match, token_kl, top1_agreement
from lightning_inr.codec import decode
from lightning_inr.data.captioned.questions import Question
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.paths import read_bytes
from lightning_inr.pipelines.chat_backend import TOKEN_ROLES, ChatBackend, FileTokens
from lightning_inr.pipelines.chat_items import EvaluationItem
from lightning_inr.pipelines.evaluation import check_same_video
from lightning_inr.retrieval.gallery import read_model
from lightning_inr.teachers.video_llm.interface import Message, VideoLLM

TRUE, OURS = "true frames", "our latents"
ANOTHER = "another video's latents"


class TokenSources(NamedTuple):
    """The tokens of an item by source."""

    file_tokens: FileTokens
    tokens: Mapping[str, Tensor]  # (K, d) each


class Answer(NamedTuple):
    """The answer to the tokens of one source; `kl` and `top1` are nan where the teacher's answer is empty."""

    method: str
    text: str
    kl: float  # nats, mean over the tokens of the teacher's answer
    top1: float  # share of those tokens
    exact: bool


class Exchange(NamedTuple):
    """A question, and the answers of every method."""

    question: Question
    answers: Sequence[Answer]


@torch.inference_mode()
def collect_token_sources(
    item: EvaluationItem, following: EvaluationItem | None, backend: ChatBackend, device: torch.device
) -> TokenSources:
    """Tokens of the true frames, of our latents, and of sources that show how much of an answer needs no video."""
    model = read_model(item.path, TOKEN_ROLES)
    file_tokens = backend.tokens_of_model(item.path, model)
    source = item.open().trim_to_stride(file_tokens.video.stride)
    check_same_video(str(item.path), source, file_tokens.video)
    frames = [source.read(number) for number in file_tokens.shown]
    true = backend.llm.features(frames, file_tokens.token_space)
    decoded = list(decode(read_bytes(item.path, "bitstream"), device).render(file_tokens.shown))
    tokens = {
        TRUE: true,
        OURS: file_tokens.tokens,
        "decoded frames": backend.llm.features(decoded, file_tokens.token_space),
        "mean token": true.mean(0).expand_as(true),
    }
    if file_tokens.video.frames > 1:  # one latent alone has no spread
        tokens["random latents"] = backend.tokens_of_model(item.path, with_random_latents(model)).tokens
    if following is not None:
        other = backend.read(following.path).tokens
        if other.shape == true.shape:  # videos of other lengths may be shown as fewer frames
            tokens[ANOTHER] = other
    return TokenSources(file_tokens, tokens)


def with_random_latents(model: VideoRepresentation) -> VideoRepresentation:
    """The same model, changed in place: random latents, each dimension with the mean and spread it has over time."""
    groups, state, chance_of = model.coded_groups(), model.state_dict(), torch.Generator().manual_seed(0)
    fresh = {}
    for name in [name for role in ("latents", "embeddings") for name in groups.get(role, ())]:
        noise = torch.randn(state[name].shape, generator=chance_of)
        fresh[name] = state[name].mean(0) + state[name].std(0, correction=0) * noise
    model.load_state_dict(fresh, strict=False, assign=True)
    return model


@torch.inference_mode()
def answers_by_source(
    llm: VideoLLM, sources: TokenSources, question: Question, max_new_tokens: int
) -> Iterator[Answer]:
    """The greedy answer to `question` for every source, beside the teacher's own."""
    prompt = llm.prompt([Message("user", question.text)], sources.file_tokens.token_space)
    own = llm.answer(prompt, sources.tokens[TRUE], max_new_tokens)
    reference = llm.logits(prompt, sources.tokens[TRUE], own)
    for method, tokens in sources.tokens.items():
        ids = own if method == TRUE else llm.answer(prompt, tokens, max_new_tokens)
        logits = reference if method == TRUE else llm.logits(prompt, tokens, own)
        kl = float(token_kl(reference, logits).mean())
        yield Answer(method, llm.read(ids).strip(), kl, top1_agreement(reference, logits), exact_match(own, ids))
