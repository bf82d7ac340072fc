"""Units of work on a Ray cluster: one of this machine, which ends with this process, or an existing one.

Ray places the tasks, and runs those of dead workers again. Workers write the files; results are the records alone.
"""

import logging
import os
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import torch

from lightning_inr import __version__
from lightning_inr.codec.limits import current_limits, use_limits
from lightning_inr.errors import Terminated, UserError, printable
from lightning_inr.paths import HOST
from lightning_inr.pipelines.cluster.schedule import Failure
from lightning_inr.pipelines.cluster.shards import Unit
from lightning_inr.ranges import SILENCE

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}  # no request, and no warning
OBJECT_STORE = 2**27  # bytes; records are small, and Ray would take a third of the memory
RESOURCES_AGE = 10.0  # seconds for which the size of the cluster counts as known


@dataclass(frozen=True)
class RayOptions:
    """A Ray cluster, and what each unit of work takes of it."""

    address: str | None  # of an existing cluster; None: one of this machine, which ends with this process
    workers: int | None  # units at once; None: as many as the cluster has CPUs, or GPUs, for
    cpus: int  # CPUs, and threads, for each
    gpus: float  # GPUs for each
    dashboard: bool  # whether the cluster of this machine serves Ray's page

    def __post_init__(self) -> None:
        if self.cpus < 1 or (self.workers is not None and self.workers < 1) or self.gpus < 0:
            shown = f"cluster.workers={self.workers} cluster.cpus={self.cpus} cluster.gpus={self.gpus}"
            raise UserError(f"{shown}: choose at least one worker (or null), one CPU, and no less than 0 GPUs")


class Worker(Protocol):
    """Does units of work in a process of the cluster."""

    def fit_unit(self, items: Sequence[Any], copy: int = 0) -> list[Any]:
        """The outcome of each item, or a Failure; `copy` differs between processes that do one unit at once."""
        ...


class WorkerSetup(Protocol):
    """What each worker is made from, pickled once."""

    def open(self) -> Worker:
        """The worker of this process, until the process ends; UserError if it cannot work here."""
        ...


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

    def __init__(self, cluster: RayOptions, setup: WorkerSetup, items: Sequence[Any], attempts: int) -> None:
        self.cluster, self.items, self.attempts = cluster, items, attempts
        self.setup = setup, current_limits()  # limits of a command do not apply in another process
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
            num_cpus=self.cluster.cpus, num_gpus=self.cluster.gpus, max_retries=self.attempts, max_calls=0
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
            raise type(error)("the same command resumes with what was in work") from error

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
        items = self.ray.cloudpickle.dumps([self.items[index] for index in unit])
        self.running[self.task.remote(__version__, self.payload, items, copy)] = unit

    def wait(self, seconds: float) -> list[tuple[Unit, Sequence[Any]]]:
        """See `Executor`; UserError for what concerns all units, as a version that differs."""
        first, _ = self.ray.wait(list(self.running), num_returns=1, timeout=seconds)
        if not first:
            return []
        ready, _ = self.ray.wait(list(self.running), num_returns=len(self.running), timeout=0)
        return [(unit, self._outcomes(each, unit)) for each in ready if (unit := self.running.pop(each))]

    def _outcomes(self, reference: Any, unit: Unit) -> Sequence[Any]:
        errors = self.ray.exceptions
        try:
            outcomes: Sequence[Any] = self.ray.get(reference)
        except errors.RayTaskError as error:
            raise _line_of(error.cause) from error
        except (errors.LocalRayletDiedError, errors.RaySystemError, errors.RuntimeEnvSetupError) as error:
            raise UserError(f"cluster: {_first_line(error)}; the same command goes on from there") from error
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


def _fit_unit(version: str, payload: bytes, items: bytes, copy: int) -> list[Any]:
    """Do a unit in a worker of the cluster. Inputs are pickles that are read only after the version is checked."""
    if version != __version__:
        raise UserError(
            f"cluster: {HOST} has lightning_inr {__version__}, and this driver {version}; "
            "install the same version on all machines"
        )
    from ray import cloudpickle

    worker, limits = _worker(payload)
    with use_limits(limits):
        return worker.fit_unit(cloudpickle.loads(items), copy)


@lru_cache(maxsize=1)
def _worker(payload: bytes) -> tuple[Worker, Any]:
    """The worker of this process, and its limits."""
    from ray import cloudpickle

    setup, limits = cloudpickle.loads(payload)
    return setup.open(), limits
