"""A published folder is durable before it can be seen."""

import os
from pathlib import Path

import pytest

from glmctl.core.checkpoint import durable


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is made durable and what is renamed, in order."""
    seen: list[str] = []
    rename = Path.rename

    def watch_sync(descriptor: int) -> None:
        seen.append("sync " + Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)

    def watch_rename(path: Path, target: Path) -> Path:
        seen.append(f"{path.name} becomes {target.name}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", watch_sync)
    monkeypatch.setattr(Path, "rename", watch_rename)
    return seen


def test_every_file_and_the_folder_are_durable_before_the_rename_and_the_parent_after(
    tmp_path: Path, events: list[str]
):
    with durable.publish(tmp_path / "state") as scratch:
        (scratch / "a").write_text("1")
        (scratch / "inner").mkdir()
        (scratch / "inner" / "b").write_text("2")
    renamed = events.index("state.partial becomes state")
    assert sorted(events[:renamed]) == ["sync a", "sync b", "sync inner", "sync state.partial"]
    assert events[renamed + 1 :] == [f"sync {tmp_path.name}"]


def test_the_folder_of_before_is_out_of_the_way_only_once_the_new_one_is_durable(
    tmp_path: Path, events: list[str]
):
    (tmp_path / "state").mkdir()
    with durable.publish(tmp_path / "state") as scratch:
        (scratch / "a").write_text("1")
    assert events == [
        "sync a",
        "sync state.partial",
        "state becomes state.old.partial",
        "state.partial becomes state",
        f"sync {tmp_path.name}",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
