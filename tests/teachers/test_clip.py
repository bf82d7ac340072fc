"""CLIP: embeddings equal those of open_clip, and missing parts are errors of one line."""

import json
import logging
import pickle
import re
import zipfile
from pathlib import Path

import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from lightning_inr.errors import UserError
from lightning_inr.teachers.clip import Clip, load_clip
from tests.conftest import CLIP, moving_square, write_teacher


@pytest.fixture
def clip(teacher: Path) -> Clip:
    return load_clip(weights=str(teacher), device="cpu")


def test_frame_embeddings_equal_those_of_open_clip(clip: Clip, teacher: Path) -> None:
    video = moving_square()
    model, prepare = open_clip.create_model_from_pretrained(f"local-dir:{teacher}")
    images = torch.stack([prepare(Image.fromarray(frame.permute(1, 2, 0).numpy())) for frame in video])
    with torch.no_grad():
        expected = model.eval().encode_image(images, normalize=True)
    assert torch.equal(clip.embed_frames(video), expected)
    assert clip.embed_frames(iter(video), batch=4) == pytest.approx(expected, abs=1e-5)


def test_text_embeddings_equal_those_of_open_clip(clip: Clip, teacher: Path) -> None:
    texts = ["a red square moves right", "nothing"]
    model = open_clip.create_model_from_pretrained(f"local-dir:{teacher}", return_transform=False).eval()
    with torch.no_grad():
        expected = model.encode_text(open_clip.get_tokenizer(f"local-dir:{teacher}")(texts), normalize=True)
    assert torch.equal(clip.embed_texts(texts), expected)


def test_vectors_have_length_one_and_a_loss_can_be_taken_against_them(clip: Clip) -> None:
    embedded = clip.embed_frames(moving_square(3))
    assert embedded.shape == (3, clip.embedding_space.width)
    assert embedded.dtype == torch.float32
    assert embedded.norm(dim=1) == pytest.approx(torch.ones(3))
    latent = torch.randn(3, clip.embedding_space.width, requires_grad=True)
    (latent * embedded).sum().backward()
    assert latent.grad is not None
    assert clip.embed_frames([]).shape == (0, clip.embedding_space.width)


def test_only_a_batch_of_frames_is_prepared_at_a_time(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    encode = clip.model.encode_image

    def counted(x: Tensor, normalize: bool) -> Tensor:
        sizes.append(len(x))
        return encode(x, normalize)

    monkeypatch.setattr(clip.model, "encode_image", counted)
    clip.embed_frames(moving_square(5), batch=2)
    assert sizes == [2, 2, 1]


def test_the_fingerprint_is_of_weights_and_preprocessing(clip: Clip, teacher: Path, tmp_path: Path) -> None:
    same = write_teacher(tmp_path / "elsewhere" / "again")
    others = [write_teacher(tmp_path / "other", seed=1), write_teacher(tmp_path / "darker", mean=[0.1, 0.1, 0.1])]
    again = load_clip(weights=str(same), device="cpu").embedding_space
    assert again.fingerprint == clip.embedding_space.fingerprint
    assert (clip.embedding_space.teacher, again.teacher) == ("tiny", "again")
    fingerprints = {load_clip(weights=str(folder), device="cpu").embedding_space.fingerprint for folder in others}
    assert len(fingerprints | {clip.embedding_space.fingerprint}) == 3


@pytest.fixture
def model_name(teacher: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the small model in open_clip's list."""
    path = teacher.parent / "tiny-clip.json"
    path.write_text(json.dumps(CLIP))
    monkeypatch.setattr("open_clip.factory._MODEL_CONFIGS", {})  # restored afterwards
    monkeypatch.setattr("open_clip.factory._MODEL_CONFIG_PATHS", [path])
    open_clip.factory._rescan_model_configs()
    return path.stem


@pytest.mark.parametrize("ending", [".pt", ".bin", ".safetensors"])
def test_a_file_of_weights(clip: Clip, teacher: Path, model_name: str, ending: str) -> None:
    state = load_file(teacher / "open_clip_model.safetensors")
    path = teacher.parent / f"weights{ending}"
    save_file(state, path) if ending == ".safetensors" else torch.save({"state_dict": state}, path)
    loaded = load_clip(model_name, str(path), "cpu")
    assert loaded.embedding_space.teacher == f"tiny-clip/weights{ending}"
    assert loaded.embedding_space.fingerprint == clip.embedding_space.fingerprint
    assert torch.equal(loaded.embed_texts(["red"]), clip.embed_texts(["red"]))


@pytest.mark.parametrize(
    ("model", "weights", "message"),
    [("ViT-B-33", "openai", r"teacher.model=ViT-B-33: .* choose for example ViT-B-32"),
     ("ViT-B/32", "nowhere.pt", r"teacher.weights=nowhere.pt: no such file, .* tags of ViT-B-32: openai, "),
     ("ViT-B-32", "x" * 300, "teacher.weights=x+: no such file"),
     ("tiny-clip", "openai", r"teacher.weights=openai: .* tags of tiny-clip: none"),
     (None, "runs/shapes_teacher", "teacher.weights=runs/shapes_teacher: no such folder; make one with task=train_"),
     (None, ".", "teacher.weights=.: no open_clip_config.json there")],
)  # fmt: skip
def test_missing_files_folders_and_tags(
    model: str, weights: str, message: str, model_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("ViT-B-32", "ViT-B-32-quickgelu"):
        open_clip.factory._MODEL_CONFIGS[name] = CLIP
    assert re.match(message, one_line(model, weights))


def test_a_tag_without_a_network(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: object, **__: object) -> str:
        raise OSError("Name or service not known")

    monkeypatch.setattr("open_clip.factory.download_pretrained", fail)
    before = list(logging.getLogger().handlers)
    message = one_line("ViT-B-32", "openai")
    assert message.startswith("teacher.weights=openai: ")
    assert "Name or service not known; check the network" in message
    assert not caplog.records
    assert logging.getLogger().handlers == before


def test_weights_that_need_quick_gelu_get_it(
    teacher: Path, model_name: str, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag = {"file": str(teacher / "open_clip_model.safetensors"), "quick_gelu": True}
    monkeypatch.setitem(
        open_clip.pretrained._PRETRAINED, model_name, {"quick": tag, "plain": tag | {"quick_gelu": False}}
    )
    quick, plain = (load_clip(model_name, name, "cpu") for name in ("quick", "plain"))
    assert "QuickGELU" in str(quick.model)
    assert "QuickGELU" not in str(plain.model)
    assert plain.embedding_space.fingerprint == clip.embedding_space.fingerprint != quick.embedding_space.fingerprint


class Program:
    def __reduce__(self) -> tuple[object, ...]:
        return (pytest.fail, ("the file was run",))


def test_damaged_and_foreign_files(teacher: Path, model_name: str, tmp_path: Path) -> None:
    """One line for each, and no advice to load it unsafely."""
    whole = (teacher / "open_clip_model.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "noise.pt").write_bytes(bytes(range(256)) * 8)
    (tmp_path / "program.pt").write_bytes(pickle.dumps(Program()))
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    torch.save({}, tmp_path / "empty.pt")
    torch.save({"head.weight": torch.zeros(3)}, tmp_path / "other.pt")
    for name in ("cut.safetensors", "noise.pt", "program.pt", "tensor.pt", "empty.pt", "other.pt"):
        assert "state_dict" in one_line(model_name, str(tmp_path / name))


def test_code_of_a_torchscript_archive_is_not_run(model_name: str, tmp_path: Path) -> None:
    path = tmp_path / "ViT-B-32.pt"
    with zipfile.ZipFile(path, "w") as archive:  # the mark of an archive: constants of its code
        for name in ("constants.pkl", "data.pkl", "version"):
            archive.writestr(f"archive/{name}", b"3\n")
    assert "a program (TorchScript), which is not run; choose teacher.weights=openai" in one_line(model_name, str(path))


def test_a_damaged_folder(teacher: Path) -> None:
    weights, config = teacher / "open_clip_model.safetensors", teacher / "open_clip_config.json"
    described = json.loads(config.read_text())
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-4])
    assert "damaged, or not the weights of tiny" in one_line(None, str(teacher))
    weights.unlink()
    assert "missing or cut" in one_line(None, str(teacher))
    weights.write_bytes(whole)
    described["model_cfg"]["text_cfg"]["vocab_size"] = 10**12
    config.write_text(json.dumps(described))
    assert "describes 32000000" in one_line(None, str(teacher))
    described["model_cfg"]["text_cfg"] |= {"tokenizer_kwargs": {"trust_remote_code": True}}
    config.write_text(json.dumps(described))
    assert "trust_remote_code" in one_line(None, str(teacher))
    config.write_text("{")
    assert "damaged" in one_line(None, str(teacher))


def one_line(model: str | None, weights: str) -> str:
    """The message of the error for this teacher."""
    with pytest.raises(UserError) as caught:
        load_clip(model, weights, "cpu")
    message = str(caught.value)
    assert "\n" not in message
    assert "weights_only" not in message
    return message


@pytest.mark.parametrize("text", ["", "  \n", "&nbsp;"])
def test_an_empty_query(clip: Clip, text: str) -> None:
    with pytest.raises(UserError, match=r"query=.*: an empty text describes nothing"):
        clip.embed_texts(["a dog", text])


@pytest.mark.parametrize(
    "text",
    ["a red ball rolls left", "I", "a b c", "BMW X5, 2024", "12345", "!!!", "⚽", "ein größerer Bär", "Öl", "für",
     "łódź", "café", "red ball мяч", "π day", "a dog 犬 runs"],
)  # fmt: skip
def test_readable_texts_have_no_warning(clip: Clip, text: str) -> None:
    assert clip.readability_warning(text) is None


@pytest.mark.parametrize(
    "text",
    ["красный мяч", "собака", "赤いボール", "犬", "东京 2024", "빨간 공이", "كرة حمراء", "כדור", "लाल गेंद", "κόκκινη"],
)
def test_another_script_gives_a_warning(clip: Clip, text: str) -> None:
    assert f"query={text!r}: tiny has no tokens for words of this script" in str(clip.readability_warning(text))


def test_a_text_longer_than_the_context_gives_a_warning(clip: Clip) -> None:
    assert clip.readability_warning("dog " * 14) is None
    warning = str(clip.readability_warning("dog " * 17))
    assert "tiny reads 14 tokens, the last 3 are cut" in warning
    assert torch.equal(clip.embed_texts(["dog " * 17]), clip.embed_texts(["dog " * 14]))
