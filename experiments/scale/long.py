"""Memory of fitting and decoding by the length of a video, and the time to any of its frames (see long.md).

python experiments/scale/long.py make FOLDER            # clips of 300 and 3,000 frames of 64x48
python experiments/scale/long.py fit CLIP RUN           # fit in segments of 100 frames, and measure the file
python experiments/scale/long.py decode FILE            # decode all frames
python experiments/scale/long.py access FILE            # open, and decode one frame; first and random ones
python experiments/scale/long.py collection RUN         # make a run folder of an aligned file a collection of one video
"""

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np


def make(folder: Path) -> None:
    """Write `300.mp4` and `3000.mp4`: a moving square on a gradient, with a cut every 70 frames."""
    folder.mkdir(parents=True, exist_ok=True)
    for frames in (300, 3000):
        with av.open(str(folder / f"{frames}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
            for number in range(frames):
                shot, place = divmod(number, 70)
                picture = np.random.default_rng(shot).integers(0, 200, 3)[None, None] * np.ones((48, 64, 1))
                picture += np.linspace(0, 50, 64)[None, :, None]
                picture[place % 36 : place % 36 + 12, place % 52 : place % 52 + 12] = 250
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture.astype(np.uint8), format="rgb24")))
            container.mux(stream.encode())


def fit(clip: str, folder: str) -> None:
    """Fit in segments of 100 frames, five steps each, in this process."""
    from lightning_inr.run import run_arguments

    run_arguments([
        "dataset=file", f"dataset.path={clip}", "segment_frames=100", "max_steps=5", "logger=none", "progress=none",
        f"run_dir={folder}",
    ])  # fmt: skip
    print_peaks()


def decode(file: str) -> None:
    """Decode all frames, one by one."""
    import lightning_inr as li

    print(sum(1 for _ in li.open(file, device="cpu")), "frames")
    print_peaks()


def access(file: str) -> None:
    """Median time to open a file anew and decode one frame: the first, and random ones of other segments."""
    import lightning_inr as li
    from lightning_inr.ranges import FileRanges

    frames = len(li.open(file, device="cpu"))
    chosen = np.random.default_rng(0).integers(1, frames, 30).tolist()
    for name, numbers in {"warm-up": [0], "first frame": [0] * 30, "random frames": chosen, "again": [0] * 30}.items():
        seconds = []
        for number in numbers:
            start = time.perf_counter()
            li.open(file, device="cpu")[number]
            seconds.append(time.perf_counter() - start)
        print(f"{name}: median {1000 * statistics.median(seconds):.1f} ms, least {1000 * min(seconds):.1f} ms")
    print(
        json.dumps({"bytes of the file": len(FileRanges(file)), "bytes read for a frame": bytes_read(file, frames - 1)})
    )


def bytes_read(file: str, number: int) -> int:
    """The bytes that one frame of a file takes, by ranges."""
    from lightning_inr.codec import read_video
    from lightning_inr.ranges import FileRanges

    class Counted(FileRanges):
        """Counts what is read."""

        total = 0

        def _read(self, start: int, stop: int | None) -> bytes:
            data = super()._read(start, stop)
            self.total += len(data)
            return data

    source = Counted(file)
    next(read_video(source).render([number]))
    return source.total


def collection(run: str) -> None:
    """Write the manifest that `task=search collection=RUN` reads."""
    from lightning_inr.retrieval.collection import Record, write_manifest

    result = json.loads((Path(run) / "result.json").read_text())
    source = json.dumps({"path": result["dataset"]["path"], "height": result["height"], "width": result["width"]})
    figures = {name: result[name] for name in ("frames", "height", "width", "fps", "bytes", "bpp", "psnr", "ms_ssim")}
    aligned = result["alignment"]
    record = Record(
        id=result["video"], path="video.linr", source=source, label=None, captions=[], segments=[],
        teacher=aligned["teacher"], cos_seen=aligned["cos_seen"], cos_held_out=None,
        fit_seconds=result["fit_seconds"], seconds=result["fit_seconds"], **figures,
    )  # fmt: skip
    write_manifest(Path(run), [record])


def print_peaks() -> None:
    """The most memory of this process, and of those that it has started."""
    for name, who in {"this process": resource.RUSAGE_SELF, "its children": resource.RUSAGE_CHILDREN}.items():
        print(f"{name}: {resource.getrusage(who).ru_maxrss / 1024:.0f} MiB at most")


if __name__ == "__main__":
    verb, *arguments = sys.argv[1:]
    verbs: dict[str, Callable[..., None]] = {
        "make": lambda folder: make(Path(folder)), "fit": fit, "decode": decode, "access": access,
        "collection": collection,
    }  # fmt: skip
    verbs[verb](*arguments)
