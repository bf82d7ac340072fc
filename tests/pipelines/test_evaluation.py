import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

import psutil
import pytest

from lightning_inr.codec import Codec
from lightning_inr.errors import UserError
from tests.conftest import small_model

# Measures a file that is not there, and prints when that has failed: the other process is there then. Without the guard
# of the main module, which users of `fit` need not know.
MEASURING = """
from lightning_inr.errors import UserError
from lightning_inr.pipelines.evaluation import EvaluationRequest, measuring_process
with measuring_process() as measure:
    try:
        measure(EvaluationRequest("none.linr", dict, "cpu"))
    except UserError:
        print("there", flush=True)
    import time
    time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_the_measuring_process_ends_with_its_parent(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "measuring.py").write_text(MEASURING)
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    parent = subprocess.Popen(
        [sys.executable, "measuring.py"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True,
        stderr=subprocess.DEVNULL, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which a shell's & has it ignore
    )  # fmt: skip
    assert parent.stdout is not None
    assert parent.stdout.readline() == "there\n"
    children = psutil.Process(parent.pid).children(recursive=True)
    assert children
    parent.send_signal(number)
    parent.wait(timeout=120)  # they would live for ten minutes
    _, alive = psutil.wait_procs(children, timeout=120)
    assert not alive


def test_measuring_ignores_an_interrupt(tmp_path: Path) -> None:
    from lightning_inr.pipelines.evaluation import EvaluationRequest, measuring_process

    request = EvaluationRequest(
        "none.linr", cast(Any, dict), "cpu"
    )  # opens no video: the missing file is an error first
    (tmp_path / "video.linr").write_bytes(Codec().encode(small_model()))
    with measuring_process() as measure:
        with pytest.raises(UserError, match="no such file"):
            measure(request)
        for child in psutil.Process().children():
            child.send_signal(signal.SIGINT)
        time.sleep(0.2)
        with pytest.raises(UserError, match="no such file"):
            measure(request)
