"""The processes of one fit on several devices, one for each (a rank): their number, their start and their end.

Lightning's DDP joins the processes. torchrun and SLURM start them; otherwise `run_ranks` starts them on this machine,
and this process only waits for them. So it can end all of them, whichever fails: a rank that waits for a lost one
inside a collective operation may notice nothing for minutes.
"""

import io
import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple, TypeVar

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment, find_free_network_port
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from lightning_inr.codec import current_limits, use_limits
from lightning_inr.errors import UserError
from lightning_inr.processes import end_with_parent, starting_processes
from lightning_inr.progress import ProgressBar, current_progress, use_progress

STRATEGIES = ("auto", "ddp")
START_METHOD = "spawn"  # CUDA does not survive a fork
SECONDS_OF_CONSEQUENCES = 3.0  # a lost rank makes the others fail: their errors may arrive before the loss is noticed
SECONDS_TO_END = 30.0  # after the result, for what a process does at its exit
T = TypeVar("T")


class RankLostError(UserError):
    """A process of a fit ended without a result."""


class Ranks(NamedTuple):
    """The processes of a fit."""

    devices: int = 1  # processes on each machine
    nodes: int = 1  # machines
    environment: ClusterEnvironment | None = None  # of running processes; None: not started, or one process only

    @property
    def total(self) -> int:
        """The number of processes."""
        return self.devices * self.nodes

    @property
    def to_start(self) -> bool:
        """Whether the processes are still to be started."""
        return self.total > 1 and self.environment is None

    @property
    def own(self) -> int:
        """The rank of this process, from 0."""
        if self.environment is None:
            return 0
        return self.environment.node_rank() * self.devices + self.environment.local_rank()


def ranks_of(trainer: Mapping[str, Any], device: torch.device) -> Ranks:
    """The processes that these arguments of Lightning's Trainer ask for; UserError if they cannot be had here."""
    devices, nodes = _count_devices(trainer.get("devices", 1), device), trainer.get("num_nodes", 1)
    if not isinstance(nodes, int) or nodes < 1:
        raise UserError(f"trainer.num_nodes={nodes}: choose a whole number from 1")
    if devices * nodes == 1:
        return Ranks()
    strategy = trainer.get("strategy", "auto")
    if strategy not in STRATEGIES:
        raise UserError(f"trainer.strategy={strategy}: choose one of {', '.join(STRATEGIES)}")
    environment = _environment()
    ranks = Ranks(devices, nodes, environment)
    if environment is None and nodes > 1:
        raise UserError(f"trainer.num_nodes={nodes}: this process is alone; start the command with srun or torchrun")
    if environment is not None and not isinstance(environment, LightningEnvironment):
        started = environment.world_size()
        if started != ranks.total:
            raise UserError(
                f"trainer.devices={devices} trainer.num_nodes={nodes}: {started} processes were started; "
                f"make the product {started}"
            )
    return ranks


def _count_devices(chosen: Any, device: torch.device) -> int:
    """The number of devices on each machine."""
    kind, available = ("GPU", torch.cuda.device_count()) if device.type == "cuda" else ("CPU core", os.cpu_count() or 1)
    if chosen in ("auto", -1, "-1"):
        return available if device.type == "cuda" else 1
    if isinstance(chosen, list) and device.type == "cuda":
        if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(range(available)):
            raise UserError(f"trainer.devices={chosen}: choose different numbers from 0 to {available - 1}")
        return len(chosen)
    if type(chosen) is not int or chosen < 1:
        raise UserError(f"trainer.devices={chosen}: choose a whole number from 1")
    if chosen > available:
        raise UserError(f"trainer.devices={chosen}: {kind}s here: {available}; choose at most {available}")
    return chosen


def _environment() -> ClusterEnvironment | None:
    """The environment in which this process was started as one of several; None if it was started alone."""
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    if "LOCAL_RANK" in os.environ:  # by `run_ranks`, or by the user
        return LightningEnvironment()
    if int(os.environ.get("SLURM_NTASKS", "1")) > 1 and SLURMEnvironment.detect():
        try:
            return SLURMEnvironment()
        except RuntimeError as error:
            raise UserError(str(error)) from error
    return None


class _Outcome(NamedTuple):
    """How the function ended in one process."""

    value: Any = None
    said: str = ""  # on stdout
    error: Exception | None = None
    cause: BaseException | None = None  # of the error; pickle drops it


class _Running(NamedTuple):
    """A process that was started, and the connection on which its outcome arrives."""

    process: BaseProcess
    outcome: Connection


def run_ranks(devices: int, function: Callable[..., T], *arguments: Any) -> T:
    """Call `function` in `devices` new processes at once, and return the result of rank 0.

    What rank 0 prints is printed here at the end. An error of a rank is raised here, RankLostError if a process is
    killed; the other processes are then ended at once, and also when this process is interrupted or killed.
    """
    context = multiprocessing.get_context(START_METHOD)
    port, progress, limits = find_free_network_port(), current_progress(), current_limits()
    running: list[_Running] = []
    try:
        with starting_processes():
            for rank in range(devices):
                receiver, sender = context.Pipe(duplex=False)
                call = (rank, devices, port, progress if rank == 0 else "none", limits, function, arguments)
                process = context.Process(target=_run_rank, args=(sender, *call))  # type: ignore[attr-defined]
                process.start()
                sender.close()  # the process has its own: if it dies, the connection ends
                running.append(_Running(process, receiver))
        first = _outcome_of_rank_zero(running)
        for each in running:
            each.process.join(SECONDS_TO_END)
    finally:
        for each in running:
            each.process.kill()
            each.process.join()
    print(first.said, end="")
    value: T = first.value
    return value


def _outcome_of_rank_zero(running: list[_Running]) -> _Outcome:
    """Wait for all processes; raise the error that came first, but rather one that is the cause than a consequence."""
    outcomes: dict[int, _Outcome] = {}
    failed: list[_Outcome] = []
    deadline: float | None = None
    while len(outcomes) < len(running) and not any(isinstance(each.error, UserError) for each in failed):
        waiting = {each.outcome: rank for rank, each in enumerate(running) if rank not in outcomes}
        ready = wait(list(waiting), None if deadline is None else deadline - time.monotonic())
        if not ready:
            break
        for connection in ready:
            assert isinstance(connection, Connection)
            rank = waiting[connection]
            outcomes[rank] = _receive(connection, rank, running)
            if outcomes[rank].error is not None:
                failed.append(outcomes[rank])
                deadline = deadline or time.monotonic() + SECONDS_OF_CONSEQUENCES
    if failed:
        chosen = min(failed, key=lambda each: not isinstance(each.error, UserError))
        assert chosen.error is not None
        raise chosen.error from chosen.cause
    return outcomes[0]


def _receive(connection: Connection, rank: int, running: list[_Running]) -> _Outcome:
    try:
        data = connection.recv_bytes()
    except EOFError:
        process = running[rank].process
        process.join()
        code = process.exitcode or 0
        how = f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended with exit code {code}"
        return _Outcome(error=RankLostError(f"process {rank} of trainer.devices={len(running)} {how}"))
    outcome: _Outcome = pickle.loads(data)
    return outcome


def _run_rank(
    sender: Connection, rank: int, devices: int, port: int, progress: str, limits: Any,
    function: Callable[..., Any], arguments: tuple[Any, ...],
) -> None:  # fmt: skip
    """Call `function` as one of the ranks, in a process of its own, and send the outcome."""
    end_with_parent()
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0", "LOCAL_RANK": str(rank)}
    os.environ.update(address)  # where Lightning's environment reads it
    ProgressBar.set_lock(threading.RLock())  # tqdm's own is a semaphore, which a killed process leaves to be warned of
    torch.set_num_threads(max(1, torch.get_num_threads() // devices))
    said = io.StringIO()
    try:
        with redirect_stdout(said), use_progress(progress), use_limits(limits):
            value = function(*arguments)
        outcome = _Outcome(value, said.getvalue())
    except Exception as error:
        error.add_note(f"in rank {rank}:\n{traceback.format_exc()}")
        outcome = _Outcome(error=error, cause=error.__cause__)
    sender.send_bytes(pickle.dumps(outcome))  # not `send`, after which tensors need this process alive
