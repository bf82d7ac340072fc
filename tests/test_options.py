"""The options as read from the yaml files: names, defaults, comments; and errors for unused options."""

from collections.abc import Callable
from pathlib import Path

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from lightning_inr.models import MODELS
from lightning_inr.options import SECTION, choices, config_options, declared, groups, is_base
from lightning_inr.paths import config_dir
from tests.conftest import Outcome

Cli = Callable[..., Outcome]
GROUPS = [group for group in groups() if group not in ("experiment", "t_nerv_ablation")]
CHOICES = [(group, choice) for group in GROUPS for choice in choices(group)]


def compose(*overrides: str) -> DictConfig:
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(config_dir(), version_base="1.3"):
        return hydra.compose("config", list(overrides))


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_options_read_from_files_equal_those_composed_by_hydra(group: str, choice: str) -> None:
    composed = OmegaConf.to_container(compose(f"{group}={choice}"))
    changed_later = ("module.", "data.", "trainer.", "callbacks.", "logger")  # by the model or the logger
    for name, option in declared(group, choice).items():
        value: object = composed
        for key in name.split("."):
            assert isinstance(value, dict), name
            value = value[key]
        if option.value is not SECTION and not name.startswith(changed_later):
            assert value == option.value, name


def test_a_comment_includes_the_lines_below_its_option() -> None:
    options = declared("model", "latent_inr_conv")
    assert "smooth" in options["model.latent_start"].comment  # from latent_inr, which it builds on
    assert options["modulated_layers"].value == [1, 2]
    assert declared("task", "align")["collection"].comment.count("teacher") >= 1
    assert config_options()["limits"].value is SECTION
    assert declared("codec", "default")["codec.bits"].value == {"latents": 8, "hyper": 6, "grid": 6, "base": 6}


def test_base_files_follow_the_choice() -> None:
    assert declared("model", "latent_inr")["model.encoding.kind"].value == "hash"
    assert declared("model", "latent_inr_conv")["model.encoding.kind"].value == "grid"
    chosen = declared("model", "latent_inr_conv", {"model/encoding": "fourier"})
    assert chosen["model.encoding.kind"].value == "fourier"
    assert "model.encoding.height" not in chosen


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_models_file_has_all_options_of_the_model(name: str) -> None:
    assert is_base("model", name)
    options = {option.split(".")[1] for option in declared("model", name) if option.startswith("model.")}
    assert options - {"name"} == set(MODELS[name].Config.__dataclass_fields__)


@pytest.mark.parametrize("choice", choices("model"))
def test_at_the_top_a_models_file_has_rank_modulated_layers_and_how_it_is_trained_alone(choice: str) -> None:
    top = {name for name in declared("model", choice) if "." not in name}
    assert top <= {"rank", "modulated_layers", "short_learning_rate", "rate_interval"}


NERV = "its options are short_learning_rate, model.channels"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["experiment=uvg_rd", "model=nerv", "rank=50"], f"rank=50: model=nerv has no option rank: {NERV}"),
        (["experiment=uvg_rd", "model=nerv"], f"experiment=uvg_rd sets rank: model=nerv has no option rank: {NERV}"),
        (["experiment=chat_tiny", "model=nerv"], "experiment=chat_tiny sets rank: model=nerv has no option rank"),
        (["experiment=bunny_rd", "model=nerv"], "experiment=bunny_rd sets model.width: model=nerv has no option"),
        (["t_nerv_ablation=e1", "model=nerv"], f"model=nerv has no option model.grid_frames: {NERV}"),
        (["t_nerv_ablation=d1"], "t_nerv_ablation=d1 sets model.flow_guidance: model=latent_inr_grids has no option"),
        (["experiment=family", "model=latent_inr_conv", "strides=[2,2]"], "model=latent_inr_conv has no option stri"),
        (["model=hnerv", "rank=10"], "rank=10: model=hnerv has no option rank: its options are"),
        (["model=hnerv", "+rank=10"], "+rank=10: model=hnerv has no option rank: its options are"),
        (["model=hnerv", "++rank=10"], "rank=10: model=hnerv has no option rank: its options are"),
        (["-m", "model=latent_inr_conv,hnerv", "rank=10"], "rank=10: model=hnerv has no option rank"),
        (["model=nerv", "strides=[5,2,2]"], "strides=[5,2,2]: no such option; write model.strides"),
        (["model.rank=4"], "model.rank=4: an option of the top level; write rank=4"),
        (["model=hnerv", "short_learning_rate=1e-3"], "short_learning_rate=1e-3: not used with these choices"),
        (["+model.foo=1"], "model=latent_inr_grids has no option model.foo"),
        (["+foo.bar=1"], "+foo.bar=1: no such option"),
        (["task=evaluate_chat", "+answers.most=1"], "+answers.most=1: no such option"),
        (["+limits.bytes=1"], "+limits.bytes=1: no such option"),
        (["bpp=0.2", "callbacks=default"], "callbacks=default has no option bpp"),
        (["callbacks.quantization_aware.start=0.5"], "is an option of callbacks=default"),
        (["out=x.mp4"], "task=fit has no option out: it has no options; out is an option of task=align, chat, decode"),
        (["height=90"], "height=90: no such option; write dataset.height"),
        (["dataset.path=x.mp4"], "dataset.path is an option of dataset=file"),
        (["teacher.model=RN50"], "teacher=none has no option teacher.model"),
        (["max_epoch=2"], "max_epoch=2: no such option; did you mean max_epochs"),
        (["spin=1"], "spin=1: no such option; choose one of run_dir, seed"),
        (["model.encoding=hash"], "model=latent_inr_grids has no option model.encoding"),
        (["model=latent_inr", "model.encoding=hsh"], "model.encoding=hsh: did you mean hash"),
        (["task=transcode"], "task=transcode: choose one of align, any_resolution, chat"),
        (["model=hnerv2"], "model=hnerv2: did you mean hnerv"),
        (["~rnak"], "~rnak: no such option; did you mean rank"),
        (["rank"], "rank: write name=value"),
        (["rank=2,3"], "add --multirun"),
        (["+rank=2"], "remove + prefix"),
        (["rank=[1"], "rank=[1: write name=value"),
    ],
)  # fmt: skip
def test_an_unused_option_is_an_error_that_lists_existing_ones(cli: Cli, options: list[str], message: str) -> None:
    outcome = cli(*options)
    assert outcome.code == 1
    assert message in outcome.error
    assert not list(Path.cwd().rglob("video.linr"))


def test_the_list_of_tasks_is_complete(cli: Cli) -> None:
    assert cli("task=transcode").error.endswith(", ".join(choices("task")))


def test_in_a_sweep_every_job_without_the_option_fails(cli: Cli) -> None:
    outcome = cli("-m", "experiment=uvg_rd", "model=nerv", "rank=50,100", "run_dir=sweep")
    assert outcome.code == 1
    for rank in (50, 100):
        assert f"error: rank={rank}: model=nerv has no option rank" in outcome.err
    assert len(list(Path("sweep").rglob("failed.txt"))) == 2


def test_a_sweep_over_models_takes_the_options_of_those_models(cli: Cli) -> None:
    missing = ["dataset=file", "dataset.path=/no/such.mp4", "model.strides=[4,2]", "run_dir=sweep"]
    outcome = cli("-m", "model=nerv,latent_inr_conv", *missing)
    assert outcome.code == 1
    reasons = {path.parent.name: path.read_text() for path in Path("sweep").rglob("failed.txt")}
    assert sorted("no such file" in reason for reason in reasons.values()) == [False, True]
    assert any("model.strides=[4,2]: model=latent_inr_conv has no option" in reason for reason in reasons.values())
    assert not any("+" in name for name in reasons)


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        (["experiment=uvg_rd", "model=nerv", "rank=50"], ["experiment=uvg_rd", "model=nerv", "~rank"]),
        (["experiment=uvg_rd", "model=nerv"], ["experiment=uvg_rd", "model=nerv", "~rank"]),
        (["t_nerv_ablation=e4", "model=nerv"], ["model=nerv"]),
        (["model=hnerv", "+rank=10"], ["model=hnerv"]),
    ],
)
def test_the_remedy_in_the_message_works(cli: Cli, options: list[str], remedy: list[str]) -> None:
    missing = ["dataset=file", "dataset.path=/no/such.mp4"]
    assert "has no option" in cli(*options, *missing).error
    assert "dataset.path=/no/such.mp4: no such file" in cli(*remedy, *missing).error


@pytest.mark.parametrize(
    "options",
    [
        ["model=latent_inr_conv", "model.encoding=fourier"], ["model=latent_inr", "encoding@model.encoding=grid"],
        ["experiment=bunny_rd", "rank=4"], ["experiment=family", "model=hnerv_320x180", "short_learning_rate=1e-3"],
        ["experiment=retrieval", "dataset=file", "task=fit"], ["+trainer.precision=32"],
        ["+codec.bits.projector=16"], ["model=latent_inr_conv", "model.stages.0.stride=2"], ["t_nerv_ablation=full"],
        ["model=t_nerv", "t_nerv_ablation=e5"], ["+callbacks.mine=null"],
    ],
)  # fmt: skip
def test_an_option_that_is_used_is_no_error(cli: Cli, options: list[str]) -> None:
    given = {option.partition("=")[0] for option in options}
    missing = [] if "dataset" in given else ["dataset=file"]
    assert "dataset.path=/no/such.mp4: no such file" in cli(*options, *missing, "dataset.path=/no/such.mp4").error
