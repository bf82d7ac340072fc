"""Prints what a file holds: a table from its header without torch, or everything as JSON."""

import json
from pathlib import Path

from lightning_inr.codec.summary import FileSummary, summarize_file
from lightning_inr.command.pipes import named_file
from lightning_inr.errors import printable
from lightning_inr.paths import read_bytes


def print_info(file: str, as_json: bool) -> None:
    """Print the figures of a file; UserError if it is missing or damaged."""
    with named_file(file, ".linr") as path:
        data = read_bytes(path, "file")
    if as_json:
        from lightning_inr.codec import describe_file  # imports torch: the cost of a frame needs the model's shapes

        print(json.dumps(describe_file(data), indent=2))
        return
    print(table_of_summary(summarize_file(data), Path(file).name))


def table_of_summary(summary: FileSummary, name: str) -> str:
    """The figures, one a line."""
    video = summary.video
    rows = {
        "file": name,
        "model": summary.model + (f", {summary.segments} segments" if summary.segments > 1 else ""),
        "video": f"{video.frames} frames of {video.width}x{video.height}, {video.fps:g} frames/s, "
        f"{video.frames / video.fps:.2f} s",
        "size": f"{summary.bytes:,} bytes, {summary.bpp:.4f} bits per pixel",
        "parameters": f"{summary.parameters:,}",
        "bytes by role": ", ".join(f"{role} {count:,}" for role, count in summary.role_bytes.items()),
        "search": f"aligned to {summary.teacher}" if summary.teacher else "not aligned to a teacher",
        "questions": f"projector for {summary.video_llm}" if summary.video_llm else "no projector",
    }
    return "\n".join(f"{label:<14}{printable(value)}" for label, value in rows.items())
