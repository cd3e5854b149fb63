"""Memory of `glmctl corrupt` while a stream goes through it, and the bytes that it takes a second.

The memory at the start is the most that the command has held once the first megabyte is through;
the growth from there is what a longer stream costs. Exit code 1 when it is more than allowed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

MIB = 1 << 20
COMMAND = Path(sys.executable).with_name("glmctl")
ALLOWED_MIB = 50
SENTENCES = (
    "The market opens at seven, and the fishermen bring what the night has given them.",
    "\u9762\u5305\u5e97\u516d\u70b9\u5f00\u95e8\uff0c\u5b69\u5b50\u4eec\u5728\u95e8\u53e3\u7b49\u7740\u3002",
    "On the bridge somebody plays the flute; nobody knows who it is. \U0001f600",
    "If it rains until evening, the river takes the lower path again!",
)


def lines(size: int) -> bytes:
    """Lines of one to forty sentences, each with its number, of about this size together."""
    made, number = bytearray(), 0
    while len(made) < size:
        count = 1 + number * 7 % 40
        picked = [SENTENCES[(number + place) % len(SENTENCES)] for place in range(count)]
        made += f"{number} {' '.join(picked)}\n".encode()
        number += 1
    return bytes(made)


def most_memory(process: subprocess.Popen[bytes]) -> int:
    """The most memory that a process has held so far, in bytes."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(process.pid)


def measure(options: Sequence[str], size: int) -> float:
    """Send a stream through the command, print what it took, and give the growth in MiB."""
    block = lines(MIB)
    with subprocess.Popen(
        [COMMAND, "corrupt", *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        output = process.stdout
        read = [0]

        def drain() -> None:
            while part := output.read(MIB):
                read[0] += len(part)

        reader = threading.Thread(target=drain)
        reader.start()
        process.stdin.write(block)
        process.stdin.flush()
        first = most_memory_when_read(process, read, "--stats" in options)
        started_at, sent = time.monotonic(), 0
        while sent < size:
            process.stdin.write(block)
            sent += len(block)
        last = most_memory(process)
        process.stdin.close()
        reader.join()
        elapsed_seconds = time.monotonic() - started_at
        if process.wait():
            raise SystemExit(f"glmctl corrupt {' '.join(options)}: exit code {process.returncode}")
    growth = (last - first) / MIB
    print(
        f"corrupt {' '.join(options) or '(text)':<24} {sent / MIB:,.0f} MiB in, "
        f"{read[0] / MIB:,.0f} MiB out, {sent / MIB / elapsed_seconds:.2f} MiB/s, memory "
        f"{first / MIB:.0f} MiB at the start, {growth:+.1f} MiB"
    )
    return growth


def most_memory_when_read(
    process: subprocess.Popen[bytes], read: Sequence[int], is_silent: bool
) -> int:
    """The most memory held once the first megabyte has been worked on."""
    if is_silent:
        time.sleep(10)
    seen = -1
    while not is_silent and (read[0] == 0 or read[0] != seen):
        seen = read[0]
        time.sleep(2)
    return most_memory(process)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=8, help="length of the stream")
    parser.add_argument("--options", action="append", help="of glmctl corrupt, as '--json'")
    args = parser.parse_args()
    runs = args.options or ["", "--json", "--whole-words", "--stats"]
    growths = [measure(options.split(), args.mib * MIB) for options in runs]
    sys.exit(max(growths) > ALLOWED_MIB)


if __name__ == "__main__":
    main()
