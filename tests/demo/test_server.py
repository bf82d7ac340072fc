"""Requests to the server: what it serves, what it refuses, and its errors of one line."""

import http.client
import io
import json
import socket
import statistics
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightning_inr.demo import launch, search
from lightning_inr.demo.encode import check_request
from lightning_inr.demo.fitting import FitRequest
from lightning_inr.demo.frames import write_mp4_of
from lightning_inr.demo.library import Library, RecentlyOpened
from lightning_inr.demo.options import DemoOptions, UploadLimits
from lightning_inr.demo.page import WAITING
from lightning_inr.demo.search import CollectionSearch, found, sparkline
from lightning_inr.demo.server import serving
from lightning_inr.demo.upload import check_upload, take_upload
from lightning_inr.errors import UserError
from lightning_inr.retrieval.collection import read_manifest, write_manifest
from tests.conftest import moving_square, write_mp4
from tests.demo.conftest import HOSTILE, LIMITS, SHAPE, messages


class Answer:
    """Status and body of an answer."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status, self.body = status, body


def get(url: str, **headers: str) -> Answer:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return Answer(answer.status, answer.read())
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.read())


def test_frames_are_decoded_at_any_position_and_size(address: str, library: Library) -> None:
    answer = get(f"{address}/linr/frame?file=f0&position=3.5&height=96")
    frame = np.asarray(Image.open(io.BytesIO(answer.body)))
    expected = library.videos.get("f0").at(3.5, (96, 128))
    assert frame.shape == (96, 128, 3)
    assert np.abs(frame.astype(int) - expected).mean() < 3
    source = np.asarray(Image.open(io.BytesIO(get(f"{address}/linr/frame?file=f0&position=3&view=source").body)))
    assert np.abs(source.astype(int) - moving_square(12)[3].permute(1, 2, 0).numpy()).mean() < 8


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("file=f9&position=0", "no such file"),
        ("file=../../etc/passwd&position=0", "no such file"),
        ("file=f0&position=12", "positions 0 to 11"),
        ("file=f0&position=nan", "positions 0 to 11"),
        ("file=f0&position=-1", "positions 0 to 11"),
        ("file=f0&position=0&height=100000", "pixels a frame"),
        ("file=f0&position=0&height=0", "height=0"),
        ("file=f3&position=0", "damaged"),
        ("file=f1&position=0&view=source", "source video is unknown"),
    ],
)
def test_a_wrong_request_for_a_frame_is_one_line(address: str, query: str, message: str) -> None:
    answer = get(f"{address}/linr/frame?{query}")
    assert answer.status == 400
    assert message in answer.body.decode()
    assert "\n" not in answer.body.decode()


def test_answers_on_one_connection_are_not_delayed(address: str) -> None:
    connection = http.client.HTTPConnection(address.removeprefix("http://"))
    times = []
    for _ in range(20):
        start = time.perf_counter()
        connection.request("GET", "/linr/frame?file=f0&position=0")
        connection.getresponse().read()
        times.append(time.perf_counter() - start)
    assert statistics.median(times) < 0.035  # without TCP_NODELAY, an answer waits 40 ms for the client's ACK


@pytest.mark.parametrize(("tab", "has_picture"), [(None, True), ("encode", False)])
def test_the_page_holds_the_first_picture(made: Path, tab: str | None, has_picture: bool) -> None:
    with serving(made / "0.linr", "127.0.0.1", None, tab, DemoOptions(device="cpu")) as url:
        body = get(url, **{"Accept-Encoding": "gzip, br"}).body
    assert (b'<img id="linr-first" src="/linr/frame?file=f0&amp;position=0"' in body) is has_picture


def test_one_mp4_is_written_at_a_time(library: Library) -> None:
    with library.writing(), pytest.raises(UserError, match="another mp4"):
        write_mp4_of(library, "f0", None, 1)


@pytest.mark.parametrize(("query", "message"), [("slowdown=9", "1 to 8"), ("slowdown=8&height=2400", "in all")])
def test_an_mp4_beyond_the_limits_is_refused(address: str, query: str, message: str) -> None:
    answer = get(f"{address}/linr/video.mp4?file=f0&{query}")
    assert (answer.status, message in answer.body.decode()) == (400, True)


@pytest.mark.parametrize("name", ["/etc/passwd", "{made}/0.linr", "{made}/../clip/open_clip_config.json", "setup.cfg"])
def test_no_other_file_is_served(address: str, made: Path, name: str) -> None:
    path = name.format(made=made)
    for asked in (path, path.replace("/", "%2F"), f"..%2F..%2F..%2F..%2F{path}"):
        for prefix in ("/gradio_api/file=", "/file=", "/static/", "/assets/", "/linr/"):
            assert get(f"{address}{prefix}{asked}").status in (400, 403, 404)


def test_pages_of_other_hosts_are_refused(address: str) -> None:
    assert get(address).status == 200
    assert get(address, Host="attacker.example").status == 403
    assert get(f"{address}/linr/frame?file=f0&position=0", **{"Sec-Fetch-Site": "cross-site"}).status == 403
    assert get(f"{address}/config", Origin="http://attacker.example").status == 403
    assert get(f"{address}/gradio_api/file=http://192.0.2.1/x").status == 403


def test_links_and_sources_outside_the_folder_are_not_shown(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (tmp_path / "secret.linr").write_bytes((made / "0.linr").read_bytes())
    (folder / "link.linr").symlink_to(tmp_path / "secret.linr")
    with pytest.raises(UserError, match=r"no \.linr file there"):
        Library(folder)
    records = read_manifest(made)
    clip = write_mp4(tmp_path / "private.mp4", moving_square(SHAPE.frames, SHAPE.height, SHAPE.width))
    (folder / "0.linr").write_bytes((made / "0.linr").read_bytes())
    stated = json.dumps({"path": str(clip)})
    write_manifest(folder, [records[0]._replace(source=stated), records[1]._replace(path="link.linr")])
    assert list(Library(folder).files) == ["f0"]
    assert not Library(folder).has_original("f0")
    for wrong in ("{}", "[]", "no JSON", '{"path": 3}', '{"path": "~nobody-here/a.mp4"}', '{"path": "a\\u0000b"}'):
        write_manifest(folder, [records[0]._replace(source=wrong)])
        assert not Library(folder).has_original("f0")
    write_manifest(folder, [records[0]._replace(source=stated)])
    assert Library(folder, source=tmp_path).has_original("f0")


def test_one_file_with_its_source(made: Path, tmp_path: Path) -> None:
    clip = write_mp4(tmp_path / "clip.mp4", moving_square(SHAPE.frames, 2 * SHAPE.height, 2 * SHAPE.width))
    library = Library(made / "0.linr", source=clip)
    with library.original("f0") as source:
        assert source.read(3).shape == (3, SHAPE.height, SHAPE.width)


@pytest.mark.parametrize("content", [b"hi", b""])
def test_one_file_that_is_none_is_an_error_at_the_start(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.mp4").write_bytes(content)
    with pytest.raises(UserError, match=r"not a \.linr file"):
        Library(tmp_path / "t.mp4")


def test_a_taken_port_and_a_wrong_tab_are_errors_of_one_line(made: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"port={port} of 127.0.0.1: .*choose another with port=…"):
            launch(made, port=port)
    with pytest.raises(UserError, match="port=70000"):
        launch(made, port=70000)
    with pytest.raises(UserError, match="tab=music: choose one of play"):
        launch(made, tab="music")
    with pytest.raises(UserError, match="no such file or folder"):
        launch(made / "nowhere")


def test_without_a_teacher_search_says_what_to_do(made: Path, tmp_path: Path) -> None:
    for name in ("0.linr", "collection.parquet"):
        (tmp_path / name).write_bytes((made / name).read_bytes())
    write_manifest(tmp_path, read_manifest(tmp_path)[:1])
    library = Library(tmp_path)
    service = CollectionSearch(library, "cpu")
    assert "does not name its teacher; add teacher=clip" in found(service, 3, text="a ball")
    assert "score 1.000" in found(service, 1, file=str(tmp_path / "0.linr"), frame=2)
    assert "give one of" in found(service, 3)
    assert library.videos.get("f0").at(3).shape == (48, 64, 3)


def test_what_a_search_needs_is_loaded_before_it(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    service = CollectionSearch(library, "cpu")
    service.prepare()
    monkeypatch.setattr(search, "clip_of_collection", None)
    monkeypatch.setattr(search, "open_collection", None)
    assert found(service, 2, text="a ball").count('class="linr-hit"') == 2


def test_what_is_kept_does_not_wait_for_what_is_opened() -> None:
    started, ends = threading.Event(), threading.Event()

    def open_one(key: str) -> str:
        if key == "slow":
            started.set()
            ends.wait(60)
        return key

    files = RecentlyOpened(open_one, 2)
    assert files.get("kept") == "kept"
    slow = threading.Thread(target=files.get, args=["slow"])
    slow.start()
    started.wait(60)
    assert files.get("kept") == "kept"
    assert slow.is_alive()
    ends.set()
    slow.join()
    files.get("third")
    assert list(files.kept) == ["slow", "third"]


def test_the_timeline_marks_the_hit() -> None:
    line = sparkline([0.0, 1.0, 0.5], 1)
    assert 'x1="50.0"' in line
    assert 'points="0.0,28.0 50.0,2.0 100.0,15.0"' in line


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.mp4", b"", "0 bytes"),
        ("a.mp4", b"no video", "not a video"),
        ("a.mp4", b"#EXTM3U\nhttp://192.0.2.1/a.ts\n", "not a video"),
        ("a.mp4", b"ffconcat version 1.0\nfile /etc/passwd\n", "not a video"),
        ("a.png", b"PNG", "one image"),
        ("a\x1b[31m.mp4", b"no video", "not a video"),
    ],
)
def test_an_upload_that_is_no_video_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        check_upload(tmp_path / name, LIMITS)


def test_an_upload_beyond_the_limits_is_refused_before_work(tmp_path: Path) -> None:
    clip = write_mp4(tmp_path / "clip.mp4", moving_square(8))
    assert check_upload(clip, LIMITS)[2:] == (48, 64)
    for limits, message in (
        (UploadLimits(frames=7), "8 frames, at most 7"),
        (UploadLimits(pixels=3000), "frames of 64x48, at most 3000 pixels"),
    ):
        with pytest.raises(UserError, match=message):
            check_upload(clip, limits)
    with (tmp_path / "large.mp4").open("wb") as large:
        large.truncate(2 * 10**9)
    with pytest.raises(UserError, match="2000 MB, at most 200 MB"):
        check_upload(tmp_path / "large.mp4", UploadLimits())
    with pytest.raises(UserError, match="no video yet"):
        check_upload(None, LIMITS)


def test_the_name_of_an_upload_reaches_no_command(tmp_path: Path) -> None:
    clip = write_mp4(tmp_path / "a ${x}.mp4", moving_square(2))
    assert take_upload(check_upload(clip, LIMITS), tmp_path).name == "upload.mp4"


@pytest.mark.parametrize(
    "request_", [FitRequest(9, "fast", 180), FitRequest(1, "fast +x=1", 180), FitRequest(1, "fast", 5)]
)
def test_a_value_that_the_controls_do_not_offer_is_refused(request_: FitRequest) -> None:
    with pytest.raises(UserError, match="choose"):
        check_request(request_)


@pytest.fixture
def words(address: str) -> int:
    """The number of the event that searches by words."""
    events = json.loads(get(f"{address}/config").body)["dependencies"]
    [number] = [each["id"] for each in events if [kind for _, kind in each["targets"]] == ["submit", "click"]][:1]
    return int(number)


def test_twenty_visitors_search_at_once(address: str, words: int) -> None:
    answers: list[str] = []
    threads = [
        threading.Thread(target=lambda each=each: answers.append(ask_queue(address, words, f"s{each}", ["a ball", 2])))
        for each in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 20 <= WAITING
    assert all(answer.count("linr-hit&quot;") or answer.count('linr-hit\\"') == 2 for answer in answers), answers[0][
        :500
    ]


def ask_queue(address: str, event: int, visitor: str, values: list[object]) -> str:
    """The last message of an event."""
    return next(each for each in messages(address, event, visitor, values) if '"process_completed"' in each)


def test_a_folder_of_files_without_a_manifest_is_played(made: Path, tmp_path: Path) -> None:
    (tmp_path / "runs" / "one").mkdir(parents=True)
    (tmp_path / "runs" / "one" / "video.linr").write_bytes((made / "0.linr").read_bytes())
    with serving(tmp_path, "127.0.0.1", None, "play", DemoOptions(device="cpu")) as url:
        assert get(f"{url}/linr/file.linr?file=f0").body == (made / "0.linr").read_bytes()
        assert b"runs/one/video.linr" in get(f"{url}/config").body
    assert HOSTILE not in str(Library(tmp_path).files)
