"""The verbs of `lightning-inr` and their options. A verb imports what it needs when it is called, for a quick --help.

Verbs that have a task of `lightning_inr.run` call it with its options, so that both give the same results and errors.
"""

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from lightning_inr import __version__
from lightning_inr.command.running import call, run_task, to_height_first, to_options

app = typer.Typer(
    help="Fit a neural network to a video, write it as one .linr file, and decode, measure, search and ask such files.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Effort(str, Enum):
    """Presets of conf/effort."""

    fast = "fast"
    medium = "medium"
    slow = "slow"


class Progress(str, Enum):
    """Modes of `lightning_inr.progress`."""

    auto = "auto"
    json = "json"
    none = "none"


File = Annotated[str, typer.Argument(metavar="FILE.linr", help="A .linr file; - is standard input.")]
Collection = Annotated[str, typer.Argument(metavar="COLLECTION", help="A folder written by `collect`, or its URL.")]
Out = Annotated[str, typer.Option("-o", "--out", metavar="OUT", help="Where the result is written.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Projector = Annotated[Path | None, typer.Option(help="A shared projector's file.")]
VideoLlm = Annotated[str | None, typer.Option(help="Folder or hub id of the model, if not as named.")]
Host = Annotated[str, typer.Option(help="Address to listen at; at 0.0.0.0, others on the network can use the page.")]
Port = Annotated[int | None, typer.Option(help="Of the server; the first free one from 7860.")]
OpenBrowser = Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any option of `python -m lightning_inr.run --help`; repeatable."),
]
ProgressMode = Annotated[Progress, typer.Option("--progress", help="A bar (lines in a log), JSON lines, or nothing.")]


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Print the version if it is asked for."""
    if show:
        print(f"lightning-inr {__version__}")
        raise typer.Exit


@app.command("encode")
def encode_verb(
    video: Annotated[str, typer.Argument(metavar="VIDEO", help="A video, a folder of images, or - for y4m on stdin.")],
    out: Out,
    bpp: Annotated[float | None, typer.Option(help="Target size in bits per pixel, such as 0.2.")] = None,
    psnr: Annotated[float | None, typer.Option(help="Target quality in dB, such as 33.")] = None,
    effort: Annotated[Effort, typer.Option(help="Number of training steps.")] = Effort.medium,
    seconds: Annotated[float | None, typer.Option(help="Limit of the fit, or of each segment's, in seconds.")] = None,
    height: Annotated[int | None, typer.Option(help="Resize to this height in pixels.")] = None,
    model: Annotated[str, typer.Option(help="A file of conf/model.")] = "latent_inr_grids",
    segment_frames: Annotated[
        int | None, typer.Option(help="For a long video: a network per this many frames; effort is that of each.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    device: Device = "auto",
    progress: ProgressMode = Progress.auto,
    settings: Settings = None,
) -> None:
    """Fit a video and write it as one .linr file. The same command continues an interrupted fit."""
    from lightning_inr.command.encode import encode_video_file

    with call():
        options = to_options(settings)
        encode_video_file(
            video, Path(out), bpp=bpp, psnr=psnr, seconds=seconds, effort=effort.value, height=height, model=model,
            segment_frames=segment_frames, seed=seed, device=device, progress=progress.value, options=options,
        )  # fmt: skip


@app.command("decode")
def decode_verb(
    file: File,
    out: Out,
    size: Annotated[str | None, typer.Option(metavar="WIDTHxHEIGHT", help="Such as 1280x720.")] = None,
    fps: Annotated[float | None, typer.Option(help="Frames per second of the output.")] = None,
    frames: Annotated[str | None, typer.Option(metavar="FIRST:END", help="END not included.")] = None,
    slowdown: Annotated[int, typer.Option(help="Frames rendered per frame of the video, between frames too.")] = 1,
    device: Device = "auto",
    progress: ProgressMode = Progress.auto,
    settings: Settings = None,
) -> None:
    """Write frames as a video, as a folder of PNGs, or with `-o -` as y4m to standard output."""
    from lightning_inr.command.pipes import named_file

    with call(), named_file(file, ".linr") as bitstream:
        run_task(
            "decode", settings, bitstream=bitstream, out=out, size=to_height_first(size), fps=fps, frames=frames,
            slowdown=slowdown, device=device, progress=progress.value,
        )  # fmt: skip


@app.command("info")
def info_verb(
    file: File, as_json: Annotated[bool, typer.Option("--json", help="Everything, for programs.")] = False
) -> None:
    """Print what a file holds."""
    from lightning_inr.command.info import print_info

    with call():
        print_info(file, as_json)


@app.command("compare")
def compare_verb(
    file: File,
    video: Annotated[str, typer.Argument(metavar="VIDEO", help="The video that was encoded.")],
    codecs: Annotated[str, typer.Option(help="x265, x264, svtav1, vvc, separated by commas.")] = "x265,svtav1,vvc",
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="For the picture.")] = Path("compared"),
    height: Annotated[int | None, typer.Option(help="As in `encode`.")] = None,
    device: Device = "auto",
    progress: ProgressMode = Progress.auto,
) -> None:
    """Measure a file beside conventional codecs at about the same size: PSNR, MS-SSIM, VMAF, bpp, and one picture."""
    from lightning_inr.command.compare import compare_file

    with call():
        compare_file(Path(file), video, codecs.split(","), out, height, device, progress.value)


@app.command("collect")
def collect_verb(
    videos: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder of videos, with captions or without.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="COLLECTION", help="Folder of the .linr files.")],
    clip: Annotated[str | None, typer.Option(help="CLIP of open_clip for search, such as ViT-B-32.")] = None,
    weights: Annotated[str, typer.Option(help="Weights of that CLIP: a tag, a file or a folder.")] = "openai",
    effort: Annotated[Effort, typer.Option(help="Number of training steps of each video.")] = Effort.medium,
    height: Annotated[int | None, typer.Option(help="Resize to this height in pixels.")] = None,
    device: Device = "auto",
    progress: ProgressMode = Progress.auto,
    settings: Settings = None,
) -> None:
    """Encode every video of a folder. The same command continues, and encodes what is new."""
    teacher = {} if clip is None else {"module": "alignment", "teacher": "clip"}
    weights_of = {} if clip is None else {"teacher.model": clip, "teacher.weights": weights}
    with call():
        run_task(
            "collect", settings, dataset="folder", **teacher,
            **{"dataset.listing.root": videos, "dataset.height": height, "collection": out, **weights_of},
            effort=effort.value, device=device, progress=progress.value,
        )  # fmt: skip


@app.command("search")
def search_verb(
    collection: Collection,
    text: Annotated[str | None, typer.Argument(help="What is looked for.")] = None,
    image: Annotated[Path | None, typer.Option(help="An image in place of a text.")] = None,
    k: Annotated[int, typer.Option("-k", help="Number of hits.")] = 5,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="For hits.png and hits.json.")] = Path(
        "found"
    ),
    open_hits: Annotated[bool, typer.Option("--open", help="Open the picture of the hits.")] = False,
    device: Device = "auto",
    settings: Settings = None,
) -> None:
    """Find frames of a collection by words or by an image; no video is decoded but the frames found."""
    with call():
        run_task("search", settings, collection=collection, query=text, image=image, k=k, out=out, device=device)
        if open_hits:
            typer.launch(str(out / "hits.png"))


@app.command("ask")
def ask_verb(
    file: File,
    question: Annotated[str | None, typer.Argument(help="Without it, a conversation.")] = None,
    projector: Projector = None,
    video_llm: VideoLlm = None,
    device: Device = "auto",
    settings: Settings = None,
) -> None:
    """Ask a video language model about a file; it reads the latents, and no frame is decoded."""
    chosen = {} if video_llm is None else {"video_llm": "llava_onevision", "video_llm.model": video_llm}
    with call():
        run_task("chat", settings, bitstream=file, question=question, projector=projector, device=device, **chosen)


@app.command("play")
def play_verb(
    file: Annotated[Path, typer.Argument(metavar="FILE.linr", help="A .linr file.")],
    source: Annotated[Path | None, typer.Option(help="The video it was made from, to compare with.")] = None,
    projector: Projector = None,
    video_llm: VideoLlm = None,
    device: Device = "auto",
    host: Host = "127.0.0.1",
    port: Port = None,
    browser: OpenBrowser = True,
) -> None:
    """Play a file in a page of a local server; needs the extra `demo`."""
    _open_page(
        file, host, port, browser, "play", source=source, projector=projector, video_llm=video_llm, device=device
    )


@app.command("demo")
def demo_verb(
    path: Annotated[Path, typer.Argument(metavar="COLLECTION|FILE.linr", help="What the page shows.")],
    tab: Annotated[str, typer.Option(help="Open first: play, encode, search, ask, compare or latents.")] = "play",
    source: Annotated[Path | None, typer.Option(help="The file's video, or a folder with the collection's.")] = None,
    projector: Projector = None,
    video_llm: VideoLlm = None,
    device: Device = "auto",
    host: Host = "127.0.0.1",
    port: Port = None,
    browser: OpenBrowser = True,
) -> None:
    """Play, encode, search, ask and compare in a page of a local server; needs the extra `demo`."""
    _open_page(path, host, port, browser, tab, source=source, projector=projector, video_llm=video_llm, device=device)


def _open_page(path: Path, host: str, port: int | None, browser: bool, tab: str, **options: Any) -> None:
    with call():
        from lightning_inr.demo import launch
        from lightning_inr.demo.options import DemoOptions

        launch(path, host, port, browser, tab, DemoOptions(**options))


@app.command("export")
def export_verb(file: File, out: Out) -> None:
    """Write a page that decodes and plays the file in a browser (OUT.html), or its ONNX decoder (OUT.onnx)."""
    with call():
        from lightning_inr.export import export_file

        export_file(Path(file), Path(out))
