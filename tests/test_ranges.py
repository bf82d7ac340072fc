from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest

import lightning_inr as li
from lightning_inr.codec import Codec, decode
from lightning_inr.codec.container import unpack
from lightning_inr.errors import UserError
from lightning_inr.ranges import FIRST_READ, FileRanges
from tests.conftest import small_model

ADDRESS = "memory://folder/clip.linr"


@pytest.fixture
def data() -> Iterator[bytes]:
    data = Codec().encode(small_model())
    fsspec.filesystem("memory").pipe("/folder/clip.linr", data)
    yield data
    fsspec.filesystem("memory").rm("/folder", recursive=True)


def test_a_file_behind_an_address_is_a_video(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "clip.linr").write_bytes(data)
    remote, local = li.open(ADDRESS), li.open(tmp_path / "clip.linr")
    assert np.array_equal(remote[[0, -1]], local[[0, -1]])
    assert remote.info["bytes"] == len(data)
    with pytest.raises(UserError, match="fetch the file to ask about it"):
        remote.ask("What happens?")


def test_only_what_is_asked_for_is_read(data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clip.linr"
    path.write_bytes(data)
    monkeypatch.setattr("lightning_inr.ranges.FIRST_READ", 1024)
    read: list[tuple[int, int]] = []
    ranges = FileRanges(path)
    whole = ranges._read

    def recorded(start: int, stop: int) -> bytes:
        read.append((start, stop))
        return whole(start, stop)

    monkeypatch.setattr(ranges, "_read", recorded)
    model = decode(ranges, roles={"latents"})
    assert model.frame_embeddings is not None
    lengths = unpack(data).lengths
    assert sum(stop - start for start, stop in read) < len(data) - 1024 - lengths["base"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for path in ("memory://nowhere.linr", "nosuchprotocol://a.linr"):
        with pytest.raises(UserError, match=f"path={path}: .*; check the address, or fetch the file and name it"):
            li.open(path)
    with pytest.raises(UserError, match=r"path=.*none\.linr: no such file or folder"):
        li.open(tmp_path / "none.linr")
    with pytest.raises(UserError, match="not a file; name one"):
        li.open(tmp_path)


def test_slices(tmp_path: Path) -> None:
    content = bytes(range(256)) * (FIRST_READ // 128)
    path = tmp_path / "a file, [ünusual] #1 50%?.linr"
    path.write_bytes(content)
    ranges = FileRanges(path)
    assert len(ranges) == len(content)
    for part in (slice(10), slice(5, 9), slice(FIRST_READ - 3, FIRST_READ + 3), slice(-7, None), slice(None)):
        assert ranges[part] == content[part]
