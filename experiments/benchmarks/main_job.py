"""The main job as a user runs it: wall time, peak memory, and an independent check of its PSNR.

    python experiments/benchmarks/main_job.py [option=value …]

Memory is the proportional set of the command and all it starts (shared pages count once), added up every
second: more frequent sampling would disturb the measurement. The PSNR is computed with NumPy alone from PNGs that
a new process decoded.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from lightning_inr.data.datasets.bunny import open_bunny

RUN = [sys.executable, "-m", "lightning_inr.run"]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        process = subprocess.Popen([*RUN, f"run_dir={folder}/run", *sys.argv[1:]])
        peak = measure_peak_memory(process)
        wall = time.perf_counter() - start
        if process.returncode:
            sys.exit(process.returncode)
        subprocess.run([*RUN, "task=decode", f"bitstream={folder}/run/video.linr", f"out={folder}/png"], check=True)
        result = json.loads(Path(folder, "run", "result.json").read_text())
        outside = psnr_of(Path(folder, "png"), result)
    print(f"wall time       {wall:8.1f} s")
    print(f"peak memory     {peak / 1e9:8.2f} GB")
    print(f"psnr            {result['psnr']:8.3f} dB in result.json, {outside:.3f} dB from decoded PNGs")
    print(f"rate            {result['bpp']:8.4f} bpp, {result['bytes']} bytes")
    print(f"ms_ssim         {result['ms_ssim'] or 0:8.4f}")
    print(f"fit             {result['fit_seconds']:8.1f} s, {result['epochs']} epochs")
    print(f"decoding        {result['decode_fps']:8.0f} frames/s, the file's reading included")


def measure_peak_memory(process: subprocess.Popen[bytes]) -> int:
    """Peak memory of a process and its children, in bytes, once it has ended."""
    peak = 0
    while process.poll() is None:
        try:
            family = psutil.Process(process.pid)
            peak = max(peak, sum(each.memory_full_info().pss for each in [family, *family.children(recursive=True)]))
        except psutil.NoSuchProcess:
            continue
        time.sleep(1.0)
    return peak


def psnr_of(folder: Path, result: dict[str, int]) -> float:
    """Mean over frames of the PSNR of PNGs against the source."""
    source = open_bunny(frames=result["frames"], height=result["height"], width=result["width"])
    values = []
    for index, file in enumerate(sorted(folder.glob("*.png"))):
        error = np.asarray(Image.open(file)).astype(float) - source.read(index).permute(1, 2, 0).numpy()
        values.append(10 * np.log10(255**2 / np.mean(error**2)))
    assert len(values) == result["frames"]
    return float(np.mean(values))


if __name__ == "__main__":
    main()
