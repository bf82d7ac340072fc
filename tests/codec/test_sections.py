"""A role is decoded from its own section, whatever the bytes of the others."""

from collections.abc import Collection

import numpy as np
import pytest
import torch

from lightning_inr.codec import Codec, decode
from lightning_inr.codec.container import unpack
from lightning_inr.errors import BitstreamError
from lightning_inr.models.base import VideoRepresentation


def with_noise_in(data: bytes, roles: Collection[str]) -> bytes:
    """`data` with random bytes in these sections: checksums, deflated streams and codes are invalid."""
    lengths = unpack(data).lengths
    damaged, random = bytearray(data), np.random.default_rng(0)
    start = len(data) - sum(lengths.values())
    for role, length in lengths.items():
        if role in roles:
            damaged[start : start + length] = random.bytes(length)
        start += length
    return bytes(damaged)


def test_a_role_is_read_whatever_the_bytes_of_the_others(model: VideoRepresentation) -> None:
    data = Codec(default_bits=6).encode(model)
    whole = decode(data).state_dict()
    for role, names in model.coded_groups().items():
        others = [each for each in model.coded_groups() if each != role]
        part = decode(with_noise_in(data, others), roles=[role]).state_dict()
        assert all(torch.equal(part[name], whole[name]) for name in names)
        assert all(tensor.is_meta for name, tensor in part.items() if name not in names)


def test_noise_in_a_section_is_detected_if_its_role_is_read(model: VideoRepresentation) -> None:
    data = Codec(default_bits=6).encode(model)
    for role in model.coded_groups():
        for roles in (None, [role], list(model.coded_groups())):
            with pytest.raises(BitstreamError, match=f"section {role} does not match its checksum"):
                decode(with_noise_in(data, [role]), roles=roles)


def test_a_part_of_a_file_that_is_cut_or_longer_is_refused(model: VideoRepresentation) -> None:
    data, role = Codec(default_bits=6).encode(model), next(iter(model.coded_groups()))
    for damaged in (data[:-1], data + b"\0"):
        with pytest.raises(BitstreamError, match="bytes do not match its header"):
            decode(damaged, roles=[role])
