"""A plain folder of videos as a captioned dataset: its files, ids and captions, and the errors of damaged ones."""

import inspect
import os
import re
import sys
from pathlib import Path

import av
import pytest

from lightning_inr.data.captioned import caption_files
from lightning_inr.data.captioned.folder import LONGEST_ID, list_folder, make_ids
from lightning_inr.data.captioned.split import CaptionedVideo, Segment, open_captioned
from lightning_inr.data.sources.file import open_source
from lightning_inr.errors import UserError
from tests.conftest import moving_square, write_mp4
from tests.data.captioned.test_split import touch

NAMES = ("a b.mp4", "Küche (2) [x]=1, 'y'.mp4", "sub folder/größe=5.mp4", "sub folder/100% {id} #1.mkv")


def ids(root: Path, captions: str | None = None) -> list[str]:
    return [video.id for video in list_folder(str(root), captions).videos]


def only(root: Path, captions: str | None = None) -> CaptionedVideo:
    [video] = list_folder(str(root), captions).videos
    return video


def write_table(root: Path, *lines: str, header: str = "video,caption,start,end,label") -> Path:
    (root / "captions.csv").write_text("\n".join([header, *lines]), encoding="utf-8")
    return root / "captions.csv"


@pytest.fixture
def one(tmp_path: Path) -> Path:
    """A folder with an empty `one.mp4`: a listing does not read videos."""
    touch(tmp_path / "videos" / "one.mp4")
    return tmp_path / "videos"


def test_videos_of_any_depth_open_by_ids_that_are_their_paths(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_mp4(tmp_path / name, moving_square(3))
    listing = list_folder(str(tmp_path))
    assert [video.id for video in listing.videos] == [
        "Küche (2) [x]=1, 'y'.mp4", "a b.mp4", "sub folder__100% {id} #1.mkv", "sub folder__größe=5.mp4",
    ]  # fmt: skip
    assert (listing.videos[0].label, listing.videos[0].captions, listing.videos[0].segments) == (None, (), ())
    assert listing.missing == ()
    for video in listing.videos:
        source = open_captioned(video.id, listing, frames=2)
        assert (source.name, source.frames) == (video.id, 2)


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [(".mp4", "mpeg4"), (".m4v", "mpeg4"), (".mov", "mpeg4"), (".mkv", "mpeg4"), (".webm", "libvpx"),
     (".avi", "mpeg4"), (".mpg", "mpeg2video"), (".ts", "mpeg2video"), (".wmv", "wmv2"), (".flv", "flv"),
     (".3gp", "mpeg4"), (".nut", "mpeg4"), (".gif", "gif"), (".ivf", "libvpx"), (".y4m", "rawvideo")],
)  # fmt: skip
def test_a_listed_format_is_one_that_the_readers_support(tmp_path: Path, suffix: str, codec: str) -> None:
    path = tmp_path / f"clip{suffix.upper()}"
    frames = [av.VideoFrame.from_ndarray(frame.permute(1, 2, 0).numpy(), "rgb24") for frame in moving_square(5)]
    with av.open(str(path), "w", format={".y4m": "yuv4mpegpipe", ".ts": "mpegts"}.get(suffix)) as container:
        stream = container.add_stream("wrapped_avframe" if codec == "rawvideo" else codec, rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "rgb8" if suffix == ".gif" else "yuv420p"
        for frame in frames:
            container.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
        container.mux(stream.encode())
    assert only(tmp_path).id == path.name
    assert open_source(str(only(tmp_path).path)).frames == 5


def test_hidden_files_other_files_and_pipes_are_left_out(one: Path) -> None:
    touch(one / ".two.mp4", one / ".git" / "three.mp4", one / "notes.pdf", one / "broken.mp4" / "inside.avi")
    (one / "gone.mp4").symlink_to(one / "nowhere.mp4")
    os.mkfifo(one / "pipe.mp4")
    os.mkfifo(one / "one.txt")
    assert ids(one) == ["broken.mp4__inside.avi", "one.mp4"]


def test_links_are_followed_once(one: Path, tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere" / "two.mp4")
    (one / "again").symlink_to(one, target_is_directory=True)
    (one / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere" / "back").symlink_to(one, target_is_directory=True)
    assert ids(one) == ["linked__two.mp4", "one.mp4"]


def test_a_folder_deeper_than_the_stack_is_listed(one: Path) -> None:
    touch(one / Path(*"d" * 200) / "deep.mp4")
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 100)
    try:
        first, second = ids(one)
    finally:
        sys.setrecursionlimit(before)
    assert (first[:6], second) == ("d__d__", "one.mp4")
    assert len(first.encode()) <= LONGEST_ID


def test_ids_are_distinct_file_names_of_the_collection() -> None:
    names = [
        "a.avi", "a.mp4", "a.mp4.mkv", "b/c.mp4", "b__c.mp4", "b/_c.mp4", "b_/c.mp4", "d:e.mp4", "d?e.mp4",
        "e\u0301.mp4", "\u00e9.mp4", "new\nline.mp4", "\udcff.mp4", "..x/..mp4", "f<b>.mp4", f"{'x' * 250}.mp4",
        f"{'x' * 249}y.mp4",
    ]  # fmt: skip
    made = make_ids(names)
    assert [re.sub("-[0-9a-f]{16}$", "-HASH", id) for id in made[:15]] == [
        "a.avi", "a.mp4", "a.mp4.mkv", "b__c.mp4", "b__c.mp4-HASH", "b___c.mp4", "b___c.mp4-HASH", "d_e.mp4-HASH",
        "d_e.mp4-HASH", "\u00e9.mp4", "\u00e9.mp4-2", "new_line.mp4-HASH", "_.mp4-HASH", "..x__..mp4",
        "f_b_.mp4-HASH",
    ]  # fmt: skip
    assert len(set(made)) == len(names)
    for id in made:
        assert id.isprintable()
        assert "/" not in id
        assert len(f"{id}.linr".encode()) < 255
    assert made[-1][:100] == "x" * 100


def test_ids_do_not_depend_on_other_names() -> None:
    names = ["a.mkv", "a.mp4", "a/b.mp4", "a__b.mp4", "c:.mp4", "c?.mp4", "x" * 300, "x" * 301]
    assert make_ids(names) == [id for name in names for id in make_ids([name])]


def test_a_wrong_root_is_an_error_with_a_remedy(one: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset.listing.root=.*gone: no such file or folder; check the path"):
        list_folder(str(tmp_path / "gone"))
    with pytest.raises(UserError, match=r"one.mp4: a file; name its folder, or fit the file with dataset=file"):
        list_folder(str(one / "one.mp4"))
    (tmp_path / "empty").mkdir()
    touch(tmp_path / "empty" / "picture.png")
    with pytest.raises(UserError, match=r"empty: no video there or in a folder below; put some in it \(.mp4, .m4v"):
        list_folder(str(tmp_path / "empty"))


def test_the_lines_of_a_text_are_captions(one: Path) -> None:
    touch(one / "one.avi")
    (one / "one.TXT").write_bytes("\ufeffA  red ball\r\n\r\n\tEin Ball rollt über <b>Gras</b>\x1b\r\n".encode())
    captions = ("A red ball", "Ein Ball rollt über <b>Gras</b>")
    assert [video.captions for video in list_folder(str(one)).videos] == [captions, captions]


SRT = """1
00:00:01,000 --> 00:00:02,500
<i>A ball</i>
rolls {\\an8}left

2
01:00:00.5 --> 01:00:01,25 X1:5
a &lt; b

3
00:00:07,000 --> 00:00:08,000
<font color="red"></font>
"""
VTT = """WEBVTT - a title
Kind: captions

NOTE 00:00 --> nothing
of this is read

STYLE
::cue { color: red }

intro
00:01.000 --> 00:02.500 align:start position:0%
<v Ann>A ball</v><00:00:01.500><c.yellow> rolls left</c>

01:00:00.500 --> 01:00:01.250
a &lt; b"""


@pytest.mark.parametrize(("name", "text"), [("one.srt", SRT), ("one.vtt", VTT), ("one.en.VTT", VTT)])
def test_subtitles_are_segments(one: Path, name: str, text: str) -> None:
    (one / name).write_text(text)
    video = only(one)
    assert video.segments == (Segment(1.0, 2.5, "A ball rolls left"), Segment(3600.5, 3601.25, "a < b"))
    assert video.captions == ()


def test_of_several_subtitles_the_first_form_is_read(one: Path) -> None:
    (one / "one.vtt").write_text("this is not read")
    (one / "one.srt").write_text(SRT)
    assert len(only(one).segments) == 2


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("one.srt", "1\n00:00:01 --> 00:00:02\nx", "one.srt, line 2: not a time; write it as 00:00:01,000 --> "),
        ("one.srt", "1\n00:00:03,0 --> 00:00:02,0\nx", "line 2: it ends at 2 s, before its start at 3 s; exchange"),
        ("one.srt", f"{SRT}\nwithout a time", "one.srt, line 14: words without a time; write 00:00:01,000 --> "),
        ("one.srt", f"1\n00:00:01,0 --> 00:00:02,0\nx\n{SRT}", "line 2: no empty line between this subtitle and"),
        ("one.srt", "1\n00:00:01,0 --> 00:00:02,0\n" + "x" * 2001, "line 2: 2001 characters; a caption has at most"),
        ("one.vtt", SRT, "one.vtt, line 1: no WEBVTT there; write it as the first line, or rename the file to .srt"),
        ("one.vtt", "", "one.vtt, line 1: no WEBVTT there"),
        ("one.txt", "a\nb\0", "one.txt, line 2: not text; save it as text in UTF-8, or rename"),
        ("one.txt", f"a\n{'x' * 2001}", "one.txt, line 2: 2001 characters; a caption has at most 2000"),
    ],
)
def test_a_damaged_caption_file_is_an_error_with_its_line(one: Path, name: str, text: str, message: str) -> None:
    (one / name).write_text(text)
    with pytest.raises(UserError) as raised:
        list_folder(str(one))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["one.txt", "one.srt", "one.vtt", "captions.csv"])
def test_a_caption_file_in_another_encoding_or_too_large_is_an_error(
    one: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one / name).write_bytes("\ufefffirst\nein schöner Ball".encode("utf-8-sig").replace("ö".encode(), b"\xf6"))
    with pytest.raises(UserError, match=rf"{name}, line 2: not UTF-8; convert it, as in iconv -f WINDOWS-1252"):
        list_folder(str(one))
    monkeypatch.setattr(caption_files, "MOST_BYTES", 2**20)
    (one / name).write_bytes(b"x" * (2**20 + 1))
    with pytest.raises(UserError, match=rf"{name}: larger than 1 MiB; shorten it"):
        list_folder(str(one))


def test_a_table_names_videos_by_path_or_id(tmp_path: Path) -> None:
    root = tmp_path / "videos"
    touch(*(root / name for name in (*NAMES, "sub folder/a b.mp4", "two.mp4", "two.webm")))
    (root / "two.txt").write_text("from the text")
    write_table(
        root,
        "a b.mp4,first,,,class one", "a b,second", './a b,"third, with a comma",,,class one', "a b,a step,0.5,2",
        "sub folder/gro\u0308ße=5,by path", "sub folder__100% {id} #1.mkv,by id",
        "sub folder__100% {id} #1,by former id",
        "two,of both", "two.webm,of one",
        '"Küche (2) [x]=1, \'y\'.mp4",,,,only a class',
        "gone.mp4,lost", "gone.mp4,lost again",
    )  # fmt: skip
    listing = list_folder(str(root))
    found = {video.id: video for video in listing.videos}
    assert found["a b.mp4"].captions == ("first", "second", "third, with a comma")
    assert (found["a b.mp4"].segments, found["a b.mp4"].label) == ((Segment(0.5, 2.0, "a step"),), "class one")
    assert found["sub folder__größe=5.mp4"].captions == ("by path",)
    assert found["sub folder__100% {id} #1.mkv"].captions == ("by id", "by former id")
    assert found["sub folder__a b.mp4"].captions == ()
    assert found["two.mp4"].captions == ("from the text", "of both")
    assert found["two.webm"].captions == ("from the text", "of both", "of one")
    assert (found["Küche (2) [x]=1, 'y'.mp4"].captions, found["Küche (2) [x]=1, 'y'.mp4"].label) == ((), "only a class")
    assert listing.missing == ("gone.mp4",)


def test_a_table_may_lie_elsewhere(one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_table(one, "one,in the root", header="Video , CAPTION").rename(one / "other.csv")
    assert only(one, "other.csv").captions == ("in the root",)
    Path("other.csv").write_text("video,caption\none,in the current folder")
    assert only(one, "other.csv").captions == ("in the current folder",)
    assert only(one).captions == ()
    with pytest.raises(UserError, match=r"dataset.listing.captions=gone.csv: no such file or folder; check the path"):
        list_folder(str(one), "gone.csv")
    with pytest.raises(UserError, match=r"dataset.listing.captions=\.: not a file; name a CSV file"):
        list_folder(str(one), ".")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["one,a,b,c,d,e"], "captions.csv, line 2: more fields than the first line has; write a caption with commas"),
        (["one,a", 'one,"b'], "captions.csv, line 3: not CSV (unexpected end of data); write a caption with"),
        (["one,"], "captions.csv, line 2: no caption and no label; complete or remove the line"),
        ([" ,a"], "captions.csv, line 2: no video; complete or remove the line"),
        (["one,a,1"], "captions.csv, line 2: start or end is ''; write both as seconds from 0, as in 12.5, or neither"),
        (["one,a,0:01,0:02"], "start or end is '0:01'; write both as seconds"),
        (["one,a,-1,2"], "start or end is '-1'"),
        (["one,a,0,nan"], "start or end is 'nan'"),
        (["one,a,2,1"], "captions.csv, line 2: it ends at 1 s, before its start at 2 s; exchange the times"),
        (["two,a", "three,b"], "line 2: neither two nor another video of the table is in "),
        (["one,a,,,x", "one,b,,,y"], "line 3: one.mp4 is 'y' here, 'x' above; give a video one label"),
        ([f"one,{'x' * 2001}"], "line 2: 2001 characters"),
        ([f"one,{'x' * 200_000}"], "captions.csv, line 2: not CSV (field larger than field limit (131072))"),
    ],
)
def test_a_damaged_table_is_an_error_with_its_line(one: Path, lines: list[str], message: str) -> None:
    write_table(one, *lines)
    with pytest.raises(UserError) as raised:
        list_folder(str(one))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("header", ["", "file,text", "video", "video;caption"])
def test_a_table_without_its_columns_is_an_error(one: Path, header: str) -> None:
    write_table(one, "one,a", header=header)
    with pytest.raises(
        UserError, match=r"captions.csv, line 1: no columns video and caption; its first line must be v"
    ):
        list_folder(str(one))


def test_an_empty_table_adds_nothing(one: Path) -> None:
    write_table(one)
    assert only(one).captions == ()
