"""The conversation formats of Video-LLaMA for LLaMA-2-chat and Vicuna, as in its published demonstrations."""

from collections.abc import Sequence

from lightning_inr.teachers.video_llm.interface import Message, sampled
from lightning_inr.types import FrameSampling

SYSTEM = (
    "You are able to understand the visual content that the user provides. "
    "Follow the instructions carefully and explain your answers in detail."
)
TOKEN_PLACEHOLDER = "<ImageHere>"  # where the text is split for the visual tokens; never tokenised
STOPS = {"llama_2": None, "vicuna": "###"}  # string that ends an answer; None: the language model's end mark


def segments(
    style: str, messages: Sequence[Message], sampling: FrameSampling | None, begin: str = "<s>", end: str = "</s>"
) -> list[str]:
    """The texts before and after the visual tokens, in a `style` that is a key of STOPS; one text without a video.

    `begin` and `end` are the tokenizer's marks; the tokenizer adds the first `begin` itself. The tags, the place of the
    tokens, the sentence about the frames and the two styles are those of the published model. The system message is
    that of the demonstration; the paper (Zhang, Li and Bing, EMNLP 2023) does not state whether its figures use it.
    """
    first, *later = messages
    write = _vicuna if style == "vicuna" else lambda turns: _llama_2(turns, begin, end)
    if sampling is None:
        return [write([first, *later])]
    with_video = first._replace(text=f"<Video>{TOKEN_PLACEHOLDER}</Video> {sampled(sampling)}  {first.text}")
    before, _, after = write([with_video, *later]).partition(
        TOKEN_PLACEHOLDER
    )  # at the first: a question may contain the same string
    return [before, after]


def _llama_2(messages: Sequence[Message], begin: str, end: str) -> str:
    first, *later = messages
    text = f"[INST] <<SYS>>\n{SYSTEM}\n<</SYS>>\n\n{first.text} [/INST]"
    for role, words in later:
        text += f"{begin}[INST] {words} [/INST]" if role == "user" else f" {words} {end}"
    return text


def _vicuna(messages: Sequence[Message]) -> str:
    names = {"user": "Human", "assistant": "Assistant"}
    turns = "".join(f"{names[role]}: {words}###" for role, words in messages)
    return f"{SYSTEM}###{turns}Assistant:"
