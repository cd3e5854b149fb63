"""The share of a training step on a CPU that waits for its data, as the metrics of a run tell it.

One thread, a hundred steps after the first, which opens files; the bar is 3 %.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

RECIPES: dict[str, tuple[str, ...]] = {
    "smoke/tiny": (),
    "mini/glmctl-default": ('data.corpus=[{name="demo", path="glmctl-demo"}]',),
}
"""With what is set besides: texts that every machine has."""
NUM_STEPS = 100
BAR = 0.03


def data_share(recipe: str, settings: Sequence[str]) -> float:
    """Seconds of waiting in a second of stepping."""
    with tempfile.TemporaryDirectory() as folder:
        command = [Path(sys.executable).with_name("glmctl"), "pretrain", recipe, "--device", "cpu"]
        command += ["--set", f"train.steps={NUM_STEPS + 1}", "--set", "schedule.warmup_steps=10"]
        command += [part for setting in settings for part in ("--set", setting)]
        command += ["--run-dir", f"{folder}/run", "--quiet"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
        lines = Path(folder, "run", "metrics.jsonl").read_text().splitlines()[1:]
    records = [json.loads(line) for line in lines]
    assert len(records) == NUM_STEPS
    return sum(r["data_seconds"] for r in records) / sum(r["seconds"] for r in records)


def main() -> int:
    shares = {recipe: data_share(recipe, settings) for recipe, settings in RECIPES.items()}
    for recipe, share in shares.items():
        print(f"{recipe}: {share:.1%} of {NUM_STEPS} steps waits for data (bar {BAR:.0%})")
    return int(max(shares.values()) > BAR)


if __name__ == "__main__":
    sys.exit(main())
