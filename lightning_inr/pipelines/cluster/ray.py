"""Units of work on a Ray cluster: one of this machine, which ends with this process, or an existing one.

Ray places the tasks, and runs those of dead workers again. Workers write the files; results are the records alone.
"""

import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import torch

from lightning_inr import __version__
from lightning_inr.codec.limits import Limits, current_limits, use_limits
from lightning_inr.data.captioned.split import CaptionedVideo
from lightning_inr.errors import Terminated, UserError, printable
from lightning_inr.paths import HOST
from lightning_inr.pipelines.cluster.schedule import Failure
from lightning_inr.pipelines.cluster.shards import Unit
from lightning_inr.pipelines.collection_worker import CollectionOptions, CollectionWorker
from lightning_inr.pipelines.evaluation import measuring_process
from lightning_inr.pipelines.fitting import FitOptions, Teachers
from lightning_inr.ranges import SILENCE
from lightning_inr.retrieval.collection import Record
from lightning_inr.storage import Folder, LocalFolder, open_folder

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}  # no request, and no warning
OBJECT_STORE = 2**27  # bytes; records are small, and Ray would take a third of the memory
_OPENED = ExitStack()  # in a worker: its measuring process, until the worker ends
RESOURCES_AGE = 10.0  # seconds for which the size of the cluster counts as known


class _Setup(NamedTuple):
    """What each worker is built from, pickled once."""

    fit: FitOptions
    clip_options: dict[str, Any]
    load_teachers: Callable[[], Teachers]
    address: str  # of the collection
    limits: Limits  # of a command do not apply in another process


def _check_reachable(address: str) -> None:
    """UserError if nothing answers at HOST:PORT: Ray itself would try for minutes, and print lines of its own."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():  # such as auto
        return
    try:
        socket.create_connection((host, int(port)), SILENCE).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"cluster.address={address}: {reason}; start Ray there, or leave it out") from error


class RayExecutor:
    """Runs units as Ray's tasks; see `Executor`. UserError if the cluster cannot be reached, or ends."""

    def __init__(self, options: CollectionOptions, folder: Folder, videos: Sequence[CaptionedVideo]) -> None:
        assert options.cluster is not None
        self.options, self.cluster, self.videos = options, options.cluster, videos
        address = str(folder.path.absolute()) if isinstance(folder, LocalFolder) else folder.address
        fit = replace(options.fit, threads=options.fit.threads or self.cluster.cpus)
        load_teachers = options.load_teachers
        self.setup = _Setup(fit, dict(options.clip_options), load_teachers, address, current_limits())
        self.running: dict[Any, Unit] = {}  # Ray's reference to a result -> unit
        self.slots, self.asked = 1, -RESOURCES_AGE

    def __enter__(self) -> "RayExecutor":
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        import ray

        self.ray = ray
        on_terminate, where = signal.getsignal(signal.SIGTERM), self._where()
        try:
            context = ray.init(log_to_driver=False, logging_level=logging.ERROR, **where)
        except Exception as error:  # Ray's errors here are of many types
            remedies = {None: "free memory and disk for it", "auto": "start Ray here, or leave it out"}
            remedy = remedies.get(self.cluster.address, "start Ray there, or set RAY_AUTH_MODE=token if it has a token")
            raise UserError(f"cluster.address={self.cluster.address}: {_first_line(error)}; {remedy}") from error
        signal.signal(signal.SIGTERM, on_terminate)  # Ray's own would end this process without a word
        if self.cluster.address is None and self._room() < 1:
            self._end()
            raise UserError(
                f"cluster.cpus={self.cluster.cpus} cluster.gpus={self.cluster.gpus}: this machine has "
                f"{os.cpu_count()} CPUs and {torch.cuda.device_count()} GPUs; choose fewer"
            )
        self.payload = ray.put(ray.cloudpickle.dumps(self.setup))
        # Without max_calls=0, a worker with a GPU would end after each task, and load its teachers anew.
        self.task = ray.remote(
            num_cpus=self.cluster.cpus, num_gpus=self.cluster.gpus, max_retries=self.options.attempts, max_calls=0
        )(_fit_unit)
        if self.cluster.dashboard:
            print(f"Ray's page: http://{context.dashboard_url}", flush=True)
        return self

    def _where(self) -> dict[str, Any]:
        """Ray's options for the cluster: an existing one, or one of this machine."""
        if self.cluster.address is not None:
            _check_reachable(self.cluster.address)
            return {"address": self.cluster.address}
        workers = self.cluster.workers
        sizes = {} if workers is None else {"num_cpus": workers * self.cluster.cpus}
        local = {"address": "local", "include_dashboard": self.cluster.dashboard}
        return {**local, "object_store_memory": OBJECT_STORE, **sizes}

    def __exit__(self, kind: object, error: BaseException | None, *_: object) -> None:
        self._end()
        if isinstance(error, KeyboardInterrupt | Terminated):
            raise type(error)("the same command resumes with the videos in work") from error

    def _end(self) -> None:
        for reference in self.running:
            self.ray.cancel(reference, force=True)
        self.ray.shutdown()

    def capacity(self) -> int:
        """Some more than the cluster runs at once, so that no worker waits for the next unit."""
        if time.monotonic() - self.asked >= RESOURCES_AGE:
            self.slots, self.asked = max(1, self._room()), time.monotonic()
        if self.cluster.address is not None and self.cluster.workers is not None:
            return self.slots  # such a cluster has room for more, which are not to run at once
        return self.slots + self.slots // 2 + 1

    def _room(self) -> int:
        """The number of videos that the cluster fits at once."""
        has = self.ray.cluster_resources()
        rooms = [self.cluster.workers] if self.cluster.workers is not None else []
        rooms += [int(has.get("GPU", 0) / self.cluster.gpus)] if self.cluster.gpus else []
        return min([int(has.get("CPU", 0) / self.cluster.cpus), *rooms])

    def start(self, unit: Unit) -> None:
        """See `Executor`."""
        copy = sum(each == unit for each in self.running.values())
        videos = self.ray.cloudpickle.dumps([self.videos[index] for index in unit])
        self.running[self.task.remote(__version__, self.payload, videos, copy)] = unit

    def wait(self, seconds: float) -> list[tuple[Unit, Sequence[Record | Failure]]]:
        """See `Executor`; UserError for what concerns all videos, as a version that differs."""
        first, _ = self.ray.wait(list(self.running), num_returns=1, timeout=seconds)
        if not first:
            return []
        ready, _ = self.ray.wait(list(self.running), num_returns=len(self.running), timeout=0)
        return [(unit, self._outcomes(each, unit)) for each in ready if (unit := self.running.pop(each))]

    def _outcomes(self, reference: Any, unit: Unit) -> Sequence[Record | Failure]:
        errors = self.ray.exceptions
        try:
            outcomes: Sequence[Record | Failure] = self.ray.get(reference)
        except errors.RayTaskError as error:
            raise _line_of(error.cause) from error
        except (errors.LocalRayletDiedError, errors.RaySystemError, errors.RuntimeEnvSetupError) as error:
            raise UserError(f"cluster: {_first_line(error)}; the same command resumes with these videos") from error
        except errors.RayError as error:  # a worker that died, at each of Ray's attempts, or a machine
            return [Failure(f"its worker ended early: {_first_line(error)}")] * len(unit)
        return outcomes

    def cancel(self, unit: Unit) -> None:
        """See `Executor`."""
        for reference in [each for each, other in self.running.items() if other == unit]:
            self.ray.cancel(reference, force=True)
            del self.running[reference]


def _line_of(cause: BaseException) -> UserError:
    """What a task raised, as an error of this process."""
    if isinstance(cause, UserError):
        return cause
    if isinstance(cause, ImportError | AttributeError):  # raised where our code is loaded
        return UserError(f"cluster: a worker cannot load lightning_inr {__version__} ({cause}); install it there")
    return UserError(f"cluster: a worker failed ({printable(repr(cause))}); correct it, and run the same command")


def _first_line(error: BaseException) -> str:
    return printable(next((line.strip() for line in str(error).splitlines() if line.strip()), repr(error)))


def _fit_unit(version: str, payload: bytes, videos: bytes, copy: int) -> list[Record | Failure]:
    """Fit a unit in a worker of the cluster. Inputs are pickles that are read only after the version is checked."""
    if version != __version__:
        raise UserError(
            f"cluster: {HOST} has lightning_inr {__version__}, and this driver {version}; "
            "install the same version on all machines"
        )
    from ray import cloudpickle

    worker, limits = _worker(payload)
    with use_limits(limits):
        return worker.fit_unit(cloudpickle.loads(videos), copy)


@lru_cache(maxsize=1)
def _worker(payload: bytes) -> tuple[CollectionWorker, Limits]:
    """The worker of this process; its measuring process ends with it."""
    from ray import cloudpickle

    setup: _Setup = cloudpickle.loads(payload)
    folder = open_folder(setup.address, "collection")
    if folder.stamp("config.yaml") is None:
        raise UserError(
            f"collection={setup.address}: {HOST} does not see it; name a folder that all machines share, or a bucket"
        )
    torch.set_num_threads(setup.fit.threads or 1)
    measure = _OPENED.enter_context(measuring_process())
    return CollectionWorker(setup.fit, setup.clip_options, folder, setup.load_teachers(), measure), setup.limits
