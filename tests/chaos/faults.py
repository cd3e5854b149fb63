"""Proof that the tests can fail: each deliberate fault of faults.toml must break one of its tests.

Every fault is one exact replacement in one file. It is made in a copy of the repository, the named
tests are run there, and the file is put back. Exit code 1 when a fault survives.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIST = Path(__file__).with_name("faults.toml")
COPIED = ("glmctl", "tests", "recipes", "pyproject.toml")
PASSED, FAILED = 0, 1  # exit codes of pytest; any other says that the tests did not run
TIMEOUT = 300.0


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


def copy_repository(target: Path) -> None:
    for name in COPIED:
        source = ROOT / name
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


def pass_tests(copy: Path, tests: Sequence[str]) -> bool:
    """Whether all tests pass; a test that does not end in time fails."""
    try:
        done = python(copy, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests)
    except subprocess.TimeoutExpired:
        return False
    if done.returncode not in (PASSED, FAILED):
        raise SystemExit(f"pytest could not run {' '.join(tests)}:\n{done.stdout}{done.stderr}")
    return done.returncode == PASSED


def survives(copy: Path, fault: Fault) -> bool:
    """Whether the tests pass in spite of the fault."""
    path = copy / fault.file
    sound = path.read_text(encoding="utf-8")
    if sound.count(fault.old) != 1:
        raise SystemExit(f"{fault.name}: {fault.file} holds the old text {sound.count(fault.old)}x")
    path.write_text(sound.replace(fault.old, fault.new), encoding="utf-8")
    try:
        return pass_tests(copy, fault.tests)
    finally:
        path.write_text(sound, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description="Break the code and see whether a test fails.")
    parser.add_argument("--only", metavar="NAME", help="make this fault alone")
    only = parser.parse_args().only
    faults = [fault for fault in read_faults(LIST) if only in (None, fault.name)]
    if not faults:
        parser.error(f"no fault is called {only!r}")
    num_killed = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder).resolve()
        copy_repository(copy)
        require_copy(copy)
        # Each test once, however many faults it is named by.
        tests = sorted({test for fault in faults for test in fault.tests})
        if not pass_tests(copy, tests):
            raise SystemExit("the tests fail without any fault; make them pass first")
        for fault in faults:
            started_at = time.perf_counter()
            is_alive = survives(copy, fault)
            num_killed += not is_alive
            verdict = "SURVIVED" if is_alive else "killed"
            print(
                f"{verdict:8}  {fault.name}  {time.perf_counter() - started_at:.1f} s", flush=True
            )
    print(f"killed {num_killed} of {len(faults)}")
    return 0 if num_killed == len(faults) else 1


if __name__ == "__main__":
    sys.exit(main())
