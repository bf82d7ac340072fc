"""Weights with their published names are read; damaged or mismatched ones are errors of one line."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from lightning_inr.errors import UserError
from lightning_inr.teachers.catalogue import load_video_llm
from lightning_inr.teachers.tiny.video_llama import write_small_video_llama
from lightning_inr.teachers.video_llama.model import VideoLlama, load_video_llama
from lightning_inr.teachers.video_llm.loading import quiet
from tests.conftest import moving_square
from tests.teachers.video_llama.conftest import VIDEO, pieces


def published(folder: Path) -> dict[str, Tensor]:
    return torch.load(folder / "video_llama.pth", weights_only=True)["model"]


def test_weights_have_their_published_names(small: Path) -> None:
    names = set(published(small))
    layer = "video_Qformer.bert.encoder.layer.1."
    attention = {f"{part}.{kind}" for part in ("self.query", "self.key", "self.value", "output.dense") for kind in
                 ("weight", "bias")} | {"output.LayerNorm.weight", "output.LayerNorm.bias"}  # fmt: skip
    forward = {f"{part}.{kind}" for part in ("intermediate_query.dense", "output_query.dense", "output_query.LayerNorm")
               for kind in ("weight", "bias")}  # fmt: skip
    expected = {f"{kind}.{name}" for kind in ("attention", "crossattention") for name in attention} | forward
    assert {name.removeprefix(layer) for name in names if name.startswith(layer)} == expected
    assert {name for name in names if "encoder.layer" not in name} == {
        "video_query_tokens", "video_frame_position_embedding.weight", "llama_proj.weight", "llama_proj.bias",
        "video_Qformer.bert.embeddings.LayerNorm.weight", "video_Qformer.bert.embeddings.LayerNorm.bias",
    }  # fmt: skip


def lavis(name: str) -> str:
    """A weight of the vision part under its name in LAVIS."""
    for ours, theirs in [
        ("qformer.layernorm", "Qformer.bert.embeddings.LayerNorm"), ("qformer.encoder", "Qformer.bert.encoder"),
        ("attention.attention", "attention.self"), ("vision_model.post_layernorm", "ln_vision"),
        ("vision_model.embeddings.class_embedding", "visual_encoder.cls_token"),
        ("vision_model.embeddings.position_embedding", "visual_encoder.pos_embed"),
        ("vision_model.embeddings.patch_embedding", "visual_encoder.patch_embed.proj"),
        ("vision_model.encoder.layers", "visual_encoder.blocks"), ("layer_norm", "norm"),
        ("self_attn.projection", "attn.proj"), ("self_attn", "attn"),
    ]:  # fmt: skip
        name = name.replace(ours, theirs)
    return name


def test_a_checkpoint_may_contain_blip2_and_unneeded_weights(copied: Path, model: VideoLlama, tmp_path: Path) -> None:
    other = write_small_video_llama(tmp_path / "other", seed=1)
    state = published(copied)
    for name, value in load_file(copied / "blip2" / "model.safetensors").items():
        if name.endswith("qkv.bias"):
            query, _, last = value.chunk(3)
            state |= {lavis(name).replace("qkv.bias", "q_bias"): query, lavis(name).replace("qkv.bias", "v_bias"): last}
        else:
            state[lavis(name)] = value
    for name in ("audio_query_tokens", "Qformer.bert.embeddings.position_ids", "video_Qformer.cls.predictions.bias",
                 "llama_model.model.layers.0.self_attn.rotary_emb.inv_freq",
                 "Qformer.bert.encoder.layer.0.intermediate.dense.weight"):  # fmt: skip
        state[name] = torch.zeros(2)
    torch.save({"model": state, "optimizer": {}}, copied / "video_llama.pth")
    again = load_video_llama(**pieces(copied) | {"blip2": str(other / "blip2")})
    assert (again.vision_fingerprint, again.fingerprint) == (model.vision_fingerprint, model.fingerprint)
    frames, space = list(moving_square(8)), model.token_space(VIDEO)
    assert torch.equal(again.features(frames, space), model.features(frames, space))


def test_fingerprints_are_of_their_part(copied: Path, model: VideoLlama, tmp_path: Path) -> None:
    other = write_small_video_llama(tmp_path / "other", seed=1)
    encoded = load_video_llama(**pieces(copied) | {"blip2": str(other / "blip2")})
    assert encoded.fingerprint == model.fingerprint
    assert encoded.vision_fingerprint != model.vision_fingerprint
    half = load_video_llama(**pieces(copied), dtype="bfloat16")
    assert half.language.dtype == torch.bfloat16
    assert half.fingerprint == model.fingerprint
    state = published(copied)
    state["llama_proj.weight"] += 1
    torch.save({"model": state}, copied / "video_llama.pth")
    read = load_video_llama(**pieces(copied))
    assert (read.fingerprint != model.fingerprint, read.vision_fingerprint) == (True, model.vision_fingerprint)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (None, {"weights": None}, "weights=null: no checkpoint is named; get one with `hf download"),
        (None, {"weights": "nowhere.pth"}, "weights=nowhere.pth: no such file; get one with `hf download"),
        (None, {"blip2": "./nowhere"}, "blip2=./nowhere: .*hf download"),
        (None, {"llama": "./nowhere"}, "llama=./nowhere: .*hf download"),
        (None, {"style": "poetry"}, "style=poetry: choose llama_2, vicuna"),
        (None, {"frames": 0}, "frames=0"),
        (None, {"frames": "few"}, "frames=few"),
        (None, {"dtype": "int8"}, "dtype=int8"),
        ({"video_query_tokens": None}, {}, "video_query_tokens missing"),
        ({"llama_proj.bias": None}, {}, "llama_proj.bias missing"),
        ({"llama_proj.weight": None}, {}, "llama_proj.weight missing"),
        ({"video_Qformer.bert.encoder.layer.1.attention.self.key.bias": None}, {},
         "video_qformer.encoder.layer.1.attention.attention.key.bias missing"),
        ({"audio": 3, "x": 3}, {}, "no weights by name in it"),
        ({"video_query_tokens": torch.ones(1).expand(1, 10**12, 32)}, {}, "no weights by name in it"),
        ({"lora.a": torch.ones(1), "lora.b": torch.ones(1)}, {}, "lora.a, lora.b unknown"),
        ({"video_Qformer.bert.embeddings.LayerNorm.bias": torch.ones(7)}, {}, "size mismatch"),
        ({"llama_proj.weight": torch.ones(9, 32), "llama_proj.bias": torch.ones(9)}, {}, "llama=.*trained on one of 9"),
    ],
)  # fmt: skip
def test_mismatched_parts_are_errors_of_one_line(
    copied: Path, change: dict[str, Any] | None, options: dict[str, Any], message: str
) -> None:
    if change:
        state = {name: value for name, value in (published(copied) | change).items() if value is not None}
        torch.save({"model": state}, copied / "video_llama.pth")
    with pytest.raises(UserError, match=message) as raised:
        load_video_llama(**pieces(copied) | options)
    assert "\n" not in str(raised.value)


def test_a_checkpoint_name_in_a_file_is_an_error_with_the_loader(model: VideoLlama) -> None:
    with pytest.raises(UserError, match=r"add video_llm=video_llama video_llm\.weights=.*video_llama\.pth"):
        load_video_llm(model.token_space(VIDEO).model)


class Program:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("ran"),)


def test_code_in_a_checkpoint_is_not_run(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": published(copied) | {"x": Program()}}, copied / "video_llama.pth")
    with pytest.raises(UserError, match="more than tensors, which is not loaded"):
        load_video_llama(**pieces(copied))
    assert not Path("ran").exists()
    (copied / "video_llama.pth").write_bytes(b"no weights at all")
    with pytest.raises(UserError, match="damaged"):
        load_video_llama(**pieces(copied))


def test_a_damaged_or_foreign_folder_is_an_error_of_one_line(copied: Path) -> None:
    (copied / "blip2" / "model.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(UserError, match=r"blip2=.*damaged"):
        load_video_llama(**pieces(copied))
    config = LlamaConfig.from_pretrained(copied / "llama")
    config.num_hidden_layers = 60
    config.save_pretrained(copied / "llama")
    with pytest.raises(UserError, match=r"llama=.*missing or cut"):
        load_video_llama(**pieces(copied), load_vision=False)


def test_missing_llama_weights_are_an_error(copied: Path) -> None:
    with quiet():
        config = LlamaConfig.from_pretrained(copied / "llama")
        config.num_hidden_layers = 3
        smaller = LlamaForCausalLM.from_pretrained(copied / "llama")
        smaller.save_pretrained(copied / "llama")
        config.save_pretrained(copied / "llama")
    with pytest.raises(UserError, match=r"lack model\.layers\.2"):
        load_video_llama(**pieces(copied), load_vision=False)
