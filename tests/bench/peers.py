"""What the benchmarks share: the released code behind a path, and rounds that are interleaved.

The released code is a checkout of THUDM/GLM, given by its path. Nothing of it is copied; packages
that it imports and does not need on a CPU are replaced by empty stand-ins.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import multiprocessing
import os
import platform
import statistics
import sys
import time
import types
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection

import numpy as np
import torch
from torch import nn

from glmctl.recipe.model import ModelConfig

CONTEXT_SHARE = 0.85  # of a row is Part A
FIRST_WORD = 10  # ids below are those of special tokens
Work = Callable[[], float]  # CPU seconds a token


def arguments(description: str | None, rounds: int) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--original", metavar="DIR", help="a checkout of THUDM/GLM")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--threads", type=int, default=1)
    return parser


def timed(act: Callable[[], object], num_tokens: int) -> Work:
    """The CPU seconds a token that the act takes, which others on the machine disturb least."""

    def work() -> float:
        started_at = time.process_time()
        act()
        return (time.process_time() - started_at) / num_tokens

    return work


def serve(pipe: Connection, threads: int, make: Callable[..., Work], *args: object) -> None:
    """Make the work and do it whenever asked, until the pipe is closed."""
    torch.set_num_threads(threads)
    work = make(*args)
    with contextlib.suppress(EOFError, BrokenPipeError):
        while pipe.recv():
            pipe.send(work())


@contextlib.contextmanager
def apart(threads: int, make: Callable[..., Work], *args: object) -> Iterator[Work]:
    """Work in a process of its own, so that no system lives with the memory that others left."""
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, threads, make, *args), daemon=True)
    process.start()

    def work() -> float:
        pipe.send(True)
        seconds: float = pipe.recv()
        return seconds

    yield work
    pipe.close()
    theirs.close()
    process.join()


def compare(systems: Mapping[str, Work], rounds: int) -> None:
    """Let the systems take turns; print the median speed of each, and its ratio to the first.

    Args:
        systems: work by name, ours first.
        rounds: counted ones, after one that is not.
    """
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(rounds + 1):
        for name, work in systems.items():
            seconds[name].append(work())
    counted = {name: times[1:] for name, times in seconds.items()}
    base = next(iter(counted.values()))
    for name, times in counted.items():
        ratio = statistics.median(b / a for a, b in zip(base, times, strict=True))
        speed = 1 / statistics.median(times)
        print(f"  {name:20s} {speed:14,.1f} tokens/s   glmctl: {ratio:5.2f} x", flush=True)


def say_machine() -> None:
    print(
        f"{platform.processor() or platform.machine()} {torch.backends.cpu.get_cpu_capability()}, "
        f"{os.cpu_count()} cores, {torch.get_num_threads()} thread, torch {torch.__version__}"
    )


def import_original(checkout: str, module: str) -> types.ModuleType:
    """A module of the released code, ready for one process on a CPU."""
    if checkout not in sys.path:
        sys.path.insert(0, checkout)
        for name, content in stand_ins().items():
            sys.modules[name] = types.ModuleType(name)
            sys.modules[name].__dict__.update(content, __path__=[])
        np.__dict__.setdefault("long", np.int64)  # a name that numpy dropped
        store = torch.distributed.HashStore()
        torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
        with contextlib.redirect_stdout(io.StringIO()):
            importlib.import_module("mpu").initialize_model_parallel(1)
        # It switches CUDA's random state around dropout.
        tracker = importlib.import_module("mpu.random").CudaRNGStatesTracker
        tracker.fork = lambda *_: contextlib.nullcontext()
    return importlib.import_module(module)


def stand_ins() -> dict[str, dict[str, object]]:
    not_configured = types.SimpleNamespace(is_configured=lambda: False)
    return {
        "apex": {},
        "apex.normalization": {},
        "apex.normalization.fused_layer_norm": {"FusedLayerNorm": nn.LayerNorm},
        "apex.optimizers": {"FusedAdam": torch.optim.AdamW},
        "deepspeed": {"checkpointing": not_configured},
        "tensorboardX": {"SummaryWriter": object},
        "torch._six": {"inf": float("inf")},
    }


def original_model(checkout: str, config: ModelConfig, memory: int = 0) -> nn.Module:
    """Their model of our size; `memory` is how many past places it keeps while decoding."""
    model: nn.Module = import_original(checkout, "model").GLMModel(
        num_layers=config.num_layers,
        vocab_size=config.vocab_rows,
        hidden_size=config.hidden_size,
        num_attention_heads=config.num_attention_heads,
        embedding_dropout_prob=config.dropout,
        attention_dropout_prob=config.attention_dropout,
        output_dropout_prob=config.dropout,
        max_sequence_length=config.max_positions,
        max_memory_length=memory,
        checkpoint_activations=False,
        parallel_output=True,
        block_position_encoding=True,
    )
    return model
