"""Proof that the tests can fail: each deliberate fault of faults.toml must break one of its tests.

Every fault is one exact replacement in one file. It is made in a copy of the repository, where the
named tests, which pass without it, are run. Exit code 1 when a fault survives.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIST = Path(__file__).with_name("faults.toml")
COPIED = ("glmctl", "tests", "recipes", "pyproject.toml")
PASSED, FAILED = 0, 1  # exit codes of pytest; any other says that the tests did not run
TIMEOUT = 900.0


@dataclass(frozen=True)
class Fault:
    """A plausible mistake, and the tests that must notice it."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def read_faults(path: Path) -> list[Fault]:
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["fault"]
    return [Fault(**entry | {"tests": tuple(entry["tests"])}) for entry in entries]


def copy_repository(origin: Path, target: Path) -> None:
    for name in COPIED:
        source = origin / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target / name)


def python(copy: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run Python on the copy.

    No bytecode is written: a fault of the same length in the same second would not be noticed.
    """
    env = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *args],
        cwd=copy,
        env=env,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def require_copy(copy: Path) -> None:
    """Stop when another glmctl than that of the copy would be tested."""
    found = python(copy, "-c", "import glmctl; print(glmctl.__file__)").stdout.strip()
    if found != str(copy / "glmctl" / "__init__.py"):
        raise SystemExit(f"the tests would import {found!r} instead of the copy in {copy}")


def first_failure(copy: Path, tests: Sequence[str]) -> str | None:
    """Name of the first test that fails, or does not end in time; None when all pass."""
    try:
        done = python(copy, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests)
    except subprocess.TimeoutExpired:
        return f"no end in {TIMEOUT:.0f} s"
    if done.returncode not in (PASSED, FAILED):
        raise SystemExit(f"pytest could not run {' '.join(tests)}:\n{done.stdout}{done.stderr}")
    if done.returncode == PASSED:
        return None
    named = re.search(r"^(?:FAILED|ERROR) \S*?(test_\w+\.py\S*)", done.stdout, re.MULTILINE)
    return named[1] if named else "a test without a name"


def judge(sound: Path, fault: Fault) -> bool:
    """Make the fault in a copy of its own, print what became of it; whether a test noticed it."""
    started_at = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder).resolve()
        copy_repository(sound, copy)
        path = copy / fault.file
        text = path.read_text(encoding="utf-8")
        if text.count(fault.old) != 1:
            raise SystemExit(
                f"{fault.name}: {fault.file} holds the old text {text.count(fault.old)}x"
            )
        path.write_text(text.replace(fault.old, fault.new), encoding="utf-8")
        require_copy(copy)
        failed = first_failure(copy, fault.tests)
    seconds = time.perf_counter() - started_at
    if failed is None:
        print(f"SURVIVED  {seconds:5.1f} s  {fault.name}", flush=True)
    else:
        print(f"killed    {seconds:5.1f} s  {fault.name}  by {failed}", flush=True)
    return failed is not None


def main() -> int:
    parser = argparse.ArgumentParser(description="Break the code and see whether a test fails.")
    parser.add_argument("--only", metavar="NAME", help="make this fault alone")
    parser.add_argument("--jobs", metavar="N", type=int, default=1, help="faults at a time")
    options = parser.parse_args()
    faults = [fault for fault in read_faults(LIST) if options.only in (None, fault.name)]
    if not faults:
        parser.error(f"no fault is called {options.only!r}")
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder).resolve()
        copy_repository(ROOT, sound)
        require_copy(sound)
        # Each test once, however many faults it is named by.
        failed = first_failure(sound, sorted({test for fault in faults for test in fault.tests}))
        if failed is not None:
            raise SystemExit(f"{failed} fails without any fault; make it pass first")
        with ThreadPoolExecutor(options.jobs) as pool:
            num_killed = sum(pool.map(judge, repeat(sound), faults))
    print(f"killed {num_killed} of {len(faults)}")
    return 0 if num_killed == len(faults) else 1


if __name__ == "__main__":
    sys.exit(main())
