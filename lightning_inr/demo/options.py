"""Options of the page, and the limits of what may be uploaded to it."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class UploadLimits:
    """The most that an uploaded video may ask for; the header is checked before the fit, the rest while it runs."""

    megabytes: int = 200  # of the uploaded file
    frames: int = 1500
    pixels: int = 3840 * 2160  # of a frame, before it is resized
    seconds: float = 600.0  # of the fit, which then ends with the file that it has; killed if it takes twice as long
    waiting: int = 8  # videos that are encoded or wait; a further one is refused
    kept: int = 8  # encoded files that are kept until the server ends


@dataclass(frozen=True)
class DemoOptions:
    """Options of the page."""

    source: Path | None = None  # the video of the one file, or a folder that may show the videos of a collection
    projector: Path | None = None  # a shared projector's file; None: each file's own
    video_llm: str | None = None  # folder or hub id; None: the model that the file or the projector names
    device: str = "auto"
    uploads: UploadLimits = field(default_factory=UploadLimits)
