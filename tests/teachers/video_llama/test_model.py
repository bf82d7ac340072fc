"""Video-LLaMA: answers from features equal those from pixels, and published weight names are read."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import Blip2Config, LlamaConfig, LlamaForCausalLM

from lightning_inr.errors import UserError
from lightning_inr.teachers.catalogue import load_video_llm
from lightning_inr.teachers.tiny.video_llama import write_small_video_llama
from lightning_inr.teachers.video_llama import model as video_llama
from lightning_inr.teachers.video_llama.model import VideoLlama, load_video_llama
from lightning_inr.teachers.video_llama.prompt import STOPS, segments
from lightning_inr.teachers.video_llama.tower import Tower, preprocess_frame
from lightning_inr.teachers.video_llm.interface import Message
from lightning_inr.teachers.video_llm.loading import quiet
from lightning_inr.types import FrameSampling, VideoShape
from tests.conftest import moving_square

VIDEO = VideoShape(40, 48, 64, 10.0)
QUESTION = [Message("user", "What moves?")]


def pieces(folder: Path) -> dict[str, Any]:
    return {
        "weights": str(folder / "video_llama.pth"), "llama": str(folder / "llama"), "blip2": str(folder / "blip2"),
        "device": "cpu",
    }  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_video_llama(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def model(small: Path) -> VideoLlama:
    return load_video_llama(**pieces(small))


@pytest.fixture
def copied(small: Path, tmp_path: Path) -> Path:
    """Copies of the parts that a test may change."""
    return Path(shutil.copytree(small, tmp_path / "copied"))


def published(folder: Path) -> dict[str, Tensor]:
    return torch.load(folder / "video_llama.pth", weights_only=True)["model"]


def reference_answer(model: VideoLlama, frames: Tensor, max_new_tokens: int) -> Tensor:
    """The ids of an answer from pixels, frame by frame and token by token, without a cache."""
    assert model.vision is not None
    vision, encoded = model.vision, []
    for place, frame in enumerate(frames):
        patches = vision.vision_model(preprocess_frame(frame)[None]).last_hidden_state
        queries = vision.qformer(vision.query_tokens, encoder_hidden_states=patches).last_hidden_state
        encoded.append(queries + vision.video_frame_position_embedding(torch.tensor([place])))
    clip = vision.video_qformer(
        vision.video_query_tokens, encoder_hidden_states=torch.cat(encoded, 1)
    ).last_hidden_state
    sampling = (
        model.token_space(VIDEO)
        ._replace(sampling=model.token_space(VIDEO).sampling._replace(frames=len(frames)))
        .sampling
    )
    before, after = segments("llama_2", QUESTION, sampling, "", model.tokenizer.eos_token)
    words = model.language.get_input_embeddings()
    ids = [torch.tensor(model.tokenizer(text).input_ids) for text in (before, after)]
    read = torch.cat([words(ids[0])[None], model.projection(clip), words(ids[1])[None]], 1)
    generated: list[int] = []
    for _ in range(max_new_tokens):
        generated.append(int(model.language(inputs_embeds=read, use_cache=False).logits[0, -1].argmax()))
        read = torch.cat([read, words(torch.tensor([[generated[-1]]]))], 1)
    return torch.tensor(generated)


def test_the_published_model_makes_32_tokens_of_768_whatever_the_number_of_frames() -> None:
    with torch.device("meta"):
        tower = Tower(Blip2Config(), places=32, tokens=32)
        shapes = {tower(torch.empty(frames, 3, 224, 224)).shape for frames in (1, 8, 32)}
    assert shapes == {(32, 768)}
    assert len(tower.vision_model.encoder.layers) == 39
    assert [layer.has_cross_attention for layer in tower.video_qformer.encoder.layer] == [True, True]


def test_features_are_of_the_whole_clip(model: VideoLlama) -> None:
    for frames in (1, 3, 32):
        space = load_space(model, frames)
        found = model.features(list(moving_square(frames)), space)
        assert found.shape == (space.tokens, space.width)
        assert space.groups == 0
        assert found.dtype == torch.float32
        assert not found.requires_grad


def load_space(model: VideoLlama, frames: int) -> Any:
    space = model.token_space(VIDEO)
    return space._replace(sampling=space.sampling._replace(frames=frames))


def test_tokens_depend_on_the_order_of_frames(model: VideoLlama) -> None:
    video = moving_square(4)
    space = load_space(model, 4)
    there, back = (model.features(list(frames), space) for frames in (video, video.flip(0)))
    assert (there - back).abs().max() > 1e-3


def test_frames_are_evenly_spaced_and_at_most_as_many_as_positions(small: Path, model: VideoLlama) -> None:
    assert model.token_space(VIDEO).sampling == pytest.approx(FrameSampling(8, 224, 224, 39 / 7 / 10))
    assert model.token_space(VIDEO._replace(frames=3)).sampling == pytest.approx(FrameSampling(3, 224, 224, 0.1))
    assert model.token_space(VIDEO._replace(frames=1)).sampling.frames == 1
    with pytest.warns(UserWarning, match="32 frames, not 40"):
        many = load_video_llama(**pieces(small), frames=40, load_vision=False)
    assert many.token_space(VIDEO).sampling.frames == 32


def test_answers_from_features_are_those_from_pixels(model: VideoLlama) -> None:
    space = model.token_space(VIDEO)
    answers = []
    for video in (moving_square(8), torch.randint(256, (8, 3, 30, 50), dtype=torch.uint8)):
        prompt = model.prompt(QUESTION, space)
        answers.append(model.answer(prompt, model.features(list(video), space), max_new_tokens=12))
        assert torch.equal(answers[-1], reference_answer(model, video, max_new_tokens=12))
    assert not torch.equal(*answers)


def test_without_the_vision_tower_answers_are_the_same(small: Path, model: VideoLlama) -> None:
    shutil.move(small / "blip2", small / "gone")  # not even read
    try:
        without_tower = load_video_llama(**pieces(small), load_vision=False)
    finally:
        shutil.move(small / "gone", small / "blip2")
    space = model.token_space(VIDEO)
    assert (without_tower.has_vision, without_tower.vision, without_tower.untrained) == (False, None, True)
    assert (without_tower.token_space(VIDEO), without_tower.fingerprint) == (space, model.fingerprint)
    tokens, prompt = torch.randn(space.tokens, space.width), model.prompt(QUESTION, space)
    assert torch.equal(
        without_tower.answer(without_tower.prompt(QUESTION, space), tokens, 8), model.answer(prompt, tokens, 8)
    )
    for call in (
        lambda: without_tower.features(list(moving_square(8)), space),
        lambda: without_tower.vision_fingerprint,
    ):
        with pytest.raises(UserError, match="load_vision=true"):
            call()


def test_answers_are_streamed_scored_and_can_be_stopped(model: VideoLlama) -> None:
    space = model.token_space(VIDEO)
    tokens = torch.randn(space.tokens, space.width, requires_grad=True)
    history = [*QUESTION, Message("assistant", "A square."), Message("user", "Which colour?")]
    prompt = model.prompt(history, space)
    answer = model.answer(prompt, tokens, 8)
    assert "".join(model.generate(prompt, tokens.detach(), 8)) == model.read(answer)
    logits = model.logits(prompt, tokens, answer)
    assert torch.equal(logits.argmax(-1), answer)
    logits.sum().backward()
    assert tokens.grad is not None
    assert tokens.grad.abs().sum() > 0
    pieces = model.generate(prompt, tokens.detach(), 4000)
    next(pieces)
    pieces.close()
    assert model.prompt(history, None).length < prompt.length
    assert len(model.answer(model.prompt(history, None), None, 3)) <= 3


def test_the_prompt_states_the_number_and_times_of_frames(model: VideoLlama) -> None:
    space = load_space(model, 3)
    prompt = model.prompt([Message("user", "Where is <ImageHere>?")], space)
    text = model.read(torch.cat([prompt.ids[0, : prompt.grids["start"]], prompt.ids[0, prompt.grids["start"] + 8 :]]))
    assert (
        "<Video></Video> The video contains 3 frames sampled at 0.0, 0.6, 1.1 seconds.  Where is <ImageHere>?" in text
    )
    assert prompt.length == len(text) + 8


def test_each_style_has_the_turn_format_of_its_language_model() -> None:
    history = [Message("user", "A?"), Message("assistant", "B."), Message("user", "C?")]
    (llama,) = segments("llama_2", history, None)
    (vicuna,) = segments("vicuna", history, None)
    assert llama.startswith("[INST] <<SYS>>\nYou are able")
    assert llama.endswith("\n<</SYS>>\n\nA? [/INST] B. </s><s>[INST] C? [/INST]")
    assert vicuna.startswith("You are able")
    assert vicuna.endswith("detail.###Human: A?###Assistant: B.###Human: C?###Assistant:")


def test_answers_end_at_the_stop_string_of_the_style(
    small: Path, model: VideoLlama, monkeypatch: pytest.MonkeyPatch
) -> None:
    vicuna = load_video_llama(**pieces(small), style="vicuna", load_vision=False)
    assert vicuna.fingerprint != model.fingerprint
    prompt = vicuna.prompt(QUESTION, None)
    whole = vicuna.read(vicuna.answer(prompt, None, 60))
    mark = re.findall(r"[!-~]", whole)[-1]
    monkeypatch.setitem(STOPS, "vicuna", mark)
    found = vicuna.answer(prompt, None, 60)
    assert len(found) < 60
    assert vicuna.read(found) == "".join(vicuna.generate(prompt, None, 60)) == whole.partition(mark)[0]


@pytest.mark.parametrize(
    "pieces_of_text", [["a ", "b##", "#c"], ["a b###", "c"], ["a ", "b", "#", "#", "#", "c"], ["a b"]]
)
def test_the_stop_string_is_not_part_of_the_answer(pieces_of_text: list[str]) -> None:
    assert "".join(video_llama._until("###", pieces_of_text)) == "a b"


def test_a_prefix_of_the_stop_string_is_part_of_the_answer() -> None:
    assert "".join(video_llama._until("###", ["a#", "#b", "##"])) == "a##b##"


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
