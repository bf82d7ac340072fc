from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from lightning_inr.errors import UserError
from lightning_inr.models import build, build_on_meta
from lightning_inr.models.ff_nerv import FFNeRV
from lightning_inr.models.flow_guided import Draft
from lightning_inr.models.size import count_coded
from lightning_inr.types import VideoShape, Window
from tests.conftest import SMALL, small_model
from tests.test_configs import compose

SHAPE = VideoShape(9, 22, 30, 25.0)
BLACK = -1


class Counting(FFNeRV):
    """Counts the frames that its decoder drafts."""

    drafted = 0

    def draft(self, index: Tensor) -> Draft:
        self.drafted += len(index)
        return super().draft(index)


def flow_guided(video: VideoShape = SHAPE) -> Counting:
    net = small_model("ff_nerv", video)
    net.__class__ = Counting
    assert isinstance(net, Counting)
    return net


@pytest.mark.parametrize(
    ("file", "height", "width", "millions"),
    [("ff_nerv", 720, 1280, 12.4), ("ff_nerv_compression", 1080, 1920, 11.3)],
)
def test_published_sizes_are_met(file: str, height: int, width: int, millions: float) -> None:
    options: Any = OmegaConf.to_container(compose(f"model={file}").model, resolve=True)
    net = build_on_meta(video=VideoShape(600, height, width, 120.0), **options)
    assert count_coded(net) == pytest.approx(millions * 1e6, rel=0.01)


@pytest.mark.parametrize(
    ("stride", "position", "rows"),
    [(1, 0.0, [BLACK, BLACK, 1, 2]), (1, 4.0, [2, 3, 5, 6]), (1, 4.2, [2, 3, 5, 6]), (1, 8.0, [6, 7, BLACK, BLACK]),
     (2, 4.0, [0, 1, 3, 4]), (2, 3.5, [0, 1, 3, 4]), (2, 8.0, [2, 3, BLACK, BLACK])],
)  # fmt: skip
def test_neighbours_are_training_frames(stride: int, position: float, rows: list[int]) -> None:
    net = flow_guided(SHAPE._replace(stride=stride))
    none = len(net.video.training_frames)
    assert net._rows_around(torch.tensor([position])).tolist() == [[none if row == BLACK else row for row in rows]]


def test_consecutive_frames_cost_one_pass_each() -> None:
    net = flow_guided()
    frames = list(net.render(range(9)))
    assert net.drafted == 9
    alone = torch.stack([next(iter(net.render([position]))) for position in range(9)])
    assert net.drafted == 9 + 3 + 4 + 5 * 5 + 4 + 3
    assert net.passes_per_frame == 5
    assert (alone.int() - torch.stack(frames).int()).abs().max() <= 2  # bfloat16, where the machine has it


def test_a_frame_depends_on_its_neighbours() -> None:
    net = flow_guided()
    assert isinstance(net.head, nn.Conv2d)
    assert net.head.bias is not None
    assert net.motion.bias is not None
    with torch.no_grad():
        net.head.bias.copy_(torch.tensor([0.0, 0.0, 0.0, -50.0, 50.0]))  # all from the neighbours
        net.motion.weight.zero_()
        net.motion.bias.zero_()
        independent = torch.sigmoid(net.cut(net.logits(torch.arange(9.0))))
        rounded = (independent * 255).round() / 255
        expected = torch.stack([rounded[[2, 3, 5, 6]].mean(0), rounded[[6, 7]].sum(0) / 4])  # two of them black
        torch.testing.assert_close(net(torch.tensor([4.0, 8.0])), expected, atol=1e-5, rtol=1e-4)


def test_training_reads_the_neighbours_rendered_last() -> None:
    net = flow_guided()
    target = torch.rand(1, 3, 22, 30)
    outputs = net.training_outputs(torch.tensor([4.0]), target)
    assert set(outputs) == {"final", *net.aux_weights}
    assert net.frame_store.written_rows() == list(range(9))
    assert net.drafted == 1 + 9  # all are drafted once
    assert net.frame_store.frames is not None
    before = net.frame_store.frames.clone()
    assert isinstance(net.head, nn.Conv2d)
    assert net.head.bias is not None
    with torch.no_grad():
        net.head.bias.add_(1)
    net.training_outputs(torch.tensor([4.0]), target)
    assert net.drafted == 1 + 9 + 1
    changed = (net.frame_store.frames != before).flatten(1).any(1)
    assert changed.nonzero().flatten().tolist() == [4]
    assert not any("store" in name for name in net.state_dict())


def test_a_window_of_the_training_outputs_is_a_crop() -> None:
    net = flow_guided()
    index = torch.tensor([4.0])
    whole = net.training_outputs(index, torch.rand(1, 3, 22, 30))
    part = net.training_outputs(index, torch.rand(1, 3, 6, 7), Window(3, 5, 6, 7))
    for name, output in part.items():
        torch.testing.assert_close(output, whole[name][:, :, 3:9, 5:12])


@pytest.mark.parametrize(
    ("option", "message"),
    [({"grid_frames": []}, "grid_frames="), ({"grid_frames": [0]}, "grid_frames="), ({"groups": 0}, "groups=0"),
     ({"channels": 0}, "channels=0"), ({"expansion": 0.0}, "expansion=0.0")],
)  # fmt: skip
def test_wrong_options_are_named(option: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build("ff_nerv", SHAPE, **{**SMALL["ff_nerv"], **option})
