"""Trains one recipe again and again, each time killed at another moment; prints what it saw.

Run as a script by test_resume.py: it imports torch once, computes nothing, and forks a process
for each attempt, which may then be killed with SIGKILL without a trace in the others.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from glmctl.core.checkpoint import durable
from glmctl.core.checkpoint.store import CheckpointStore
from glmctl.core.model.glm import GLM
from glmctl.core.train.metrics import MetricsLog
from glmctl.recipe.load import load_recipe
from glmctl.stages import pretrain


def silent(*_: object) -> None:
    pass


def train(recipe_path: str, run_dir: Path) -> None:
    recipe = load_recipe(recipe_path)
    pretrain.run(recipe, run_dir=run_dir, device="cpu", progress=silent, note=silent)


def in_a_process(work: Callable[[], None], kill_after: float | None = None) -> int:
    """Exit status of a forked process: 0, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_at_call(owner: Any, name: str, number: int, after: bool) -> None:
    """Let the process kill itself before or after the given call of a function."""
    original, calls = getattr(owner, name), [0]

    def fatal(*args: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == number and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **named)
        if calls[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, fatal)


PLACES: dict[str, tuple[Any, str, int, bool]] = {
    "inside an accumulation": (GLM, "forward", 8, False),
    "before a record": (MetricsLog, "append", 2, False),
    "after a record": (MetricsLog, "append", 2, True),
    "while tensors are written": (durable, "write_tensors", 1, True),
    "before the manifest of a checkpoint": (durable, "write_json", 1, False),
    "while a checkpoint is made durable": (durable, "sync", 3, False),
    "before a checkpoint takes its place": (durable, "set_aside", 1, False),
    "after a checkpoint": (CheckpointStore, "save", 2, True),
    "while an old checkpoint goes": (durable, "retire", 1, False),
    "before the model folder": (pretrain, "write_model_folder", 1, False),
    "after the model folder": (pretrain, "write_model_folder", 1, True),
}


def observe(run_dir: Path) -> dict[str, Any]:
    records = [json.loads(line) for line in (run_dir / "metrics.jsonl").open()]
    finished = json.loads((run_dir / "manifest.json").read_text())["finished"]
    return {
        "digest": finished["parameter_digest"],
        "losses": [(record["step"], record["loss"], record["num_targets"]) for record in records],
        "model": durable.xxhash.xxh3_128_hexdigest(
            (run_dir / "model" / "model.safetensors").read_bytes()
        ),
    }


def main(recipe_path: str, folder: Path) -> None:
    importlib.import_module("torch._dynamo")  # else the first update imports it, in every process
    started_at = time.monotonic()
    assert in_a_process(lambda: train(recipe_path, folder / "unbroken")) == 0
    seconds = time.monotonic() - started_at

    killed: dict[str, int] = {}
    chaos = folder / "killed"
    for name, place in PLACES.items():

        def work(place: tuple[Any, str, int, bool] = place) -> None:
            killed_at_call(*place)
            train(recipe_path, chaos)

        killed[name] = in_a_process(work)
    final = in_a_process(lambda: train(recipe_path, chaos))

    timed = folder / "timed"
    draw = random.Random(5)
    for _ in range(5):
        in_a_process(lambda: train(recipe_path, timed), kill_after=draw.uniform(0, seconds))
    final_timed = in_a_process(lambda: train(recipe_path, timed))
    leftovers = [str(path) for path in folder.rglob("*.partial")]
    print(
        json.dumps(
            {
                "killed": killed,
                "ended": [final, final_timed],
                "leftovers": leftovers,
                "unbroken": observe(folder / "unbroken"),
                "after kills": observe(chaos),
                "after timed kills": observe(timed),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
