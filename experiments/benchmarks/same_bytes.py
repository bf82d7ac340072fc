"""Checks whether a change of the code changes the files of fits: the same fits at another commit and here.

    python experiments/benchmarks/same_bytes.py COMMIT

Each fit has one seed and one thread. A line a model; exit status 1 if any file differs.
"""

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

FITS = {
    "latent_inr_grids": [],
    "latent_inr_conv, default callbacks": ["model=latent_inr_conv", "callbacks=default"],
    "nerv": ["model=nerv_small"],
    "hnerv": ["model=hnerv_035m"],
}
FIXED = ["dataset.height=90", "dataset.frames=8", "max_epochs=4", "effort_steps=null", "device=cpu"]


def fit(code: Path, options: list[str], folder: Path) -> str:
    """The digest of the file that the code in `code` writes."""
    command = [sys.executable, "-m", "lightning_inr.run", *FIXED, *options, f"run_dir={folder}"]
    subprocess.run(command, cwd=code, check=True, capture_output=True, env={"OMP_NUM_THREADS": "1", "PATH": "/usr/bin"})
    return hashlib.sha256((folder / "video.linr").read_bytes()).hexdigest()[:16]


def main() -> int:
    """Compare all fits."""
    here = Path(__file__).resolve().parents[2]
    differ = 0
    with tempfile.TemporaryDirectory() as root:
        before = Path(root) / "before"
        subprocess.run(["git", "worktree", "add", "--detach", str(before), sys.argv[1]], cwd=here, check=True)
        try:
            for number, (name, options) in enumerate(FITS.items()):
                old, new = (fit(code, options, Path(root) / f"{number}-{code.name}") for code in (before, here))
                differ += old != new
                print(f"{name:<36} {old} {new} {'the same' if old == new else 'DIFFERS'}", flush=True)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(before)], cwd=here, check=True)
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
