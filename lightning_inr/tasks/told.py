"""A film told to a video language model in every way, and what it answers: the true frames, our latents, floors."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_inr.chat.scores import exact_match, token_kl, top1_agreement
from lightning_inr.codec import decode
from lightning_inr.data.questions import Question
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.paths import read_bytes
from lightning_inr.retrieval.gallery import read_model
from lightning_inr.tasks.evaluate import check_same_video
from lightning_inr.tasks.films import Film
from lightning_inr.tasks.talking import TALKING, Listener, Speaker
from lightning_inr.teachers.video_llm import Message, VideoLLM

TRUE, OURS = "true frames", "our latents"
ANOTHER = "another video's latents"


class Told(NamedTuple):
    """A film, and its tokens by every method."""

    speaker: Speaker
    tokens: Mapping[str, Tensor]  # (K, d) each


class Answer(NamedTuple):
    """What one way to tell of a video made the model say; `kl` and `top1` are nan where the teacher said nothing."""

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
def tell(film: Film, following: Film | None, listener: Listener, device: torch.device) -> Told:
    """A film by every method: the true frames, our latents, and what shows how much of an answer needs no video."""
    model = read_model(film.path, TALKING)
    speaker = listener.hear_model(film.path, model)
    source = film.open().seen_at(speaker.video.stride)
    check_same_video(str(film.path), source, speaker.video)
    frames = [source.read(number) for number in speaker.shown]
    true = listener.llm.features(frames, speaker.space)
    painted = list(decode(read_bytes(film.path, "bitstream"), device).render(speaker.shown))
    tokens = {
        TRUE: true,
        OURS: speaker.tokens,
        "decoded frames": listener.llm.features(painted, speaker.space),
        "mean token": true.mean(0).expand_as(true),
    }
    if speaker.video.frames > 1:  # one latent alone has no spread
        tokens["random latents"] = listener.hear_model(film.path, scrambled(model)).tokens
    if following is not None:
        other = listener.hear(following.path).tokens
        if other.shape == true.shape:  # videos of other lengths may be shown as fewer frames
            tokens[ANOTHER] = other
    return Told(speaker, tokens)


def scrambled(model: VideoRepresentation) -> VideoRepresentation:
    """The same model, changed in place: random latents, each dimension with the mean and spread it has over time."""
    groups, state, chance_of = model.coded_groups(), model.state_dict(), torch.Generator().manual_seed(0)
    fresh = {}
    for name in [name for role in ("latents", "embeddings") for name in groups.get(role, ())]:
        noise = torch.randn(state[name].shape, generator=chance_of)
        fresh[name] = state[name].mean(0) + state[name].std(0, correction=0) * noise
    model.load_state_dict(fresh, strict=False, assign=True)
    return model


@torch.inference_mode()
def answer(llm: VideoLLM, told: Told, question: Question, most: int) -> Iterator[Answer]:
    """What `question` is answered by every method, beside the teacher's own greedy answer."""
    prompt = llm.prompt([Message("user", question.text)], told.speaker.space)
    own = llm.answer(prompt, told.tokens[TRUE], most)
    reference = llm.logits(prompt, told.tokens[TRUE], own)
    for method, tokens in told.tokens.items():
        ids = own if method == TRUE else llm.answer(prompt, tokens, most)
        logits = reference if method == TRUE else llm.logits(prompt, tokens, own)
        kl = float(token_kl(reference, logits).mean())
        yield Answer(method, llm.read(ids).strip(), kl, top1_agreement(reference, logits), exact_match(own, ids))
