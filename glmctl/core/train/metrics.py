"""`metrics.jsonl`: one object a step, no step missing or twice."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from glmctl.errors import InputError, MachineError


class MetricsLog:
    """The records of a run, in the order of the steps."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one line, in one write, so that a kill leaves at most a part of the last one."""
        try:
            with self.path.open("ab", buffering=0) as file:
                file.write(json.dumps(record).encode() + b"\n")
        except OSError as error:
            raise MachineError(
                str(self.path),
                f"could not be written: {error}; the last checkpoint is intact; free space, or "
                "make the folder writable, and run the same command again",
            ) from error

    def sync(self) -> None:
        """Make the records durable: a checkpoint must not know more steps than the log."""
        with self.path.open("ab") as file:
            os.fsync(file.fileno())

    def truncate(self, step: int) -> None:
        """Drop what was logged after `step`, and a last line that is not whole."""
        if not self.path.exists():
            return
        size = 0
        with self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n") or self._parse(line)["step"] > step:
                    break
                size += len(line)
        os.truncate(self.path, size)

    def records(self) -> Iterator[dict[str, Any]]:
        """Every whole line; a run that goes on may be writing the last one."""
        with self.path.open("rb") as file:
            yield from (self._parse(line) for line in file if line.endswith(b"\n"))

    def _parse(self, line: bytes) -> dict[str, Any]:
        try:
            record: dict[str, Any] = json.loads(line)
            record["step"]
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(
                str(self.path), f"holds a damaged line {line[:60]!r}; remove that line"
            ) from error
        return record


def numbers_of(record: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of a record but its step; those of a nested object as `key/part`."""
    for key, value in record.items():
        if isinstance(value, dict):
            yield from ((f"{key}/{part}", number) for part, number in numbers_of(value))
        elif isinstance(value, int | float) and key != "step":
            yield key, value
