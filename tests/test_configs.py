"""Every file of every group composes, and what it describes can be built."""

from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from lightning_inr.models import blueprint
from lightning_inr.paths import config_dir
from lightning_inr.types import VideoShape

CONF = Path(config_dir())
GROUPS = {
    folder.name: sorted(file.stem for file in folder.glob("*.yaml")) for folder in CONF.iterdir() if folder.is_dir()
}
CHOICES = [(group, name) for group, names in GROUPS.items() for name in names]


def compose(*overrides: str) -> DictConfig:
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(config_dir(), version_base="1.3"):
        cfg = hydra.compose("config", list(overrides), return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    return cfg


def build_model(cfg: DictConfig) -> torch.nn.Module:
    options: Any = OmegaConf.to_container(cfg.model, resolve=True)
    return blueprint(video=VideoShape(132, 180, 320, 25.0), **options)


@pytest.mark.parametrize(("group", "name"), CHOICES)
def test_every_file_composes_and_builds(group: str, name: str) -> None:
    key = {"encoding": "encoding@model.encoding", "part": "part@dataset"}.get(group, group)
    cfg = compose(f"{key}={name}")
    net = build_model(cfg)
    hydra.utils.instantiate(cfg.module, net=net)
    hydra.utils.instantiate(cfg.codec)
    for callback in cfg.callbacks.values():
        if callback is not None:
            hydra.utils.instantiate(callback)
    if cfg.logger is not None:
        assert hydra.utils.get_method(cfg.logger._target_)
    assert hydra.utils.get_method(cfg.dataset._target_)
    assert not OmegaConf.missing_keys(cfg.model)


@pytest.mark.parametrize("name", GROUPS["experiment"])
def test_what_an_experiment_sweeps_over_is_read_as_choices(name: str) -> None:
    cfg = compose(f"experiment={name}")
    params = cfg.hydra.sweeper.params or {}
    assert bool(params) == (cfg.hydra.mode == RunMode.MULTIRUN)
    for key, values in params.items():
        override = OverridesParser.create().parse_override(f"{key}={values}")
        assert override.is_sweep_override()
        for value in override.sweep_string_iterator():
            compose(f"experiment={name}", f"{key}={value}")


def test_every_group_has_a_choice() -> None:
    assert {"task", "dataset", "model", "module", "codec", "trainer", "callbacks", "logger", "experiment"} <= set(
        GROUPS
    )


def test_the_papers_presets_have_the_papers_sizes() -> None:
    main = compose("model=latent_inr").model
    assert (main.layers, main.width, main.hyper_depth, main.hyper_width) == (6, 512, 1, 128)
    assert (main.rank, main.latent_dim, main.encoding.kind) == (100, 512, "hash")
    supplement = compose("model=latent_inr_supplement").model
    assert (supplement.layers, supplement.width, supplement.hyper_depth, supplement.hyper_width) == (10, 512, 3, 512)
    assert compose("model=latent_inr").module.learning_rate == 5e-4


def test_a_knob_reaches_the_model_and_beats_preset_and_experiment() -> None:
    cfg = compose("experiment=paper", "rank=50", "modulated_layers=[0,3]")
    assert (cfg.model.rank, list(cfg.model.modulated_layers)) == (50, [0, 3])
    assert cfg.codec.coder == "huffman"


@pytest.mark.parametrize("rank", [4, 8, 16])
def test_the_sizes_of_bunny_rd_grow_with_its_rank(rank: int) -> None:
    small, large = (build_model(compose("experiment=bunny_rd", f"rank={each}")) for each in (rank // 2 * 2, 16))
    count = [sum(parameter.numel() for parameter in net.parameters()) for net in (small, large)]
    assert count[0] < count[1] or rank == 16


def test_nerv_has_the_papers_size() -> None:
    options: Any = OmegaConf.to_container(compose("model=nerv").model, resolve=True)
    net = blueprint(video=VideoShape(132, 720, 1280, 25.0), **options)
    assert sum(parameter.numel() for parameter in net.parameters()) == pytest.approx(3.20e6, rel=0.01)


def test_the_encoding_can_be_swapped() -> None:
    assert compose("encoding@model.encoding=fourier").model.encoding == {"kind": "fourier", "octaves": 10}
