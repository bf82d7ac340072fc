import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from lightning_inr.errors import UserError
from lightning_inr.paths import HOST, alone_in, write_text, writing


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "old")

    def fail() -> None:
        with writing(target) as draft:
            draft.write_text("new, cut")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert target.read_text() == "old"


def test_drafts_of_killed_processes_are_removed(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    abandoned = tmp_path / f".a.{ended.pid}@{HOST}.txt"
    others = [tmp_path / f".a.1@{HOST}.txt", tmp_path / f".a.{ended.pid}@elsewhere.txt", tmp_path / ".a.b.txt"]
    for path in (abandoned, *others):
        path.write_text("draft")
    write_text(tmp_path / "a.txt", "whole")
    assert not abandoned.exists()
    assert all(path.exists() for path in others)


def test_a_folder_is_locked_by_one_process(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\nfrom lightning_inr.errors import UserError\nfrom lightning_inr.paths import alone_in\n"
        "try:\n    with alone_in(pathlib.Path(sys.argv[1]), 'run_dir'): print('alone')\n"
        "except UserError as error: print(error)\n"
    )

    def beside() -> str:
        return subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True).stdout

    with alone_in(tmp_path, "run_dir"):
        assert f"run_dir={tmp_path}: another process works there" in beside()
    assert beside() == "alone\n"
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_created() -> None:
    with pytest.raises(UserError, match="cannot write /proc/run"), alone_in(Path("/proc/run"), "run_dir"):
        pass


def test_a_full_disk_is_recognised_behind_errors_of_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write() -> None:
        with writing(tmp_path / "last.ckpt"):
            raise RuntimeError("unexpected pos 64 vs 0")  # as torch.save does

    with pytest.raises(RuntimeError, match="unexpected pos"):
        write()
    full = SimpleNamespace(f_bavail=2, f_frsize=4096)
    monkeypatch.setattr("os.statvfs", lambda folder: full)
    with pytest.raises(UserError, match=r"cannot write .*last.ckpt: No space left on device; free some space"):
        write()
