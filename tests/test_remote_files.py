"""Files behind real servers on this machine: HTTP with and without ranges, and S3."""

import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import boto3
import fsspec
import numpy as np
import pytest
from fsspec.registry import _registry

import lightning_inr as li
from lightning_inr.codec import Codec, decode
from lightning_inr.codec.container import unpack
from lightning_inr.errors import UserError
from lightning_inr.ranges import FileRanges
from tests.conftest import small_model
from tests.servers import BUCKET, S3Server


@dataclass
class Server:
    """What a server of one file supports, and what it has sent."""

    data: bytes
    ranges: bool = True
    length: bool = True  # is stated
    head: bool = True
    cut: int = 0  # bytes that are missing at the end of each answer
    sent: int = 0
    url: str = field(default="", init=False)


def handler_for(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            if server.head:
                self.answer()
            else:
                self.send_error(405)

        def do_GET(self) -> None:
            body = self.answer()
            body = body[: len(body) - server.cut]
            server.sent += len(body)
            self.wfile.write(body)

        def answer(self) -> bytes:
            if self.path != "/clip.linr":
                self.send_error(int(self.path[1:]))
                return b""
            asked = self.headers["Range"] if server.ranges else None
            first, last = (asked or "bytes=0-").removeprefix("bytes=").split("-")
            body = server.data[int(first) : int(last) + 1 if last else None]
            self.send_response(206 if asked else 200)
            if server.length:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            return body

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@pytest.fixture
def server() -> Iterator[Server]:
    served = Server(Codec().encode(small_model()))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler_for(served)) as http:
        served.url = f"http://127.0.0.1:{http.server_port}/clip.linr"
        thread = Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield served
        http.shutdown()
        thread.join()


@pytest.fixture
def bucket(store: S3Server) -> str:
    """The address of an S3 bucket with `clip.linr`; credentials are in the environment."""
    boto3.client("s3").put_object(Bucket=BUCKET, Key="clip.linr", Body=Codec().encode(small_model()))
    return f"s3://{BUCKET}"


def same_video(address: str, data: bytes, folder: Path) -> bool:
    (folder / "local.linr").write_bytes(data)
    return np.array_equal(li.open(address)[:], li.open(folder / "local.linr")[:])


def test_http_sends_what_is_asked_for(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert same_video(server.url, server.data, tmp_path)
    assert server.sent == len(server.data)
    monkeypatch.setattr("lightning_inr.ranges.FIRST_READ", 1024)
    server.sent = 0
    model = decode(FileRanges(server.url), roles={"latents"})
    assert model.frame_embeddings is not None
    lengths = unpack(server.data).lengths
    assert lengths["latents"] < server.sent < len(server.data) - lengths["base"] - 1024


@pytest.mark.parametrize(
    "lacking", [("ranges",), ("length",), ("head",), ("ranges", "length"), ("ranges", "length", "head")]
)
def test_a_server_that_supports_less_sends_the_same_file(
    server: Server, lacking: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_inr.ranges.FIRST_READ", 1024)
    for name in lacking:
        setattr(server, name, False)
    assert same_video(server.url, server.data, tmp_path)
    assert FileRanges(server.url)[-7:] == server.data[-7:]


@pytest.mark.parametrize(
    ("status", "reason"), [(404, "404 Not Found"), (403, "403 Forbidden"), (500, "500 Internal Server Error")]
)
def test_a_refusal_is_one_line(server: Server, status: int, reason: str) -> None:
    url = server.url.replace("clip.linr", str(status))
    with pytest.raises(UserError) as raised:
        li.open(url)
    assert str(raised.value) == f"path={url}: {reason}; check the address, or fetch the file and name it"


def test_an_answer_that_is_cut_is_one_line(server: Server) -> None:
    server.cut = 10
    with pytest.raises(UserError, match=rf"path={server.url}: .*ayload.*; check the address") as raised:
        li.open(server.url)
    assert "\n" not in str(raised.value)


def test_a_server_that_ends_between_two_reads_is_one_line(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_inr.ranges.FIRST_READ", 1024)
    ranges = FileRanges(server.url)
    server.data = server.data[:1030]  # a shorter file replaces the first
    with pytest.raises(UserError, match=r"30 bytes came, not \d+; try again"):
        ranges[1000:]
    server.cut = 10
    with pytest.raises(UserError, match=r"; try again"):
        ranges[1000:2000]


@pytest.mark.parametrize("listening", [False, True])
def test_a_server_that_is_gone_or_silent_is_one_line_soon(
    listening: bool, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_inr.ranges.SILENCE", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if listening:  # and never answering
            silent.listen()
        host = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", host)
        for address in (f"{host}/clip.linr", f"{bucket}/clip.linr"):
            start = time.monotonic()
            with pytest.raises(UserError, match=rf"path={address}: .*; check the address, or fetch") as raised:
                li.open(address)
            assert time.monotonic() - start < 10
            assert "\n" not in str(raised.value)


def test_a_file_in_a_bucket_is_a_video(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = boto3.client("s3").get_object(Bucket="videos", Key="clip.linr")["Body"].read()
    assert same_video(f"{bucket}/clip.linr", data, tmp_path)
    monkeypatch.setattr("lightning_inr.ranges.FIRST_READ", 1024)
    ranges = FileRanges(f"{bucket}/clip.linr")
    assert (len(ranges.first), ranges[1000:2000]) == (1024, data[1000:2000])


def test_a_wrong_bucket_or_name_is_one_line(bucket: str) -> None:
    with pytest.raises(UserError, match=r"path=s3://nowhere/a.linr: .*bucket does not exist; check the address"):
        li.open("s3://nowhere/a.linr")
    with pytest.raises(UserError, match=r"path=s3://videos/a.linr: no such file; check the address"):
        li.open(f"{bucket}/a.linr")


def test_missing_credentials_are_one_line(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    remedy = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or FSSPEC_S3_ANON=true for a public bucket"
    monkeypatch.setitem(fsspec.config.conf, "s3", {"anon": True})
    with pytest.raises(UserError, match=rf"path=s3://videos/clip.linr: Forbidden; {remedy}"):
        li.open(f"{bucket}/clip.linr")
    boto3.client("s3").put_object_acl(Bucket="videos", Key="clip.linr", ACL="public-read")
    assert len(li.open(f"{bucket}/clip.linr")) == 5
    monkeypatch.delitem(fsspec.config.conf, "s3")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(UserError, match=rf"path=s3://videos/clip.linr: Unable to locate credentials; {remedy}"):
        li.open(f"{bucket}/clip.linr")


@pytest.mark.parametrize(
    ("address", "package"), [("http://localhost/a.linr", "aiohttp"), ("s3://videos/a.linr", "s3fs")]
)
def test_a_missing_package_names_its_extra(address: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(_registry, "s3", raising=False)
    with pytest.raises(UserError, match=rf"{package} is needed: pip install 'lightning_inr\[remote\]'") as raised:
        li.open(address)
    assert "\n" not in str(raised.value)
