import math

import pytest
import torch

from lightning_inr.errors import UserError
from lightning_inr.models import build
from lightning_inr.models.nerv import NeRV
from lightning_inr.nn.encodings import frequency_code
from lightning_inr.nn.upsample import UpsampleStage
from lightning_inr.types import VideoShape
from tests.conftest import SMALL


def test_time_is_coded_in_sines_and_cosines_of_growing_frequency() -> None:
    code = frequency_code(torch.tensor(0.25), 1.25, 6)
    expected = [f(1.25**i * math.pi * 0.25) for f in (math.sin, math.cos) for i in range(6)]
    torch.testing.assert_close(code, torch.tensor(expected))


def test_channels_halve_down_to_the_least() -> None:
    net = build("nerv", VideoShape(4, 180, 320, 25.0), channels=26, least_channels=20, strides=[5, 2, 2], expansion=2)
    assert isinstance(net, NeRV)
    blocks = [block for block in net.blocks if isinstance(block, UpsampleStage)]
    widths = [block.convolution.out_channels // block.stride**2 for block in blocks]
    assert widths == [52, 26, 20]
    assert net.padded_size == (180, 320)


@pytest.mark.parametrize(
    ("option", "message"),
    [({"strides": []}, "strides="), ({"strides": [0]}, "strides="), ({"base": 1.0}, "base=1.0"),
     ({"channels": 0}, "channels=0"), ({"expansion": 0.0}, "expansion=0.0"), ({"octaves": 1000}, "octaves=1000")],
)  # fmt: skip
def test_wrong_options_are_named(option: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build("nerv", VideoShape(4, 22, 30, 25.0), **{**SMALL["nerv"], **option})
