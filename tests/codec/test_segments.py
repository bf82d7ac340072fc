"""A file of several segments shows the frames of its segments, reads no more of them than it needs, and checks all."""

import pickle
import struct
import weakref
import zlib
from collections.abc import Callable
from typing import Any

import pytest
import torch

from lightning_inr.codec import Codec, SegmentedVideo, decode, describe, describe_file, join_files, read_video
from lightning_inr.codec.container import MAGIC, PREAMBLE, SEGMENTED, read_file_header, write_file_header
from lightning_inr.codec.segment_table import MOST_SEGMENTS, read_segment_table
from lightning_inr.codec.segments import DECODED_AT_ONCE
from lightning_inr.codec.summary import summarize_file
from lightning_inr.errors import BitstreamError, UserError
from lightning_inr.models import build
from lightning_inr.types import EmbeddingSpace, VideoShape
from tests.conftest import SMALL

LENGTHS = (3, 1, 4)
SPACE = EmbeddingSpace("tiny", "01", 16)


def segment(frames: int, seed: int = 0, space: EmbeddingSpace | None = SPACE, **shape: Any) -> bytes:
    """A file of one network, of 16x12 pixels."""
    torch.manual_seed(seed)
    video = VideoShape(frames, 12, 16, 25.0)._replace(**shape)
    model = build("latent_inr", video, space, **SMALL["latent_inr"])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return Codec(default_bits=4).encode(model)


@pytest.fixture(scope="module")
def parts() -> list[bytes]:
    """The segments, whose frames differ."""
    return [segment(frames, seed) for seed, frames in enumerate(LENGTHS)]


@pytest.fixture(scope="module")
def file(parts: list[bytes]) -> bytes:
    """One file of all segments."""
    return b"".join(join_files(lambda: parts))


class Reads:
    """Bytes that record which of them are read."""

    def __init__(self, data: bytes) -> None:
        self.data, self.slices = data, list[slice]()

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, part: slice, /) -> bytes:
        self.slices.append(slice(*part.indices(len(self.data))))
        return self.data[part]


def changed(file: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """The file with a changed header, whose checksum is valid."""
    header, start = read_file_header(file, (SEGMENTED,))
    change(header)
    return write_file_header(SEGMENTED, header) + file[start:]


def open_segmented(data: Any, **options: Any) -> SegmentedVideo:
    video = read_video(data, **options)
    assert isinstance(video, SegmentedVideo)
    return video


def test_frames_are_those_of_the_segments(parts: list[bytes], file: bytes) -> None:
    video = open_segmented(file)
    expected = [frame for part in parts for frame in decode(part).render(range(decode(part).video.frames), (24, 32))]
    assert video.video == VideoShape(8, 12, 16, 25.0)
    assert all(map(torch.equal, video.render(range(8), (24, 32)), expected))
    order = [7, 0, 3, 3, 5]
    assert all(map(torch.equal, video.render(order, (24, 32)), [expected[number] for number in order]))
    assert list(video.render([])) == []


def test_a_position_between_segments_belongs_to_the_nearer_frame(parts: list[bytes], file: bytes) -> None:
    positions = {1.5: (0, 1.5), 2.4: (0, 2.0), 2.5: (1, 0.0), 3.4: (1, 0.0), 3.6: (2, 0.0), 5.25: (2, 1.25)}
    frames = open_segmented(file).render(positions)
    for frame, (number, position) in zip(frames, positions.values(), strict=True):
        assert torch.equal(frame, next(decode(parts[number]).render([position])))


@torch.inference_mode()
def test_latents_and_embeddings_are_those_of_the_segments(parts: list[bytes], file: bytes) -> None:
    video = open_segmented(file, roles=("latents", "semantic"))
    wholes = [decode(part) for part in parts]
    for name in ("latent", "pool_latents", "frame_embeddings"):
        expected = [getattr(each, name)(torch.arange(each.video.frames).float()) for each in wholes]
        found = getattr(video, name)(torch.arange(8).float())
        torch.testing.assert_close(found, torch.cat(expected))
    assert video.embedding_space == SPACE
    assert video.sample_positions(3).tolist() == [0, 4, 7]


def test_a_single_segment_is_the_file_itself(parts: list[bytes]) -> None:
    assert b"".join(join_files(lambda: parts[:1])) == parts[0]


def test_only_the_segments_of_the_wanted_frames_are_read(file: bytes) -> None:
    table, reads = read_segment_table(file), Reads(file)
    assert table is not None
    video = open_segmented(reads)
    assert max(each.stop for each in reads.slices) <= table.offsets[0]
    reads.slices.clear()
    list(video.render([6]))
    assert min(each.start for each in reads.slices) == table.offsets[2]
    reads.slices.clear()
    list(video.render([7, 4]))
    assert reads.slices == []  # it is still decoded


def test_few_segments_stay_decoded() -> None:
    video = open_segmented(b"".join(join_files(lambda: [segment(1, seed) for seed in range(5)])))
    networks = []
    for number in range(5):
        list(video.render([number]))
        networks.append(weakref.ref(video.network(number)))
    assert sum(each() is not None for each in networks) <= DECODED_AT_ONCE


def test_it_is_pickled_without_its_networks(file: bytes) -> None:
    video = open_segmented(file)
    frame = next(video.render([5]))
    assert torch.equal(next(pickle.loads(pickle.dumps(video)).render([5])), frame)


def test_figures_are_sums(parts: list[bytes], file: bytes) -> None:
    whole, each, summary = describe_file(file), [describe(part) for part in parts], summarize_file(file)
    assert whole["params"] == sum(one["params"] for one in each) == summary.parameters
    for role in whole["roles"]:
        assert whole["roles"][role]["bytes"] == sum(one["roles"][role]["bytes"] for one in each)
        assert whole["roles"][role]["bytes"] == summary.role_bytes[role]
    assert [one["frames"] for one in whole["segments"]] == list(LENGTHS)
    assert whole["bpp"] == summary.bpp == 8 * len(file) / (8 * 12 * 16)
    assert summary.segments == 3
    assert describe_file(parts[0]) == each[0]
    assert summarize_file(parts[0]).segments == 1


@pytest.mark.parametrize(
    "other", [{"height": 14}, {"fps": 24.0}, {"frames": 3, "stride": 2}, {"space": None}], ids=lambda each: str(each)
)
def test_segments_of_different_videos_are_not_joined(parts: list[bytes], other: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="segment 1 differs"):
        list(join_files(lambda: [parts[0], segment(**({"frames": 2} | other))]))


def test_one_network_is_asked_for_in_one_line(file: bytes) -> None:
    with pytest.raises(BitstreamError, match=r"a network per segment.*segment_frames=null"):
        decode(file)


def test_segments_in_segments_are_refused(parts: list[bytes], file: bytes) -> None:
    with pytest.raises(BitstreamError, match="a network per segment"):
        list(join_files(lambda: [parts[0], file]))
    crc = PREAMBLE.unpack(file[: PREAMBLE.size])[3]
    video = {"frames": 11, "height": 12, "width": 16, "fps": 25.0}
    table = [[3, len(parts[0]), PREAMBLE.unpack(parts[0][: PREAMBLE.size])[3]], [8, len(file), crc]]
    nested = write_file_header(SEGMENTED, {"video": video, "space": SPACE, "segments": table}) + parts[0] + file
    with pytest.raises(BitstreamError, match="a network per segment"):
        list(open_segmented(nested).render([5]))


HEADER_FAULTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "no segments": lambda header: header["segments"].clear(),
    "one segment": lambda header: header["segments"].__delitem__(slice(1, None)),
    "a missing segment": lambda header: header["segments"].pop(),
    "too many": lambda header: header["segments"].extend([[1, 14, 0]] * MOST_SEGMENTS),
    "a negative length": lambda header: header["segments"].extend([[1, -100, 0], [-1, 100, 0]]),
    "lengths that exceed the file": lambda header: header["segments"][0].__setitem__(1, 2**60),
    "no frames in one": lambda header: header["segments"].append([0, 14, 0]),
    "more frames than the video": lambda header: header["segments"][0].__setitem__(0, 2**70),
    "a video of other length": lambda header: header["video"].update(frames=9),
    "an endless video": lambda header: header["video"].update(frames=2**63),
    "no height": lambda header: header["video"].update(height=0),
    "a stride": lambda header: header["video"].update(stride=2),
    "an endless frame": lambda header: header["video"].update(fps=1e-300),
    "an unknown key": lambda header: header.update(model="nerv"),
    "a text for a number": lambda header: header["segments"][0].__setitem__(0, "3"),
    "a wide space": lambda header: header.update(space=["tiny", "01", 2**20]),
    "embeddings without end": lambda header: (
        header["video"].update(frames=2**24),
        header["segments"][0].__setitem__(0, 2**24 - 5),
        header.update(space=["tiny", "01", 2**14]),
    ),
}


@pytest.mark.parametrize("fault", HEADER_FAULTS)
def test_a_table_that_is_not_valid_is_refused(file: bytes, fault: str) -> None:
    reads = Reads(changed(file, HEADER_FAULTS[fault]))
    for read in (read_video, describe_file, summarize_file):
        with pytest.raises(BitstreamError):
            read(reads)
    assert max(each.stop for each in reads.slices) < len(file) - len(file) // 2  # before a segment is read


def test_segments_must_be_those_of_the_table(file: bytes) -> None:
    exchanged = changed(file, lambda header: header["segments"][1].__setitem__(2, 0))
    with pytest.raises(BitstreamError, match="segment 1 does not match its checksum"):
        list(open_segmented(exchanged).render([3]))
    damaged = bytearray(file)
    damaged[-20] ^= 1
    video = open_segmented(bytes(damaged))
    assert len(list(video.render(range(4)))) == 4  # the others are intact
    with pytest.raises(BitstreamError, match="does not match its checksum"):
        list(video.render([7]))


def test_a_segment_of_another_video_is_refused(parts: list[bytes]) -> None:
    foreign = segment(1, height=14)
    table = [[frames, len(part), PREAMBLE.unpack(part[: PREAMBLE.size])[3]]
             for frames, part in ((3, parts[0]), (1, foreign))]  # fmt: skip
    video = {"frames": 4, "height": 12, "width": 16, "fps": 25.0}
    data = write_file_header(SEGMENTED, {"video": video, "space": SPACE, "segments": table}) + parts[0] + foreign
    with pytest.raises(BitstreamError, match="segment 1 is not of this video"):
        list(open_segmented(data).render([3]))


def test_a_later_version_is_refused_with_a_remedy(file: bytes) -> None:
    length = len(file) - PREAMBLE.size
    start = MAGIC + struct.pack("<HI", SEGMENTED + 1, length)
    newer = start + struct.pack("<I", zlib.crc32(start + file[PREAMBLE.size :])) + file[PREAMBLE.size :]
    with pytest.raises(BitstreamError, match="versions 2 to 4; install a newer one"):
        read_video(newer)
