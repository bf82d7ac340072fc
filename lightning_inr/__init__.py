"""Videos as neural networks: fit one, write one `.linr` file, decode it anywhere.

    import lightning_inr as li

    video = li.fit("clip.mp4", "clip.linr", bpp=0.2)
    frame = li.open("clip.linr")[70]
    hits = li.search("collection/", "a red ball rolls left", k=5)

Importing the package imports no torch; the first use of one of these names does.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["ClipDataset", "Video", "__version__", "fit", "open", "search"]

if TYPE_CHECKING:
    from lightning_inr.api import fit, search
    from lightning_inr.clips import ClipDataset
    from lightning_inr.video import Video, open

MODULES = {"fit": "api", "search": "api", "Video": "video", "open": "video", "ClipDataset": "clips"}


def __getattr__(name: str) -> Any:
    if name in MODULES:
        return getattr(importlib.import_module(f"{__name__}.{MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
