"""Starts the replicas of one machine under torch's elastic agent, and listens to them.

Each replica has a pipe to the process that started it: what the first one says is passed on, and
an error of any of them arrives whole. What a replica prints goes to a file of its own, of which
the last lines are shown when it dies without a word.
"""

import logging
import os
import shutil
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from glmctl.errors import GlmctlError, MachineError

POLL_SECONDS = 0.1
TAIL_LINES = 12
BUG = GlmctlError.exit_code
Say = Callable[[object], None]


def run_replicas(
    work: Callable[..., None],
    arguments: Sequence[object],
    num_replicas: int,
    logs: Path,
    hear: Callable[[Any], None],
) -> None:
    """Run `work(*arguments, say)`, a function of a module, in so many processes of this machine.

    They have RANK, LOCAL_RANK and WORLD_SIZE. An error of one, or an interrupt, is raised here
    when all have ended. What they print goes to `logs`, which is removed when all went well.
    """
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=num_replicas,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id="glmctl",
        start_method="spawn",
        max_restarts=0,
        monitor_interval=POLL_SECONDS,
        logs_specs=DefaultLogsSpecs(str(logs), redirects=Std.ALL),
    )
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    pipes = [SpawnContext().Pipe(duplex=False) for _ in range(num_replicas)]
    died = stopped_by = None
    with own_signal_handlers(), listening(pipes, hear) as failures:
        try:
            elastic_launch(config, replica)(work, [speaker for _, speaker in pipes], arguments)
        except ChildFailedError as error:
            died = error.get_first_failure()[1]
        except SignalException as error:
            stopped_by = error.sigval
    if failures:
        raise failures[min(failures)]
    if stopped_by is not None:
        raise SystemExit(128 + stopped_by)
    if died is not None:
        raise describe_death(died, logs)
    shutil.rmtree(logs)


def replica(work: Callable[..., None], speakers: Sequence[Connection], arguments: Any) -> None:
    say = speakers[int(os.environ["LOCAL_RANK"])].send
    if "OMP_NUM_THREADS" not in os.environ:
        cores = len(os.sched_getaffinity(0))
        torch.set_num_threads(max(1, cores // int(os.environ["LOCAL_WORLD_SIZE"])))
    try:
        work(*arguments, say)
    except (GlmctlError, KeyboardInterrupt) as error:
        say(error)
        raise SystemExit(error.exit_code if isinstance(error, GlmctlError) else 130) from error
    except Exception as error:
        traceback.print_exc()
        raise SystemExit(BUG) from error
    dist.destroy_process_group()


@contextmanager
def listening(
    pipes: Sequence[tuple[Connection, Connection]], hear: Callable[[Any], None]
) -> Iterator[dict[int, BaseException]]:
    """Pass on what comes through the pipes, until the block ends and they are empty.

    Gives the errors that have come, by rank.
    """
    failures: dict[int, BaseException] = {}

    def listen(rank: int, ear: Connection) -> None:
        while True:
            try:
                message = ear.recv()
            except (EOFError, OSError):  # it has ended, perhaps while speaking
                return
            if isinstance(message, BaseException):
                failures[rank] = message
            else:
                hear(message)

    with ThreadPoolExecutor(len(pipes)) as pool:
        heard = pool.map(listen, range(len(pipes)), [ear for ear, _ in pipes])
        try:
            yield failures
        finally:
            for _, speaker in pipes:
                speaker.close()
            list(heard)  # waits, and raises what `hear` raised


@contextmanager
def own_signal_handlers() -> Iterator[None]:
    """Bring back the handlers that the agent replaces."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    handlers = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def describe_death(failure: ProcessFailure, logs: Path) -> GlmctlError:
    """Which replica died, how, and its last lines."""
    rank = failure.local_rank
    how = f"exit code {failure.exitcode}"
    if failure.exitcode < 0:
        how = f"killed by {signal.Signals(-failure.exitcode).name}"
    (log,) = logs.glob(f"*/attempt_0/{rank}/stderr.log")
    # A traceback of ours is no fault of the machine.
    kind = GlmctlError if failure.exitcode == BUG else MachineError
    return kind(
        f"rank {rank}",
        f"{how}; the last checkpoint is intact and the same command continues from it; "
        f"its output is in {logs}",
        *log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:],
    )
