"""Golden files (tests/codec/make_golden.py), which every later version must decode."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_inr.codec import Codec, decode
from lightning_inr.codec.container import READABLE, SEGMENTED, VERSION, unpack
from lightning_inr.devices import fast_bfloat16
from lightning_inr.models import MODELS
from lightning_inr.training.threads import use_threads
from lightning_inr.types import VideoShape
from tests.codec.make_golden import CODECS, DEFAULT_CODEC, GOLDEN, OPTIONS, VELOCITY, decoded_values
from tests.conftest import small_model

FILES = sorted(GOLDEN.glob("version_*/*.linr"))
CURRENT = [file for file in FILES if file.parent.name == f"version_{VERSION}"]
LARGEST = 8000  # bytes
CHANGED = (
    f"the codec no longer writes version {VERSION} as it did. If the format has changed, raise VERSION, keep reading "
    "the old one, and run python -m tests.codec.make_golden; if only the encoder's choices have, remove the files of "
    f"version_{VERSION} that this names, and run it, too"
)


# Models whose pixels are the same bytes with one thread and two. Matrix products and convolutions of the others add in
# an order that depends on the number of threads: values in [0, 1] differ by 1e-7 to 6e-4, and of 10^3 (e_nerv) to 10^6
# bytes one differs, by 1.
EXACT = {"latent_inr", "latent_inr_grids", "hinerv", "nvp"}


def label(file: Path) -> str:
    return f"{file.parent.name[-1]}-{file.stem}"


def test_every_model_and_every_readable_version_has_files() -> None:
    assert {file.stem for file in CURRENT} == {*MODELS, OPTIONS, VELOCITY}
    assert {file.parent.name for file in FILES} == {f"version_{version}" for version in (*READABLE, SEGMENTED)}
    assert all(file.stat().st_size < LARGEST for file in FILES)


@pytest.mark.parametrize("file", FILES, ids=label)
def test_a_file_is_of_the_version_of_its_folder(file: Path) -> None:
    assert f"version_{struct.unpack_from('<H', file.read_bytes(), 4)[0]}" == file.parent.name


@pytest.mark.parametrize("file", FILES, ids=label)
def test_a_file_decodes_to_its_recorded_values(file: Path) -> None:
    values, record = decoded_values(file.read_bytes()), np.load(file.with_suffix(".npz"))
    assert set(values) == set(record)
    assert np.abs(values["pixels"].astype(int) - record["pixels"]).max() <= 1
    for name in set(values) - {"pixels"}:
        np.testing.assert_allclose(values[name], record[name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("file", CURRENT, ids=label)
def test_recorded_pixels_have_contrast_and_differ_in_time(file: Path) -> None:
    pixels = np.load(file.with_suffix(".npz"))["pixels"].astype(float)
    assert pixels.std() > 10
    assert np.abs(pixels[0] - pixels[2]).max() > 5


def content(data: bytes) -> dict[str, Any]:
    """The content of a file with its deflated parts inflated, as they differ between versions of zlib."""
    container = unpack(data)
    return {
        "preamble": data[:6],
        "header": container.header,
        "roles": list(container.sections),
        **{role: _inflated(section) for role, section in container.sections.items()},
    }


def _inflated(section: bytes) -> tuple[bytes, bytes]:
    length = int.from_bytes(section[:4], "little")
    return zlib.decompress(section[4 : 4 + length]), section[4 + length :]


def written_again(file: Path) -> bytes:
    data = file.read_bytes()
    return CODECS.get(file.stem, DEFAULT_CODEC).encode(decode(data))


@pytest.mark.parametrize("file", CURRENT, ids=label)
def test_encoding_gives_the_bytes_of_the_golden_files(file: Path) -> None:
    then, today = content(file.read_bytes()), content(written_again(file))
    assert [part for part in then if then[part] != today.get(part)] == [], CHANGED
    assert set(today) == set(then), CHANGED


def rendered(data: bytes, threads: int) -> Tensor:
    with use_threads(threads):
        model = decode(data)
        return torch.stack(list(model.render([0, 1.5, model.video.frames - 1])))


@pytest.mark.parametrize("name", MODELS)
def test_one_thread_and_two_decode_to_the_same_pixels(name: str) -> None:
    golden = (GOLDEN / f"version_{VERSION}" / f"{name}.linr").read_bytes()
    large = Codec().encode(small_model(name, VideoShape(3, 180, 320, 25.0)))  # large enough to be shared out
    for data in (golden, large):
        difference = (rendered(data, 1).int() - rendered(data, 2).int()).abs()
        assert difference.max() <= (0 if name in EXACT else 1)
        # In bfloat16 a sum in another order is more often another number.
        assert (difference > 0).float().mean() < (0.1 if fast_bfloat16(torch.device("cpu")) else 2e-3)
