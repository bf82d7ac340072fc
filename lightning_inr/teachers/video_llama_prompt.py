"""How Video-LLaMA writes a conversation about a video: with LLaMA-2-chat, or with Vicuna, as its demonstrations do."""

from collections.abc import Sequence

from lightning_inr.teachers.video_llm import Message, sampled
from lightning_inr.types import FrameSampling

SYSTEM = (
    "You are able to understand the visual content that the user provides. "
    "Follow the instructions carefully and explain your answers in detail."
)
ROOM = "<ImageHere>"  # where the text is cut for the tokens of the video; never read as text
STOPS = {"llama_2": None, "vicuna": "###"}  # what ends an answer; None: the language model's own mark


def segments(
    style: str, messages: Sequence[Message], sampling: FrameSampling | None, begin: str = "<s>", end: str = "</s>"
) -> list[str]:
    """The text before and after the video's tokens, in the `style` of a key of STOPS; text alone is one piece.

    `begin` and `end` are the tokenizer's marks; it sets the first `begin` itself. Certain are the tags, where the
    tokens stand, the sentence about the frames and the two styles; the system's message is the demonstration's, and
    the paper (Zhang, Li and Bing, EMNLP 2023) does not say whether its figures were made with it.
    """
    first, *later = messages
    write = _vicuna if style == "vicuna" else lambda turns: _llama_2(turns, begin, end)
    if sampling is None:
        return [write([first, *later])]
    shown = first._replace(text=f"<Video>{ROOM}</Video> {sampled(sampling)}  {first.text}")
    before, _, after = write([shown, *later]).partition(ROOM)  # the first: a question may hold another
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
