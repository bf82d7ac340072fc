"""The Hydra entry point: reads the command line, calls its task, and prints an error in one line.

python -m lightning_inr.run [-m] [task=fit|decode|evaluate|info|…] [option=value …]
"""

import errno
import importlib
import os
import re
import select
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import env_override
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from lightning_inr.errors import LONGEST_LINE, OptionError, Terminated, UserError, printable
from lightning_inr.help import help_text
from lightning_inr.option_checks import check_options, explain
from lightning_inr.options import is_group
from lightning_inr.paths import FAILED, config_dir, write_text

PATH_OPTIONS = {
    "dataset.path", "dataset.root", "dataset.listing.root", "dataset.listing.captions", "dataset.sequence", "bitstream",
    "out", "run_dir", "collection", "image", "query_file", "projector", "feature_cache", "runs", "query", "question",
    "teacher.weights", "video_llm.model", "video_llm.weights", "index.address",
}  # fmt: skip
EXTRAS = {  # packages that decoding does not need: the extra that installs them
    "lightning": "train", "torchmetrics": "train", "timm": "train", "scenedetect": "train", "matplotlib": "train",
    "cv2": "train", "skvideo": "train", "imageio_ffmpeg": "train", "faiss": "retrieval", "open_clip": "retrieval",
    "pyarrow": "retrieval", "ijson": "retrieval", "transformers": "chat", "safetensors": "chat", "tokenizers": "chat",
    "bjontegaard": "report", "umap": "report", "wandb": "report", "lancedb": "lancedb",
    "gradio": "demo", "plotly": "demo", "hydra_joblib_launcher": "train", "hydra_submitit_launcher": "cluster",
    "hydra_ray_launcher": "cluster", "hydra_optuna_sweeper": "cluster", "ray": "cluster", "submitit": "cluster",
    "optuna": "cluster",
}  # fmt: skip
FORMER_TASKS = {  # former name -> present name
    "answers": "evaluate_chat", "retrieval": "evaluate_retrieval", "teacher": "train_shapes_clip",
    "shapes_video_llm": "train_shapes_video_llm", "reference": "reference_codecs", "latents": "plot_latents",
}  # fmt: skip
FORMER_EXPERIMENTS = {
    **{f"{each}_retrieval": ["experiment=retrieval", f"dataset={each}"]
       for each in ("msrvtt", "activitynet", "coin", "howto100m")},
    "chat_onevision": ["experiment=chat", "video_llm=llava_onevision"],
    "chat_videollama3": ["experiment=chat", "video_llm=videollama3"],
}  # fmt: skip
# A disk, a network or a permission, and not our code: errors of these numbers end in one line wherever they occur.
ENVIRONMENT_ERRORS = {
    errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ESTALE,
    errno.ETIMEDOUT,
}  # fmt: skip
LAUNCHERS = ("joblib", "submitit", "ray")  # packages whose errors mean that the process of a job died
KILL_WAIT = 300.0  # seconds; longer than SLURM (KillWait) waits before it kills what is left of a job
OBJECTIVES = ("bpp", "psnr")  # figures of a result that a job returns, for a sweeper that searches
TRACEBACK = "LIGHTNING_INR_TRACEBACK"  # set while HYDRA_FULL_ERROR is needed for something else, to what the user gave

# Files of conf/hydra/launcher have the names of the launchers, whose types Hydra then checks them against. Here, as the
# workers of a launcher import this module and compose the configuration again.
warnings.filterwarnings("ignore", r"\s*'hydra/launcher/\w+' is validated against")


def main() -> None:
    """Run the command line."""
    prepare_process()
    run_arguments(sys.argv[1:])


def prepare_process() -> None:
    """Set what must be set before torch is imported, and let SIGTERM end the process as an error does."""
    # Before torch is imported: its threads (GNU OpenMP) sleep while they wait for each other. On busy cores a thread
    # that spins instead takes the core from the one it waits for.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    signal.signal(signal.SIGTERM, _terminate)


def run_arguments(arguments: Sequence[str]) -> None:
    """Run the task that these arguments of the command line name, or print their help."""
    sys.argv[1:] = with_options_of_swept_files(quote_paths(with_current_names(arguments)))
    # Otherwise Hydra prints its errors itself, over several lines.
    environment = {"HYDRA_FULL_ERROR": "1", TRACEBACK: str(int(_full_errors()))}
    with env_override(environment), one_line_errors():
        if {"-m", "--multirun"} & set(sys.argv[1:]) and "TORCHELASTIC_RUN_ID" in os.environ:
            raise UserError("-m: a sweep starts the processes of its jobs; run the same command without torchrun")
        if {"--help", "-h"} & set(sys.argv[1:]):
            print(help_text(sys.argv[1:]))
        else:
            run_job()


@hydra.main(version_base="1.3", config_path=config_dir(), config_name="config")
def run_job(cfg: DictConfig) -> list[float] | None:
    """Run one job: one task with one configuration. In a sweep, return what `run_sweep_job` returns."""
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        return run_sweep_job(cfg)
    with one_line_errors():
        cfg.run_dir = cfg.run_dir or new_folder()
        start(cfg)
    return None


def with_current_names(arguments: Sequence[str]) -> list[str]:
    """The arguments with present names of tasks and experiments, and with the encoding as the choice of a file."""
    return [present for each in arguments for present in _with_current_name(*each.partition("="))]


def _with_current_name(name: str, equals: str, value: str) -> list[str]:
    if name == "task" and value in FORMER_TASKS:
        return [f"task={FORMER_TASKS[value]}"]
    if name == "experiment" and value in FORMER_EXPERIMENTS:
        return FORMER_EXPERIMENTS[value]
    if name in ("model.encoding", "encoding@model.encoding") and re.fullmatch(r"[\w,]+", value):
        return [f"model/encoding={value}"]
    return [name + equals + value]


def with_options_of_swept_files(arguments: Sequence[str]) -> list[str]:
    """The arguments, where a sweep over models has options of those models (`-m model=nerv,hnerv model.strides=[4,2]`).

    Hydra would look for them in the default model. Added by force (`++`), they are checked in each job (check_options).
    """
    if not {"-m", "--multirun"} & set(arguments):
        return list(arguments)
    named = [each.partition("=") for each in arguments]
    swept = {name for name, _, value in named if "," in value and is_group(name)}
    return [f"++{each}" if "." in each and each.partition(".")[0] in swept else each for each in arguments]


def quote_paths(arguments: Sequence[str]) -> list[str]:
    """The arguments with paths quoted for Hydra's grammar; a list in a sweep is not quoted unless a file has its name.

    Without this, a name with a space, a comma, a bracket or a letter beyond ASCII is a syntax error.
    """
    sweep = any(each in ("-m", "--multirun") for each in arguments)
    return [_quoted(each, sweep) for each in arguments]


def _quoted(argument: str, sweep: bool) -> str:
    name, equals, value = argument.partition("=")
    plain = re.fullmatch(r"[\w./\\:+%@?-]*", value, re.ASCII)
    grammar = value.startswith(("'", '"', "${")) or (name == "runs" and value.startswith("["))
    if not equals or name not in PATH_OPTIONS or plain or grammar:
        return argument
    if sweep and "," in value and not os.path.exists(os.path.expanduser(value)):
        return argument
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", value)  # backslashes before a quote count double
    trailing = escaped[len(escaped.rstrip("\\")) :]
    return f"{name}='{escaped}{trailing}'"


def run_sweep_job(cfg: DictConfig) -> list[float] | None:
    """One job of a sweep, and its OBJECTIVES; None if its result has none.

    If it fails, its reason is written to its folder, and the sweep continues.
    """
    job = HydraConfig.get()
    root = cfg.run_dir or job.sweep.dir
    # One folder per setting, the same when the sweep is resumed; its name needs no quotes on a command line.
    settings = (job.job.override_dirname or str(job.job.num)).replace("++", "").replace("=", "-")
    name = re.sub(r"[^\w.+-]+", "_", settings)
    cfg.run_dir = os.path.join(root, name)
    if cfg.get("logger") is not None and "group" in cfg.logger and cfg.logger.group is None:
        cfg.logger.group, cfg.logger.name = os.path.basename(root), name
    if cfg.gpus > 1:  # before CUDA is initialised; a worker keeps its GPU for further jobs
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", str(job.job.num % cfg.gpus))
    print(f"job {job.job.num}: {name}", flush=True)
    failed = os.path.join(cfg.run_dir, FAILED)
    try:
        result = start(cfg)
    except Exception as error:
        if _is_being_requeued(error):
            time.sleep(KILL_WAIT)
        if _full_errors() or not _is_user_error(error):
            traceback.print_exc()
        print(f"error: {_line(error)}", file=sys.stderr)
        write_text(failed, _line(error) + "\n")
        return None
    if os.path.exists(failed):  # of an earlier attempt
        os.remove(failed)
    found = isinstance(result, dict) and all(name in result for name in OBJECTIVES)
    return [float(result[name]) for name in OBJECTIVES] if found else None


def _is_being_requeued(error: Exception) -> bool:
    """Whether SLURM has queued this job again at submitit's request, and is ending its processes.

    The first that it ends may be the command by which submitit asked, whose error then appears in the middle of a fit.
    """
    if not isinstance(error, subprocess.CalledProcessError) or error.returncode >= 0:
        return False
    return list(error.cmd[:2]) == ["scontrol", "requeue"]


def start(cfg: DictConfig) -> Any:
    """Run the task and return what it returns; it is imported here so that wrong options are errors before torch is."""
    check_options(cfg)
    task = importlib.import_module(f"lightning_inr.tasks.{cfg.task}")
    from lightning_inr.codec.limits import read_limits
    from lightning_inr.progress import use_progress

    with use_progress(cfg.progress), read_limits(cfg.limits):
        return task.run(cfg)


def new_folder() -> str:
    """The default run folder, used if `run_dir` is not given."""
    name = "{dataset}-{model}".format(**HydraConfig.get().runtime.choices)
    return os.path.join("runs", name, time.strftime("%Y-%m-%d_%H-%M-%S"))


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print errors of user input in one line, with exit code 1; HYDRA_FULL_ERROR=1 prints the traceback.

    SIGINT ends in one line and exit code 130, SIGTERM in one line and 143. If the reader of the output has left, as
    `head` does, nothing is printed and the exit code is 141.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        if not _reader_has_left():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more when it ends
        sys.exit(128 + signal.SIGPIPE)
    except (KeyboardInterrupt, Terminated) as stop:
        terminated = isinstance(stop, Terminated)
        how = str(stop) or "nothing is left half-written"
        print(f"error: {'terminated' if terminated else 'interrupted'}; {how}", file=sys.stderr)
        sys.exit(128 + (signal.SIGTERM if terminated else signal.SIGINT))
    except Exception as error:
        if _full_errors() or not _is_user_error(error):
            raise
        print(f"error: {_line(error)}", file=sys.stderr)
        sys.exit(1)


def _reader_has_left() -> bool:
    """Whether the pipe that takes the output is closed at its other end."""
    output = select.poll()
    output.register(sys.stdout.fileno(), select.POLLOUT)
    return any(event & select.POLLERR for _, event in output.poll(0))


def _terminate(*_: object) -> None:
    raise Terminated


def _full_errors() -> bool:
    """Whether the user has set HYDRA_FULL_ERROR=1."""
    return os.environ.get(TRACEBACK, os.environ.get("HYDRA_FULL_ERROR")) == "1"


def _is_user_error(error: BaseException) -> bool:
    """Whether the error is caused by user input or by the machine, not by the program."""
    if _launcher_error(error):
        return True
    if isinstance(error, InstantiationException):
        return isinstance(error.__cause__, ValueError | TypeError | OmegaConfBaseException)
    if isinstance(error, ModuleNotFoundError):
        return _package(error) in EXTRAS
    if isinstance(error, UserError | HydraException | OmegaConfBaseException):  # one of Hydra's is an OSError, too
        return True
    return isinstance(error, OSError) and error.errno in ENVIRONMENT_ERRORS


def _launcher_error(error: BaseException) -> str | None:
    """The line for an error of a launcher or sweeper: it is not installed, cannot start, or a job's process died."""
    text = str(error)
    if found := re.search(r"Unknown plugin class : 'hydra_plugins\.(\w+)|Could not find '(hydra/sweeper/optuna)", text):
        extra = EXTRAS.get(found[1], "cluster")
        return f"{found[1] or found[2]} is not installed; pip install 'lightning_inr[{extra}]'"
    if 'Could not detect "srun"' in text:  # submitit's
        return "hydra/launcher=submitit_slurm: this machine has no srun; run the command where jobs are submitted"
    if type(error).__module__.startswith(LAUNCHERS):
        first = next((line.strip() for line in text.splitlines() if line.strip()), repr(error))
        return f"a job of the sweep did not end ({first}); see its log, and run the same command again to go on"
    return None


def _package(error: ModuleNotFoundError) -> str:
    return (error.name or "").partition(".")[0]


def _line(error: BaseException) -> str:
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} has no value; add {error.full_key}=… to the command"
    if line := _launcher_error(error):
        return printable(line)
    if isinstance(error, ModuleNotFoundError):
        package = _package(error)
        return f"{package} is not installed; pip install 'lightning_inr[{EXTRAS.get(package, 'train')}]'"
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, OSError) and not isinstance(error, HydraException):
        return printable(f"{error.filename}: {error.strerror}; check the disk, and run the same command again")
    if isinstance(error, HydraException):
        error = explain(error, sys.argv[1:])
    if isinstance(error, OptionError):
        return printable(str(error), most=10 * LONGEST_LINE)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # Hydra's last line has the remedy; OmegaConf's lines after the second describe its own types.
    return printable("; ".join(lines if isinstance(error, HydraException) else lines[:2]))


if __name__ == "__main__":
    from lightning_inr import run  # by its name, under which the processes of a sweep import it too

    run.main()
