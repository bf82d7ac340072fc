"""Every model: `build` gives one that is ready to be fitted, `build_on_meta` its shapes alone."""

from lightning_inr.models.factory import build
from lightning_inr.models.registry import MODELS, build_on_meta

__all__ = ["MODELS", "build", "build_on_meta"]
