"""Time to decode one frame of a file and all of them, each in a new process.

    python experiments/benchmarks/random_access.py video.linr

Imports are not counted; everything else is: reading the file, entropy decoding, rendering, writing PNG.
"""

import subprocess
import sys
import tempfile

ROUNDS = 5
SCRIPT = """
import sys, time
import PIL.PngImagePlugin
from omegaconf import OmegaConf
from lightning_inr.tasks import decode
cfg = OmegaConf.create(dict(bitstream=sys.argv[1], out=sys.argv[2], frames=sys.argv[3] or None,
                            size=None, slowdown=1, fps=None, device="cpu"))
start = time.perf_counter()
decode.run(cfg)
print(time.perf_counter() - start)
"""


def seconds(bitstream: str, frames: str) -> float:
    """The least time of several new processes."""
    times = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-c", SCRIPT, bitstream, f"{folder}/png", frames]
            times.append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]))
    print(f"frames={frames or 'all':<8}" + " ".join(f"{1e3 * value:7.1f}" for value in sorted(times)) + " ms")
    return min(times)


if __name__ == "__main__":
    one, everything = seconds(sys.argv[1], "70:71"), seconds(sys.argv[1], "")
    print(f"all / one = {everything / one:.1f}")
