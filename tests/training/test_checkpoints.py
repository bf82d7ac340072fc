import errno
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_inr.errors import UserError
from lightning_inr.training.checkpoints import WholeCheckpoints


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, whole = tmp_path / "last.ckpt", WholeCheckpoints()
    whole.save_checkpoint({"step": 1}, path)

    def full(checkpoint: Any, draft: Path) -> None:
        draft.write_bytes(b"PK cut")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match=r"last.ckpt: No space left on device; free some space"):
        whole.save_checkpoint({"step": 2}, path)
    assert whole.load_checkpoint(path, weights_only=True) == {"step": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x80\x04K*.", b"text"])
def test_a_file_that_is_not_a_checkpoint_is_an_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "last.ckpt").write_bytes(data)
    with pytest.raises(UserError, match=r"last.ckpt: no checkpoint of a fit .*; remove it"):
        WholeCheckpoints().load_checkpoint(tmp_path / "last.ckpt", weights_only=True)
