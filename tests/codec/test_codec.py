import json
import struct
import sys
import tracemalloc
import zlib
from types import FrameType
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_inr.codec import Codec, Limits, check_cost, decode, describe, use_limits
from lightning_inr.codec.container import MAGIC, SEGMENTED, VERSION, Container, pack, unpack
from lightning_inr.codec.cost import cost_upper_bound, frame_cost
from lightning_inr.errors import BitstreamError
from lightning_inr.models import build_on_meta
from lightning_inr.types import FrameSampling, TokenSpace, VideoShape
from tests.conftest import SMALL, small_model

DATA = Codec(default_bits=6).encode(small_model())


def changed(**changes: Any) -> bytes:
    """DATA with a changed header and valid checksums."""
    container = unpack(DATA)
    return pack(Container(container.header | changes, container.sections))


def header() -> dict[str, Any]:
    return unpack(DATA).header


@given(st.integers(0, len(DATA) - 1))
def test_a_file_cut_anywhere_is_refused(length: int) -> None:
    with pytest.raises(BitstreamError):
        decode(DATA[:length])


@settings(max_examples=300)
@given(st.integers(0, 8 * len(DATA) - 1))
def test_a_file_with_any_bit_flipped_is_refused(bit: int) -> None:
    damaged = bytearray(DATA)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BitstreamError):
        decode(bytes(damaged))


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(noise: bytes) -> None:
    for data in (noise, MAGIC + noise):
        with pytest.raises(BitstreamError):
            decode(data)


def test_a_newer_version_is_named() -> None:
    newer = MAGIC + struct.pack("<H", SEGMENTED + 1) + DATA[6:]
    with pytest.raises(
        BitstreamError, match=f"version {SEGMENTED + 1}: this program reads versions 2 to {SEGMENTED}; install"
    ):
        decode(newer)


def tokens(**changes: Any) -> list[Any]:
    """A token space as a header stores it."""
    return list(TokenSpace("tiny", "01", 4, 2, 6, FrameSampling(2, 8, 8, 0.1))._replace(**changes))


def without(section: str) -> bytes:
    """DATA without one of its sections, with valid checksums."""
    container = unpack(DATA)
    kept = {role: each for role, each in container.sections.items() if role != section}
    return pack(Container(container.header, kept))


def with_sections(**changes: bytes) -> bytes:
    """DATA with other sections and valid checksums."""
    container = unpack(DATA)
    return pack(Container(container.header, container.sections | changes))


@pytest.mark.parametrize(
    "data",
    [
        without("base"),
        with_sections(junk=b"\0" * 10**6),
        with_sections(base=unpack(DATA).sections["base"] + b"\0" * 4096),
    ],
    ids=["a section less", "a section more", "words that nothing reads"],
)
def test_unused_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(BitstreamError):
        decode(data)


def test_weights_that_are_not_finite_are_refused() -> None:
    net = small_model()
    with torch.no_grad():
        next(each for each in net.parameters() if each.ndim == 1)[0] = float("nan")
    with pytest.raises(BitstreamError, match="not finite"):
        decode(Codec(default_bits=16).encode(net))


def test_weights_beyond_half_precision_are_clamped() -> None:
    net = small_model()
    with torch.no_grad():
        next(each for each in net.parameters() if each.ndim == 1)[0] = -1e9
    decoded = decode(Codec(default_bits=16).encode(net))
    assert next(each for each in decoded.parameters() if each.ndim == 1)[0] == -65504


@pytest.mark.parametrize("name", list(SMALL))
def test_many_parameters_of_one_value_take_few_bytes_and_decode(name: str) -> None:
    net = small_model(name, VideoShape(40, 180, 320, 25.0))  # as of a black video after a long fit
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    decoded = decode(Codec().encode(net))
    assert all(not parameter.any() for parameter in decoded.parameters())


def test_frames_that_are_not_finite_are_errors() -> None:
    net = small_model()
    with torch.no_grad():
        for parameter in net.parameters():  # infinities of both signs, which add up to no number
            parameter.fill_(1e30)
            parameter.flatten()[::2] = -1e30
    with pytest.raises(BitstreamError, match="frames from 0 on hold numbers that are not finite"):
        list(net.render([0.0, 1.0]))


def test_a_limit_is_named_and_can_be_raised() -> None:
    parameters = describe(DATA)["params"]
    with use_limits(Limits(parameters=parameters - 1)):
        with pytest.raises(BitstreamError, match=f"more than limits.parameters={parameters - 1}; .*{parameters}"):
            decode(DATA)
        with use_limits(Limits(parameters=parameters)):
            decode(DATA)


@pytest.mark.parametrize("name", list(SMALL))
def test_the_cost_of_a_frame_is_bounded_before_it_is_counted(name: str) -> None:
    net = build_on_meta(name, VideoShape(5, 22, 30, 25.0), **SMALL[name]).eval()
    cost, most = frame_cost(net), cost_upper_bound(net)
    assert 0 < cost.multiply_adds <= most.multiply_adds
    assert 660 <= cost.pixels == most.pixels
    assert cost.numbers <= most.numbers
    with (
        use_limits(Limits(multiply_adds=cost.multiply_adds - 1)),
        pytest.raises(BitstreamError, match=r"multiply-adds, more than limits\.multiply_adds"),
    ):
        check_cost(net)
    with use_limits(Limits(multiply_adds=cost.multiply_adds, numbers=cost.numbers)):
        check_cost(net)


def hostile_headers() -> dict[str, bytes]:
    """Files with valid checksums and invalid headers."""
    good = header()
    video, config, tensors = good["video"], good["config"], good["tensors"]
    huge = [[*tensors[0][:2], [2**40, 8], *tensors[0][3:]], *tensors[1:]]
    return {
        "a foreign model": changed(model="os.system"),
        "no model": changed(model=None),
        "a video of terabytes": changed(video=video | {"frames": 10**12}),
        "as many latents as a video may have frames": changed(video=video | {"frames": 2**24}),
        "a frame of terabytes": changed(video=video | {"height": 2**30, "width": 2**30}),
        "the largest frame": changed(video=video | {"height": 2**16, "width": 2**16}),
        "a wide network": changed(config=config | {"width": 8192, "hyper_width": 8192, "latent_dim": 8192}),
        "a deep network": changed(config=config | {"layers": 10**9}),
        "a large hash grid": changed(config=config | {"encoding": {"kind": "hash", "levels": 32, "log2_entries": 24}}),
        "many stages": changed(config=config | {"stages": config["stages"] * 10**5}),
        "a huge stride": changed(config=config | {"stages": [config["stages"][1] | {"stride": 10**9}]}),
        "an unknown option": changed(config=config | {"eval": "1"}),
        "a tensor of terabytes": changed(tensors=huge),
        "no tensors": changed(tensors=[]),
        "tensors twice": changed(tensors=tensors + tensors),
        "an entry cut short": changed(tensors=[entry[:5] for entry in tensors]),
        "an unknown coder": changed(tensors=[[*entry[:6], "pickle", *entry[7:]] for entry in tensors]),
        "a mad number of levels": changed(tensors=[[*entry[:3], 2**60, *entry[4:]] for entry in tensors]),
        "a mad number of bits": changed(tensors=[[*entry[:4], 60, *entry[5:]] for entry in tensors]),
        "another role": changed(tensors=[[entry[0], "base", *entry[2:]] for entry in tensors]),
        "an unknown prediction": changed(tensors=[[*entry[:7], "oracle"] for entry in tensors]),
        "a prediction of floats": changed(tensors=[[*entry[:7], "before"] for entry in tensors]),
        "an axis too many": changed(tensors=[[*entry[:5], 7, *entry[6:]] for entry in tensors]),
        "fps that are none": changed(video=video | {"fps": "fast"}),
        "a projector it has not": changed(token_space=tokens()),
        "tokens of terabytes": changed(token_space=tokens(tokens=10**12)),
        "tokens of no width": changed(token_space=tokens(width=0)),
        "tokens in words": changed(token_space="many"),
        "more frames shown than there are": changed(token_space=tokens(sampling=[99, 8, 8, 0.1])),
        "no time between the frames shown": changed(token_space=tokens(sampling=[2, 8, 8, 0.0])),
        "time in words": changed(token_space=tokens(sampling=[2, 8, 8, "0.1"])),
        "shown in a size without end": changed(token_space=tokens(sampling=[2, 2**40, 8, 0.1])),
        "words for numbers": changed(config=config | {"width": "wide", "stages": 3}),
    }


def refused_after(data: bytes) -> int:
    """How many functions are called before `data` is refused: work that does not depend on the machine's load."""
    calls = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        with pytest.raises(BitstreamError):
            decode(data)
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("name", list(hostile_headers()))
def test_an_invalid_header_is_refused_after_little_work_and_takes_no_memory(name: str) -> None:
    data = hostile_headers()[name]
    tracemalloc.start()
    assert refused_after(data) < 50_000  # a sound file of this size takes 8000
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


def test_a_single_frame_may_be_sampled_twice() -> None:
    net = small_model(video=VideoShape(1, 22, 30, 25.0))
    net.attach_projector(TokenSpace("tiny", "01", 4, 1, 6, FrameSampling(2, 8, 8, 0.04)))
    assert decode(Codec().encode(net)).visual_tokens().shape == (4, 6)


def test_a_header_that_inflates_without_end_is_refused() -> None:
    bomb = zlib.compress(b" " * 10**8, 9)
    checked = MAGIC + struct.pack("<HI", VERSION, len(bomb)) + bomb
    data = struct.pack("<4sHII", MAGIC, VERSION, len(bomb), zlib.crc32(checked)) + bomb
    with pytest.raises(BitstreamError):
        decode(data)


def test_a_role_can_be_read_alone() -> None:
    container = unpack(DATA, roles={"latents"})
    assert set(container.sections) == {"latents"}


def test_damage_in_one_role_leaves_another_readable() -> None:
    sections = unpack(DATA).sections
    damaged = bytearray(DATA)
    damaged[-1] ^= 1  # in the last role
    assert unpack(bytes(damaged), roles={"latents"}).sections["latents"] == sections["latents"]


def test_the_header_is_json_and_the_sections_are_the_rest() -> None:
    _, _, length, _ = struct.unpack("<4sHII", DATA[:14])
    assert json.loads(zlib.decompress(DATA[14 : 14 + length]))["model"] == "latent_inr"
    assert len(DATA) == 14 + length + sum(len(section) for section in unpack(DATA).sections.values())


def test_the_description_matches_the_file() -> None:
    model = small_model()
    described = describe(DATA)
    assert described["params"] == sum(parameter.numel() for parameter in model.parameters())
    assert described["bytes"] == len(DATA)
    assert described["bpp"] == pytest.approx(8 * len(DATA) / (5 * 22 * 30))
    assert described["padded"] == {"height": 24, "width": 32}


@pytest.mark.parametrize("ranges", ["tensor", "channel"])
@pytest.mark.parametrize("bits", [2, 6, 12, 16])
def test_more_bits_give_smaller_errors(ranges: str, bits: int) -> None:
    model = small_model()
    decoded = decode(Codec(default_bits=bits, ranges=ranges).encode(model))
    for (name, parameter), copy in zip(model.named_parameters(), decoded.parameters(), strict=True):
        source = parameter.detach()
        allowed = 1e-3 if bits == 16 else float(source.max() - source.min()) / (2**bits - 1) / 2
        assert (source - copy).abs().max() <= max(1.01 * allowed, 1e-3), name


def test_bits_are_spent_by_role() -> None:
    model = small_model()
    lean, rich = (Codec(bits={"grid": bits}, default_bits=6).encode(model) for bits in (2, 8))
    for role, section in unpack(lean).sections.items():
        assert (len(section) < len(unpack(rich).sections[role])) == (role == "grid")


def test_the_paper_codec_keeps_latents_and_base_exact() -> None:
    model = small_model()
    codec = Codec(bits={"latents": 32, "base": 32}, default_bits=8, coder="huffman")
    decoded = decode(codec.encode(model)).state_dict()
    groups = model.coded_groups()
    for name in [*groups["latents"], *groups["base"]]:
        assert torch.equal(decoded[name], model.state_dict()[name])


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ValueError, match="bits of base=13: choose 1 to 12, or 16 or 32"):
        Codec(bits={"base": 13})
    with pytest.raises(ValueError, match="ranges=row: choose tensor or channel"):
        Codec(ranges="row")
    with pytest.raises(ValueError, match="coder=zip: choose one of range, huffman"):
        Codec(coder="zip")


def test_the_header_does_not_grow_with_the_video() -> None:
    model = small_model(video=VideoShape(500, 22, 30, 29.97))
    assert decode(Codec().encode(model)).video.fps == 29.97
