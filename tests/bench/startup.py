"""Time of `--help`, for the command and each verb, against a bare `import typer, rich`.

The rounds are interleaved, so that a busy moment hits all of them alike.
"""

import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

ROUNDS = 10
VERBS = ("", "tokenize", "corrupt", "pretrain", "infill", "recipe")
BARE = "import typer, rich"


def main() -> None:
    script = str(Path(sys.executable).with_name("glmctl"))
    commands = {BARE: [sys.executable, "-c", BARE]}
    for verb in VERBS:
        commands[f"glmctl {verb} --help"] = [script, *verb.split(), "--help"]
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS + 1):
        for name, command in commands.items():
            started_at = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            times[name].append(time.perf_counter() - started_at)
    bare = median(times[BARE][1:])  # the first round fills the file cache
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    for name, seconds in times.items():
        middle = median(seconds[1:])
        print(f"{middle:7.3f} s  {middle / bare:5.2f} x  {' '.join(name.split())}")


if __name__ == "__main__":
    main()
