"""A Hugging Face folder of an untrained model."""

from pathlib import Path

import pytest

from lightning_inr.errors import UserError
from lightning_inr.teachers.catalogue import load_video_llm
from lightning_inr.teachers.tiny.video_llm import byte_tokenizer, write_small
from lightning_inr.types import VideoShape


def test_the_seed_decides_the_weights(tmp_path: Path) -> None:
    one, same, other = (write_small(tmp_path / name, seed=seed) for name, seed in [("a", 0), ("b", 0), ("c", 1)])
    read = [(folder / "model.safetensors").read_bytes() for folder in (one, same, other)]
    assert read[0] == read[1] != read[2]


def test_its_config_can_be_changed(tmp_path: Path) -> None:
    changes = {"text_config": {"hidden_size": 48}, "vision_config": {"image_size": 84}}
    llm = load_video_llm(str(write_small(tmp_path / "wide", config=changes)), load_vision=False, frames=2)
    space = llm.token_space(VideoShape(4, 30, 40, 25.0))
    assert (space.width, space.sampling.height, space.tokens) == (48, 84, 2 * 3 * 3)


def test_its_config_marks_it_as_untrained(tmp_path: Path) -> None:
    assert load_video_llm(str(write_small(tmp_path / "small")), load_vision=False).untrained


@pytest.mark.parametrize("text", ["What happens?", "Ein Bär läuft 🐻\n", "\x00 tab\t"])
def test_every_byte_is_a_token(text: str) -> None:
    tokenizer = byte_tokenizer("<video>")
    ids = tokenizer(text).input_ids
    assert len(ids) == len(text.encode())
    assert tokenizer.decode(ids) == text
    assert len(tokenizer("<video><|im_end|>").input_ids) == 2


def test_an_unknown_family(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="choose one of llava_onevision"):
        write_small(tmp_path / "model", "gpt")
    assert not list(tmp_path.iterdir())
