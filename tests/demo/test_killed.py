"""A server that is killed, and so cannot end its fits itself."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import moving_square, write_mp4
from tests.demo.conftest import messages

SERVER = """
from pathlib import Path
from lightning_inr.demo import launch
from lightning_inr.demo.options import DemoOptions
launch(Path({path!r}), open_browser=False, options=DemoOptions(device="cpu"))
"""
SECONDS = 5  # in which all must have ended


@pytest.fixture
def server(made: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A server in a process of its own; its temporary folders are in `tmp_path`, as a kill leaves them."""
    program = [sys.executable, "-c", SERVER.format(path=str(made / "0.linr"))]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env=environment) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("sign", [">start<", "PSNR"])
def test_a_fit_ends_with_a_server_that_is_killed(server: subprocess.Popen[str], tmp_path: Path, sign: str) -> None:
    assert server.stdout is not None
    address = server.stdout.readline().split()[1]
    start_fit(address, tmp_path, sign)
    started = psutil.Process(server.pid).children(recursive=True)
    assert "lightning_inr.demo.watched" in str([each.cmdline() for each in started])
    server.kill()
    _, alive = psutil.wait_procs(started, timeout=SECONDS)
    assert [each for each in alive if each.status() != psutil.STATUS_ZOMBIE] == []


def start_fit(address: str, folder: Path, sign: str) -> None:
    """Upload a video as the page does, and wait until the status of its fit holds `sign`."""
    video = write_mp4(folder / "clip.mp4", moving_square(8))
    uploaded = upload(address, video)
    with urllib.request.urlopen(f"{address}/config") as answer:
        events = json.load(answer)["dependencies"]
    sizes = (1, 4, 5)  # targets, inputs and outputs of the event that encodes
    [encode] = [
        each["id"] for each in events if sizes == tuple(len(each[name]) for name in ("targets", "inputs", "outputs"))
    ]
    values: list[object] = [{"path": uploaded, "meta": {"_type": "gradio.FileData"}}, 2, "slow", 180]
    next(message for message in messages(address, encode, "visitor", values) if sign in message)


def upload(address: str, video: Path) -> str:
    """Send a file; the path that the server gives it."""
    head = f'--part\r\nContent-Disposition: form-data; name="files"; filename="{video.name}"\r\n\r\n'
    body = head.encode() + video.read_bytes() + b"\r\n--part--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=part"}
    with urllib.request.urlopen(urllib.request.Request(f"{address}/gradio_api/upload", body, headers)) as answer:
        [path] = json.load(answer)
    return str(path)
