"""Loggers that need more than their own constructor."""

from lightning.pytorch.loggers import WandbLogger


def wandb_logger(save_dir: str, project: str, name: str | None, group: str | None) -> WandbLogger:
    """Weights & Biases, offline unless the user is logged in; never asks."""
    import wandb

    online = wandb.login(prompt=False)
    return WandbLogger(name=name, save_dir=save_dir, project=project, group=group, offline=not online)
