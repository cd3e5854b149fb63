"""Access to recorded files; the bundled set is the small part of a larger one."""

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def recorded(golden: Path) -> Callable[[str], Path]:
    """Path of a recorded file; the test is skipped when the set in use does not hold it."""

    def find(name: str) -> Path:
        path = golden / name
        if not path.exists():
            pytest.skip(f"{name} is not bundled; GLMCTL_GOLDEN_DIR names a set that has it")
        return path

    return find
