"""onnxruntime-web is fetched once, checked, and kept."""

import base64
import gzip
import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from lightning_inr.errors import UserError
from lightning_inr.export import runtime
from lightning_inr.export.runtime import web_runtime

CONTENTS = {name: name.encode() * 50 for name in runtime.FILES_SHA256}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package in a registry of local files, with the digests of its small files."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as archive:
        for name, content in CONTENTS.items():
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    path = tmp_path / "registry" / "onnxruntime-web" / "-" / f"onnxruntime-web-{runtime.VERSION}.tgz"
    path.parent.mkdir(parents=True)
    path.write_bytes(written.getvalue())
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENTS.items()}
    monkeypatch.setattr(runtime, "FILES_SHA256", digests)
    digest = base64.b64encode(hashlib.sha512(written.getvalue()).digest()).decode()
    monkeypatch.setattr(runtime, "PACKAGE_SHA512", digest)
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"file://{tmp_path}/registry/")
    return path


@pytest.mark.parametrize("webgpu", [False, True])
def test_files_are_fetched_once(webgpu: bool, package: Path, tmp_path: Path) -> None:
    fetched = web_runtime(webgpu, tmp_path / "cache")
    module, wasm = list(CONTENTS.values())[2 * webgpu : 2 * webgpu + 2]
    assert (gzip.decompress(fetched.module), gzip.decompress(fetched.wasm)) == (module, wasm)
    assert fetched.webgpu == webgpu
    package.unlink()
    assert web_runtime(webgpu, tmp_path / "cache") == fetched


def test_the_cache_is_that_of_the_user(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    web_runtime()
    assert len(list((tmp_path / "user" / "lightning_inr" / f"onnxruntime-web-{runtime.VERSION}").iterdir())) == 2


def test_a_damaged_copy_is_fetched_again(package: Path, tmp_path: Path) -> None:
    fetched = web_runtime(cache=tmp_path)
    for damage in (b"", b"text", gzip.compress(b"another version"), fetched.wasm[:-4]):
        (tmp_path / "ort-wasm-simd-threaded.wasm.gz").write_bytes(damage)
        assert web_runtime(cache=tmp_path) == fetched


def test_a_cache_that_cannot_be_written_is_a_warning(package: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="not kept for the next page"):
        assert web_runtime(cache=tmp_path / "file" / "cache").module


def test_another_package_is_refused(package: Path, tmp_path: Path) -> None:
    package.write_bytes(package.read_bytes() + b"more")
    with pytest.raises(UserError, match=r"is not the package as published; set NPM_CONFIG_REGISTRY"):
        web_runtime(cache=tmp_path / "cache")


@pytest.mark.parametrize("registry", ["file:///nowhere", "http://127.0.0.1:9", "no address"])
def test_a_registry_out_of_reach_is_named(registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", registry)
    with pytest.raises(UserError, match=rf"cannot be fetched from {registry}/onnxruntime-web/.*; go online") as raised:
        web_runtime(cache=tmp_path)
    assert "\n" not in str(raised.value)
