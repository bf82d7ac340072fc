"""Every file of every group composes, and its configuration can be built."""

from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from lightning_inr.codec import Limits
from lightning_inr.configuration.fits import fit_options
from lightning_inr.models import MODELS, build_on_meta
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.models.size import count_coded, solve_width
from lightning_inr.paths import config_dir
from lightning_inr.pipelines.chat_backend import KNOWN_MODELS
from lightning_inr.types import VideoShape

CONF = Path(config_dir())
GROUPS = {
    str(folder.relative_to(CONF)): sorted(file.stem for file in folder.glob("*.yaml"))
    for folder in CONF.rglob("*")
    if folder.is_dir()
}
CHOICES = [(group, name) for group, names in GROUPS.items() for name in names]


def compose(*overrides: str) -> DictConfig:
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(config_dir(), version_base="1.3"):
        cfg = hydra.compose("config", list(overrides), return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    return cfg


def build_model(cfg: DictConfig) -> VideoRepresentation:
    options: Any = OmegaConf.to_container(cfg.model, resolve=True)
    return build_on_meta(video=VideoShape(132, 180, 320, 25.0), **options)


@pytest.mark.parametrize(("group", "name"), CHOICES)
def test_every_file_composes_and_builds(group: str, name: str) -> None:
    key = {"clip_options": "clip_options@dataset", "load_options": "load_options@video_llm"}.get(group, group)
    needs = {"t_nerv_ablation": ["model=t_nerv"], "model/encoding": ["model=latent_inr_conv"],
             "load_options": ["video_llm=llava_onevision"], "index": ["task=search"]}  # fmt: skip
    cfg = compose(f"{key}={name}", *needs.get(group, []))
    net = build_model(cfg)
    options = fit_options(cfg)
    options.make_module(net)
    options.make_callbacks()
    if cfg.logger is not None:
        assert callable(hydra.utils.get_method(cfg.logger._target_))
    assert callable(hydra.utils.get_method(cfg.dataset._target_))
    if "listing" in cfg.dataset:
        assert callable(hydra.utils.get_method(cfg.dataset.listing._target_))
    assert not OmegaConf.missing_keys(cfg.model)


@pytest.mark.parametrize("name", GROUPS["experiment"])
def test_sweep_values_of_experiments_are_choices(name: str) -> None:
    cfg = compose(f"experiment={name}")
    params = cfg.hydra.sweeper.params or {}
    assert bool(params) == (cfg.hydra.mode == RunMode.MULTIRUN)
    for key, values in params.items():
        override = OverridesParser.create().parse_override(f"{key}={values}")
        assert override.is_sweep_override()
        given = override.value()
        of_search = [given.start, given.end] if isinstance(given, IntervalSweep) else None
        for value in of_search or override.sweep_string_iterator():
            compose(f"experiment={name}", f"{key}={value}")


@pytest.mark.parametrize("name", GROUPS["t_nerv_ablation"])
def test_a_t_nerv_ablation_changes_its_option_and_keeps_the_size(name: str) -> None:
    each = [
        OmegaConf.to_container(
            compose("experiment=bunny_tnerv_ablation", f"t_nerv_ablation={variant}").model, resolve=True
        )
        for variant in ("full", name)
    ]
    full, options = (dict(model) for model in each if isinstance(model, dict))
    changed = {key for key in full if full[key] != options[key]}
    assert len(changed) == {"full": 0, "e4": 2, "e5": 3}.get(name, 1)
    video = VideoShape(132, 180, 320, 25.0)
    count = count_coded(
        build_on_meta(video=video, **{"name": "t_nerv", **solve_width(video=video, params=500_000, **options)})
    )
    assert count == pytest.approx(500_000, rel=0.01)


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


def test_a_command_line_option_overrides_preset_and_experiment() -> None:
    cfg = compose("experiment=paper", "rank=50", "modulated_layers=[0,3]")
    assert (cfg.model.rank, list(cfg.model.modulated_layers)) == (50, [0, 3])
    assert cfg.codec.coder == "huffman"


def test_the_sizes_of_bunny_rd_grow_with_its_rank() -> None:
    networks = [build_model(compose("experiment=bunny_rd", f"rank={rank}")) for rank in (4, 8, 16)]
    small, medium, large = (sum(parameter.numel() for parameter in net.parameters()) for net in networks)
    assert small < medium < large


# Parameters in millions of published configurations, embeddings, grids and tables among them.
PUBLISHED = {
    "nerv": (3.20, 132, 720, 1280),
    "nerv_m": (6.28, 132, 720, 1280),
    "nerv_l": (12.52, 132, 720, 1280),
    "e_nerv": (12.49, 132, 720, 1280),
    "c_nerv": (12.4, 600, 720, 1280),
    "ff_nerv": (12.4, 600, 720, 1280),
    "ff_nerv_compression": (11.3, 600, 1080, 1920),
    "hnerv_075m": (0.75, 132, 640, 1280),
    "hnerv": (1.5, 132, 640, 1280),
    "hnerv_3m": (3.0, 132, 640, 1280),
    "dnerv_720p": (12.4, 600, 720, 1280),
    "dnerv_960p": (3.0, 600, 960, 1920),
    "t_nerv": (12.4, 600, 720, 1280),
    "t_nerv_960p": (3.0, 600, 960, 1920),
    "t_nerv_compression": (9.3, 600, 1080, 1920),
    "hinerv_xxs": (0.77, 132, 720, 1280),
    "hinerv_xs": (1.59, 132, 720, 1280),
    "hinerv": (3.25, 132, 720, 1280),
    "hinerv_s_1080p": (3.19, 600, 1080, 1920),
    "hinerv_xxl_1080p": (50.7, 600, 1080, 1920),
    "nvp": (135.81, 600, 1080, 1920),
}


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_published_configurations_have_their_sizes(name: str) -> None:
    millions, frames, height, width = PUBLISHED[name]
    options: Any = OmegaConf.to_container(compose(f"model={name}").model, resolve=True)
    count = count_coded(build_on_meta(video=VideoShape(frames, height, width, 25.0), **options))
    assert count / 1e6 == pytest.approx(millions, rel=0.01)


@pytest.mark.parametrize("name", sorted(MODELS.keys() - {"latent_inr"}))
def test_every_model_of_family_has_half_a_million_parameters(name: str) -> None:
    preset = f"{name}_320x180" if f"{name}_320x180" in GROUPS["model"] else name
    options: Any = OmegaConf.to_container(compose("experiment=family", f"model={preset}").model, resolve=True)
    video = VideoShape(132, 180, 320, 25.0)
    count = count_coded(
        build_on_meta(video=video, **{"name": name, **solve_width(video=video, params=500_000, **options)})
    )
    assert count == pytest.approx(500_000, rel=0.01)


def test_the_encoding_can_be_replaced() -> None:
    assert compose("model=latent_inr_conv", "model/encoding=fourier").model.encoding == {
        "kind": "fourier",
        "octaves": 10,
    }


def test_limits_are_those_of_the_codec() -> None:
    assert compose().limits == Limits()._asdict()


def test_models_allowed_for_download_have_a_configuration() -> None:
    options = [OmegaConf.select(compose(f"video_llm={name}"), "video_llm.model") for name in GROUPS["video_llm"]]
    assert {name for name in options if name and not name.startswith("runs/")} == KNOWN_MODELS
