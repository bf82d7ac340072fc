import pytest
import torch

from lightning_inr.errors import UserError
from lightning_inr.models import build, build_on_meta
from lightning_inr.models.c_nerv import CNeRV
from lightning_inr.models.size import count_coded
from lightning_inr.nn.encodings import frequency_code
from lightning_inr.types import VideoShape
from tests.conftest import SMALL


def test_the_size_is_that_of_t_nervs_comparison() -> None:
    net = build_on_meta("c_nerv", VideoShape(600, 720, 1280, 25.0))
    assert count_coded(net) == pytest.approx(12.4e6, rel=0.01)


def test_the_first_layer_reads_position_and_time_codes() -> None:
    net = build("c_nerv", VideoShape(5, 22, 30, 25.0), **SMALL["c_nerv"])
    assert isinstance(net, CNeRV)
    row, column, position = 2, 5, 3.0
    code = torch.cat([frequency_code(torch.tensor(v), 1.25, 6) for v in (row / 6, column / 8, position / 5)])
    weight = torch.cat([net.place.weight, net.moment.weight], dim=1)
    moment = net.moment(frequency_code(net.time(torch.tensor([position])), 1.25, 6))[0]
    torch.testing.assert_close(net.spatial_features()[0, :, row, column] + moment, weight @ code + net.place.bias)


@pytest.mark.parametrize(
    ("option", "message"),
    [({"strides": [17]}, "strides="), ({"code_ratio": 0}, "code_ratio=0"), ({"base": 1.0}, "base=1.0"),
     ({"octaves": 1000}, "octaves=1000"), ({"channels": 0}, "channels=0")],
)  # fmt: skip
def test_wrong_options_are_named(option: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build("c_nerv", VideoShape(4, 22, 30, 25.0), **{**SMALL["c_nerv"], **option})
