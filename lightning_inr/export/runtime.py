"""onnxruntime-web, which runs ONNX graphs in a browser: fetched once from the npm registry and kept in a cache folder.

Of the package two files are kept, compressed: a module of JavaScript, and the WebAssembly that it loads. Both are
checked against the digests below, at each use.
"""

import base64
import gzip
import hashlib
import io
import os
import tarfile
import urllib.request
import warnings
import zlib
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

from lightning_inr.errors import UserError
from lightning_inr.paths import write_bytes

VERSION = "1.30.0"
PACKAGE_SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
FILES_SHA256 = {
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    "ort.webgpu.bundle.min.mjs": "0730816731ce2cdfb06f273da065d4a1c7091eb9d1756a83b2916c8a89d015e2",
    "ort-wasm-simd-threaded.asyncify.wasm": "39f9f0894d478800487ed9f7dbe92618498db320cf55c8e3d89adff8dce658da",
}
REGISTRY = "https://registry.npmjs.org"
TIMEOUT = 60  # seconds without a byte
LARGEST_PACKAGE = 2**27  # bytes


class WebRuntime(NamedTuple):
    """The two files of onnxruntime-web, each compressed with gzip."""

    module: bytes  # JavaScript
    wasm: bytes
    webgpu: bool  # whether it can use WebGPU

    @property
    def embedded_bytes(self) -> int:
        """Its size in a page, as base64."""
        return sum(4 * -(-len(file) // 3) for file in (self.module, self.wasm))


def default_runtime_cache() -> Path:
    """The user's cache folder of the runtime: under $XDG_CACHE_HOME, else ~/.cache."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return root / "lightning_inr" / f"onnxruntime-web-{VERSION}"


def web_runtime(webgpu: bool = False, cache: Path | None = None) -> WebRuntime:
    """The files that run on WebAssembly alone, or also on WebGPU; UserError if they are neither cached nor reachable.

    The registry is that of the environment variable NPM_CONFIG_REGISTRY, else registry.npmjs.org.
    """
    cache = default_runtime_cache() if cache is None else cache
    names = list(FILES_SHA256)[2:] if webgpu else list(FILES_SHA256)[:2]
    cached = [_cached(cache / f"{name}.gz", name) for name in names]
    module, wasm = [file for file in cached if file is not None] if all(cached) else _fetch(names, cache)
    return WebRuntime(module, wasm, webgpu)


def _cached(path: Path, name: str) -> bytes | None:
    """The compressed file at `path`; None if there is none or its content is not that of the pinned version."""
    try:
        packed = path.read_bytes()
        content = gzip.decompress(packed)
    except (OSError, EOFError, zlib.error):
        return None
    return packed if hashlib.sha256(content).hexdigest() == FILES_SHA256[name] else None


def _fetch(names: Sequence[str], cache: Path) -> list[bytes]:
    """The files of these names, compressed; also written to `cache`."""
    with tarfile.open(fileobj=io.BytesIO(_download())) as archive:
        members = [archive.extractfile(f"package/dist/{name}") for name in names]
        files = [gzip.compress(member.read(), 9, mtime=0) for member in members if member is not None]
    try:
        for name, file in zip(names, files, strict=True):
            write_bytes(cache / f"{name}.gz", file)
    except UserError as error:
        warnings.warn(f"onnxruntime-web is not kept for the next page: {error}", stacklevel=4)
    return files


def _download() -> bytes:
    """The package as published."""
    registry = os.environ.get("NPM_CONFIG_REGISTRY") or REGISTRY
    url = f"{registry.rstrip('/')}/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            package: bytes = answer.read(LARGEST_PACKAGE)
    except (OSError, ValueError, HTTPException) as error:  # ValueError: the variable holds no URL
        raise UserError(
            f"export: onnxruntime-web {VERSION} cannot be fetched from {url}: {error}; go online for the first page, "
            f"or set NPM_CONFIG_REGISTRY to a registry that can be reached"
        ) from error
    if base64.b64encode(hashlib.sha512(package).digest()).decode() != PACKAGE_SHA512:
        raise UserError(f"export: {url} is not the package as published; set NPM_CONFIG_REGISTRY to another registry")
    return package
