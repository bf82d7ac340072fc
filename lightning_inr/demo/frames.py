"""The requests of the player: a frame as JPEG, the whole file as mp4, the file itself."""

import io
import tempfile
from pathlib import Path
from typing import Literal

import numpy as np
from fastapi import APIRouter
from fastapi.responses import FileResponse, PlainTextResponse, Response
from numpy.typing import NDArray
from PIL import Image
from starlette.background import BackgroundTask

from lightning_inr.demo.library import Library
from lightning_inr.errors import UserError, printable

Picture = Literal["decoded", "source", "difference"]
MOST_PIXELS = 3840 * 2160  # of a frame
MOST_WRITTEN_PIXELS = 500_000_000  # of all frames of an mp4
DIFFERENCE_GAIN = 4  # factor by which a difference is brightened
FRESH = {"Cache-Control": "no-store"}  # a file may change while the page is open
Rgb = NDArray[np.uint8]


def frame_routes(library: Library) -> APIRouter:
    """The requests that the player and the thumbnails make, below /linr."""
    router = APIRouter(prefix="/linr", include_in_schema=False)

    @router.get("/frame")
    def frame(file: str, position: float, height: int | None = None, view: Picture = "decoded") -> Response:
        try:
            return Response(
                jpeg(view_of(library, file, position, height, view)), media_type="image/jpeg", headers=FRESH
            )
        except UserError as error:
            return one_line(error)

    @router.get("/video.mp4")
    def video(file: str, height: int | None = None, slowdown: int = 1) -> Response:
        try:
            written = write_mp4_of(library, file, height, slowdown)
        except UserError as error:
            return one_line(error)
        name = f"{Path(library.get(file).name).stem}.mp4"
        return FileResponse(written, filename=name, background=BackgroundTask(written.unlink, missing_ok=True))

    @router.get("/file.linr")
    def linr(file: str) -> Response:
        try:
            shown = library.get(file)
        except UserError as error:
            return one_line(error)
        return FileResponse(shown.path, filename=f"{Path(shown.name).stem}.linr", media_type="application/octet-stream")

    return router


def one_line(error: UserError) -> PlainTextResponse:
    """The answer to a request that cannot be met: the message, which the player shows as text."""
    return PlainTextResponse(printable(str(error)), status_code=400, headers=FRESH)


def output_size(shape: tuple[int, int, int, int], height: int | None) -> tuple[int, int]:
    """Height and width of the output, with the aspect ratio of the video; UserError beyond MOST_PIXELS."""
    _, own_height, own_width, _ = shape
    if height is None:
        return own_height, own_width
    width = max(1, round(height * own_width / own_height))
    if height < 1 or height * width > MOST_PIXELS:
        raise UserError(f"height={height}: choose a height from 1 with at most {MOST_PIXELS} pixels a frame")
    return height, width


def view_of(library: Library, key: str, position: float, height: int | None, view: Picture) -> Rgb:
    """One picture of a frame position, (H, W, 3); the source is that of the nearest frame."""
    video = library.videos.get(key)
    size = output_size(video.shape, height)
    if view == "source":
        return _source_frame(library, key, position, size)
    with library.rendering():
        decoded = video.at(position, size)
    if view == "decoded":
        return decoded
    difference = np.abs(decoded.astype(np.int16) - _source_frame(library, key, position, size))
    brightened: Rgb = np.minimum(DIFFERENCE_GAIN * difference, 255).astype(np.uint8)
    return brightened


def _source_frame(library: Library, key: str, position: float, size: tuple[int, int]) -> Rgb:
    with library.original(key) as source:
        if not 0 <= position <= source.frames - 1:
            raise UserError(f"position {position}: the source video has frames 0 to {source.frames - 1}")
        frame = source.read(round(position)).permute(1, 2, 0).numpy()
    if frame.shape[:2] != size:
        frame = np.asarray(Image.fromarray(frame).resize(size[::-1], Image.Resampling.BICUBIC))
    return frame


def jpeg(frame: Rgb, quality: int = 92) -> bytes:
    """A frame (H, W, 3) as JPEG without subsampling of colours."""
    written = io.BytesIO()
    Image.fromarray(frame).save(written, "JPEG", quality=quality, subsampling=0)
    return written.getvalue()


def write_mp4_of(library: Library, key: str, height: int | None, slowdown: int) -> Path:
    """All frames of a file as an mp4 in the folder of temporary files; the caller removes it."""
    video = library.videos.get(key)
    size = output_size(video.shape, height)
    if not 1 <= slowdown <= 8:
        raise UserError(f"slowdown={slowdown}: choose 1 to 8")
    if len(video) * slowdown * size[0] * size[1] > MOST_WRITTEN_PIXELS:
        raise UserError(
            f"height={height} slowdown={slowdown}: more than {MOST_WRITTEN_PIXELS} pixels in all; choose a smaller "
            "height, or decode it on the command line"
        )
    with tempfile.NamedTemporaryFile(suffix=".mp4", delete=False) as file:
        target = Path(file.name)
    try:
        with library.writing():
            return video.write(target, slowdown=slowdown, size=size)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
