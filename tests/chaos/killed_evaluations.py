"""Evaluates a model again and again, killed at random items; prints what became of it.

Run it as `python tests/chaos/killed_evaluations.py MODEL FOLDER [KILLS]`. It imports torch once
and forks a process for each attempt, which kills itself with SIGKILL: before an item is computed,
after that, in the middle of writing it, or after it was written.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from glmctl.core.tasks import answer, journal
from glmctl.core.tasks.ask import Prediction
from glmctl.core.tasks.journal import Journal
from glmctl.stages import evaluate

NUM_ITEMS = 60  # of each task
SUITE = """
[[task]]
name = "words"
files = { val = "words.jsonl" }
patterns = ["{text} It was [MASK]."]
verbalizer = { 1 = "good", 0 = "bad" }
[[task]]
name = "texts"
kind = "text"
files = { val = "texts.jsonl" }
metrics = ["perplexity"]
"""
WORDS = "the bakery opens at six and grey cat sleeps beside oven".split()
PLACES = ("before", "computed", "torn", "after")


def write_data(folder: Path) -> None:
    draw = random.Random(5)
    (folder / "suite.toml").write_text(SUITE)
    for name in ("words", "texts"):
        rows = (
            {"text": " ".join(draw.choices(WORDS, k=draw.randint(2, 9))), "label": i % 2}
            for i in range(NUM_ITEMS)
        )
        lines = (json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text("".join(lines))


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def watch(log: Path, killed_at: int, place: str) -> None:
    """Write down each item that is computed, and die at one of them."""
    choose, add = answer.choose, Journal.add
    with log.open("ab") as stream:
        computed = stream.tell()

    def counted(model: Any, asker: Any, questions: Any, batch: Sequence[int]) -> Any:
        nonlocal computed
        if computed == killed_at and place == "before":
            die()
        found = choose(model, asker, questions, batch)
        with log.open("ab") as stream:
            stream.write(b"." * len(batch))
        computed += len(batch)
        if computed > killed_at and place == "computed":
            die()
        return found

    def fatal(self: Journal, predictions: Mapping[int, Prediction]) -> None:
        if computed > killed_at and place == "torn":
            (item,) = predictions.items()
            whole = journal.line(*item)
            with self.file.open("ab") as stream:
                stream.write(whole[: len(whole) // 2])
            die()
        add(self, predictions)
        if computed > killed_at:
            die()

    answer.choose, Journal.add = counted, fatal  # type: ignore[method-assign]


def in_a_process(work: Callable[[], None]) -> int:
    """Exit status of a forked process: 0, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run(model: str, folder: Path, out: Path) -> None:
    evaluate.run(
        str(folder / "suite.toml"),
        model=model,
        data=None,
        tasks=None,
        split=None,
        pattern=None,
        policy=None,
        limit=None,
        out=out,
        device="cpu",
        progress=lambda *_: nullcontext(lambda _: None),
        note=lambda _: None,
    )


def outcome(out: Path) -> dict[str, Any]:
    """All that must not depend on what happened on the way."""
    results = json.loads((out / "results.json").read_text())
    for task in results["tasks"].values():
        del task["seconds"]
    del results["out"], results["made_with"]["made_at"]
    predictions = {f.parent.name: f.read_text() for f in out.glob("*/predictions.jsonl")}
    return {"results": results, "predictions": predictions}


def main(model: str, folder: Path, num_kills: int) -> None:
    write_data(folder)
    draw = random.Random(7)
    items = sorted(draw.sample(range(2 * NUM_ITEMS), num_kills))
    log, out = folder / "computed", folder / "killed"
    ended, recomputed = [], [0]
    for item in items:
        place = draw.choice(PLACES)
        # What was computed twice moves the count on.
        target = item + sum(recomputed)

        def attempt(target: int = target, place: str = place) -> None:
            watch(log, target, place)
            run(model, folder, out)

        ended.append(in_a_process(attempt))
        recomputed.append(int(place in ("computed", "torn")))
    ended.append(in_a_process(lambda: (watch(log, 10**9, ""), run(model, folder, out))))  # type: ignore[arg-type, return-value]
    run(model, folder, folder / "unbroken")
    seen = {
        "killed": ended.count(-signal.SIGKILL),
        "ended": ended[-1],
        "num_items": 2 * NUM_ITEMS,
        "num_computed": log.stat().st_size,
        "num_lost": sum(recomputed),
        "is_equal": outcome(out) == outcome(folder / "unbroken"),
    }
    print(json.dumps(seen))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 50)
