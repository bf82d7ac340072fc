"""For every family, answers from visual tokens equal those of transformers from the frames."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import interpolate
from transformers.video_utils import VideoMetadata

from lightning_inr.errors import UserError
from lightning_inr.teachers.catalogue import load_video_llm
from lightning_inr.teachers.tiny.video_llm import RECIPES, write_small
from lightning_inr.teachers.video_llm import transformers_llm
from lightning_inr.teachers.video_llm.interface import Message, VideoLLM, sampled
from lightning_inr.types import TokenSpace, VideoShape

VIDEO = VideoShape(9, 30, 40, 25.0)
QUESTION = [Message("user", "What happens?")]
FOLLOW_UP = [*QUESTION, Message("assistant", "It rains."), Message("user", "And then?")]
MOST = 8


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of each family, written on first use; read only."""
    root = tmp_path_factory.mktemp("models")
    return lambda family: root / family if (root / family).is_dir() else write_small(root / family, family)


@pytest.fixture(scope="module", params=list(RECIPES))
def folder(request: pytest.FixtureRequest, folders: Callable[[str], Path]) -> Path:
    return folders(request.param)


@pytest.fixture(scope="module")
def llm(folder: Path) -> Any:
    return load_video_llm(str(folder), frames=4, side=56)


@pytest.fixture(scope="module")
def onevision(folders: Callable[[str], Path]) -> Any:
    return load_video_llm(str(folders("llava_onevision")), frames=4)


def frames_of(space: TokenSpace, seed: int = 0) -> list[Tensor]:
    """Random frames of the sampled size."""
    generator = torch.Generator().manual_seed(seed)
    shape = (3, VIDEO.height, VIDEO.width)
    return [torch.randint(256, shape, generator=generator, dtype=torch.uint8) for _ in range(space.sampling.frames)]


def pixel_inputs(llm: Any, messages: list[Message], frames: list[Tensor], space: TokenSpace) -> dict[str, Tensor]:
    """The inputs that a user of transformers would pass to the model for these frames."""
    turns: list[dict[str, Any]] = [
        {"role": role, "content": [{"type": "text", "text": text}]} for role, text in messages
    ]
    if "VideoLlama3" not in type(llm.model).__name__ and "Qwen" not in type(llm.model).__name__:
        turns[0]["content"][0]["text"] = f"{sampled(space.sampling)} {turns[0]['content'][0]['text']}"
    turns[0]["content"].insert(0, {"type": "video"})
    video, size = torch.stack(frames), (space.sampling.height, space.sampling.width)
    options = {}
    if llm.model.config.model_type in ("qwen2_5_vl", "video_llama_3"):
        video, options = interpolate(video, size, mode="bicubic", antialias=True), {"do_resize": False}
    times = VideoMetadata(len(frames), 1 / space.sampling.seconds, frames_indices=list(range(len(frames))))
    return llm.processor(
        text=[llm.processor.apply_chat_template(turns, add_generation_prompt=True)], videos=[video],
        video_metadata=[times], do_sample_frames=False, return_tensors="pt", **options,
    )  # fmt: skip


def test_the_prompt_states_the_times_of_the_frames(llm: Any) -> None:
    soon, late = (llm.token_space(VIDEO._replace(fps=fps)) for fps in (25.0, 2.0))
    prompts = [llm.prompt(QUESTION, space) for space in (soon, late)]
    assert str(prompts[0]) != str(prompts[1])


@pytest.mark.parametrize("messages", [QUESTION, FOLLOW_UP], ids=["question", "history"])
def test_answers_from_tokens_equal_those_from_pixels(llm: Any, messages: list[Message]) -> None:
    space = llm.token_space(VIDEO)
    frames = frames_of(space)
    inputs = pixel_inputs(llm, messages, frames, space)
    prompt, tokens = llm.prompt(messages, space), llm.features(frames, space)
    assert torch.equal(prompt.ids, inputs["input_ids"])
    assert prompt.length == inputs["input_ids"].shape[1]
    expected = llm.model.generate(**inputs, max_new_tokens=MOST, do_sample=False)[0, prompt.length :]
    assert torch.equal(llm.answer(prompt, tokens, MOST), expected)


def test_likelihoods_from_tokens_equal_those_from_pixels(llm: Any) -> None:
    space = llm.token_space(VIDEO)
    frames = frames_of(space)
    prompt, tokens = llm.prompt(QUESTION, space), llm.features(frames, space)
    answer = llm.answer(prompt, tokens, MOST)
    found = llm.logits(prompt, tokens.requires_grad_(), answer)
    inputs = dict(pixel_inputs(llm, QUESTION, frames, space))
    inputs["input_ids"] = torch.cat([inputs["input_ids"], answer[None]], 1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    if "mm_token_type_ids" in inputs:
        inputs["mm_token_type_ids"] = torch.nn.functional.pad(inputs["mm_token_type_ids"], (0, len(answer)))
    with torch.no_grad():
        expected = llm.model(**inputs).logits[0, prompt.length - 1 : -1]
    torch.testing.assert_close(found, expected)
    assert torch.equal(found.argmax(1), answer)
    found.logsumexp(1).sum().backward()
    assert tokens.grad is not None
    assert tokens.grad.ne(0).any(1).all()  # each token matters


def test_without_the_vision_tower_answers_are_the_same(folder: Path, llm: Any) -> None:
    space = llm.token_space(VIDEO)
    tokens = llm.features(frames_of(space), space)
    without_tower: Any = load_video_llm(str(folder), load_vision=False, frames=4, side=56)
    assert without_tower.token_space(VIDEO) == space
    prompt = without_tower.prompt(QUESTION, space)
    assert torch.equal(without_tower.answer(prompt, tokens, MOST), llm.answer(prompt, tokens, MOST))
    with pytest.raises(UserError, match="set video_llm"):
        without_tower.features(frames_of(space), space)
    there = {name for name, _ in without_tower.model.named_parameters()}
    assert there < {name for name, _ in llm.model.named_parameters()}
    assert not [
        name for name in there if not name.startswith(("model.language_model.", "lm_head", "model.image_newline"))
    ]


def test_the_weights_of_the_vision_tower_are_not_read(
    folders: Callable[[str], Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folders("llava_onevision"), tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    kept = {key: value for key, value in load_file(file).items() if not key.startswith(("vision", "multi_modal"))}
    expected = load_video_llm(str(folders("llava_onevision")), load_vision=False)
    load_video_llm(str(tmp_path / "model"), load_vision=False)
    assert capfd.readouterr() == ("", "")  # no warning of weights that are not loaded on purpose
    save_file(kept, file, {"format": "pt"})
    without_tower = load_video_llm(str(tmp_path / "model"), load_vision=False)
    assert without_tower.fingerprint == expected.fingerprint
    with pytest.raises(UserError, match="the weights lack"):  # never random ones
        load_video_llm(str(tmp_path / "model"))


def test_the_stream_equals_the_answer(llm: Any) -> None:
    space = llm.token_space(VIDEO)
    prompt, tokens = llm.prompt(QUESTION, space), llm.features(frames_of(space), space)
    assert "".join(llm.generate(prompt, tokens, MOST)) == llm.read(llm.answer(prompt, tokens, MOST))


def test_answers_contain_no_image_token(folders: Callable[[str], Path]) -> None:
    own = load_video_llm(str(folders("video_llava")), frames=4)
    assert isinstance(own, transformers_llm.TransformersLLM)
    space = own.token_space(VIDEO)
    prompt, tokens = own.prompt(QUESTION, space), own.features(frames_of(space), space)
    mark, other = own.tokenizer.convert_tokens_to_ids([own.processor.video_token, "a"])
    hidden = own.model.base_model(**own._inputs(prompt, tokens, prompt.ids))[0][0, -1]
    before = own.model.lm_head.weight.clone()
    own.model.lm_head.weight[mark] = 100 * hidden  # now nothing is likelier
    own.model.lm_head.weight[other] = 50 * hidden
    answer = own.answer(prompt, tokens, MOST)
    own.model.lm_head.weight.copy_(before)
    assert answer[0] == other
    assert mark not in answer.tolist()
    assert own.logits(prompt, tokens, answer).shape[0] == len(answer)


def test_prompts_without_a_video(llm: Any) -> None:
    prompt = llm.prompt(QUESTION, None)
    assert prompt.tokens == 0
    assert len(llm.logits(prompt, None, llm.answer(prompt, None, 3))) <= 3


def test_different_videos_get_different_answers(llm: Any) -> None:
    space = llm.token_space(VIDEO)
    prompt = llm.prompt(QUESTION, space)
    one, other = (llm.answer(prompt, llm.features(frames_of(space, seed), space), MOST) for seed in (0, 1))
    assert one.tolist() != other.tolist()


def test_a_closed_stream_stops(onevision: Any) -> None:
    steps = []
    onevision.model.register_forward_pre_hook(lambda *_: steps.append(1))
    pieces = onevision.generate(onevision.prompt(QUESTION, None), None, 4000, do_sample=True, temperature=9.0)
    next(pieces)
    pieces.close()
    after = len(steps)
    assert after < 4000
    onevision.answer(onevision.prompt(QUESTION, None), None, 1)
    assert len(steps) == after + 1  # the thread is gone


def test_errors_of_the_generating_thread_are_raised(onevision: Any) -> None:
    with pytest.raises(ValueError, match="16 tokens"):
        list(onevision.generate(onevision.prompt(QUESTION, onevision.token_space(VIDEO)), None))


def test_sampling_options_are_passed_on(onevision: Any) -> None:
    prompt = onevision.prompt(QUESTION, None)
    torch.manual_seed(1)
    drawn = "".join(onevision.generate(prompt, None, 20, do_sample=True, temperature=3.0))
    assert drawn != "".join(onevision.generate(prompt, None, 20))


def test_the_fingerprint_is_of_the_language_model(
    folders: Callable[[str], Path], tmp_path: Path, onevision: Any
) -> None:
    for dtype in ("bfloat16", "float16"):
        assert load_video_llm(str(folders("llava_onevision")), dtype=dtype).fingerprint == onevision.fingerprint
    other = load_video_llm(str(write_small(tmp_path / "other", seed=1)))
    assert other.fingerprint != onevision.fingerprint


@pytest.mark.parametrize(
    ("family", "frames", "sampled_frames", "tokens", "groups", "size"),
    [
        ("llava_onevision", 9, 5, 20, 5, (56, 56)),
        ("video_llama_3", 4, 4, 4 * 15, 4, (84, 140)),  # 3:4 as 97x129, to whole patches of 28
        ("qwen2_5_vl", 9, 4, 2 * 15, 2, (84, 140)),  # two by two
        ("qwen2_5_vl", 1, 2, 15, 1, (84, 140)),
        ("llava_next_video", 4, 4, 16, 4, (56, 56)),
        ("video_llava", 4, 4, 4 * 17, 4, (56, 56)),
    ],
)
def test_token_space_of_a_video(
    folders: Callable[[str], Path],
    family: str,
    frames: int,
    sampled_frames: int,
    tokens: int,
    groups: int,
    size: tuple[int, int],
) -> None:
    llm = load_video_llm(str(folders(family)), load_vision=False, frames=frames)
    space = llm.token_space(VIDEO._replace(frames=5))
    assert (space.sampling.frames, space.tokens, space.groups) == (sampled_frames, tokens, groups)
    assert (space.sampling.height, space.sampling.width) == size
    assert space.sampling.seconds == pytest.approx(4 / max(1, sampled_frames - 1) / 25 if frames > 1 else 4 / 25)


def test_the_number_of_frames_is_limited_by_the_context(tmp_path: Path) -> None:
    write_small(tmp_path / "short", config={"text_config": {"max_position_embeddings": 100}})
    llm: VideoLLM = load_video_llm(str(tmp_path / "short"), load_vision=False, frames=30)
    with pytest.warns(UserWarning, match="reads at most 18 frames of this size, not 30"):
        assert llm.token_space(VIDEO._replace(frames=40)).sampling.frames == 18


def test_a_file_with_another_number_of_tokens_is_refused(llm: Any) -> None:
    space = llm.token_space(VIDEO)
    for wrong in (space._replace(tokens=1), space._replace(sampling=space.sampling._replace(frames=2**24))):
        with pytest.raises(UserError, match=r"it has .* tokens .* align it again"):
            llm.prompt(QUESTION, wrong)


def test_a_video_token_in_the_question_is_an_error(onevision: Any) -> None:
    with pytest.raises(UserError, match="<video> means a picture"):
        onevision.prompt([Message("user", "What does <video> mean?")], None)


def test_missing_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    for model, why in [
        ("nobody/nothing", "hf download nobody/nothing"),
        ("empty", "name a folder"),
        ("other", "bert is no"),
    ]:
        with pytest.raises(UserError, match=f"video_llm.model=.*{model}: .*{why}") as raised:
            load_video_llm(model if "/" in model else str(tmp_path / model))
        assert "\n" not in str(raised.value)


def test_damaged_folders(folders: Callable[[str], Path], tmp_path: Path) -> None:
    def spoilt(name: str, spoil: Callable[[Path], Any]) -> str:
        shutil.copytree(folders("llava_onevision"), tmp_path / name)
        spoil(tmp_path / name)
        return str(tmp_path / name)

    def grow(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        config["text_config"]["vocab_size"] = 10**9
        (folder / "config.json").write_text(json.dumps(config))

    spoils: dict[str, tuple[Callable[[Path], Any], str]] = {
        "without weights": (lambda folder: (folder / "model.safetensors").unlink(), "hf download"),
        "cut": (lambda folder: (folder / "model.safetensors").write_bytes(b"cut"), "hf download"),
        "greedy": (grow, "missing or cut"),
        "no template": (lambda folder: (folder / "chat_template.jinja").unlink(), "no chat template"),
    }
    for name, (spoil, why) in spoils.items():
        with pytest.raises(UserError, match=why):
            load_video_llm(spoilt(name, spoil))


@pytest.mark.parametrize(
    ("options", "remedy"),
    [({"frames": 0}, "frames=0"), ({"frames": 7.5}, "frames=7.5"), ({"frames": "few"}, "frames=few"),
     ({"side": 0}, "side=0"), ({"side": "wide"}, "side=wide"), ({"dtype": "int3"}, "choose auto"),
     ({"bits": 3}, "choose 4, 8"), ({"device": "tpu"}, "choose auto")],
)  # fmt: skip
def test_wrong_options(options: dict[str, Any], remedy: str) -> None:
    with pytest.raises(UserError, match=remedy):
        load_video_llm("nobody/nothing", **options)


def test_an_old_release(folders: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    library = "lightning_inr.teachers.video_llm.transformers_llm.transformers"  # replaced where the code imports it
    monkeypatch.delattr(f"{library}.LlavaOnevisionForConditionalGeneration.forward")
    monkeypatch.setattr(f"{library}.__version__", "5.17.0")
    with pytest.raises(UserError, match=r"transformers 5\.17\.0 .*5\.18"):
        load_video_llm(str(folders("llava_onevision")))
