from contextlib import suppress
from pathlib import Path

import pytest
import wandb

from lightning_inr.training.loggers import wandb_logger


def test_weights_and_biases_stay_offline_unless_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with suppress(ConnectionError):  # raised if W&B's service of this process has ended; the next use starts another
        wandb.teardown()
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    logger = wandb_logger(str(tmp_path), project="test", name=None, group=None)
    logger.log_metrics({"train/psnr": 30.0}, step=1)
    logger.experiment.finish()
    assert list((tmp_path / "wandb").glob("offline-run-*"))
