import pytest

from lightning_inr.errors import UserError
from lightning_inr.models import MODELS, build, build_on_meta
from lightning_inr.models.size import count_coded, read_count, solve_width
from lightning_inr.types import VideoShape
from tests.conftest import SMALL

VIDEO = VideoShape(20, 36, 64, 25.0)


@pytest.mark.parametrize("name", list(MODELS))
@pytest.mark.parametrize("params", [300_000, 1_000_000])
def test_a_wanted_size_is_met_within_one_percent(name: str, params: int) -> None:
    options = solve_width(name, VIDEO, params, **SMALL[name])
    assert count_coded(build_on_meta(name, VIDEO, **options)) == pytest.approx(params, rel=0.01)


def test_counted_parameters_are_the_coded_ones() -> None:
    net = build("nerv", VIDEO, **SMALL["nerv"])
    assert count_coded(net) == sum(parameter.numel() for parameter in net.parameters())


def test_too_small_a_size_names_the_smallest() -> None:
    with pytest.raises(UserError, match=r"params=10: the smallest nerv for this video holds \d+; choose more"):
        solve_width("nerv", VIDEO, 10, **SMALL["nerv"])


@pytest.mark.parametrize(("text", "count"), [("3.0M", 3_000_000), ("500k", 500_000), (640000, 640_000)])
def test_sizes_may_have_a_unit(text: object, count: int) -> None:
    assert read_count(text) == count


@pytest.mark.parametrize("text", ["3G", "", "M", "-1M", "0", "1e6"])
def test_other_texts_are_errors(text: str) -> None:
    with pytest.raises(UserError, match="write a number of parameters as"):
        read_count(text)
