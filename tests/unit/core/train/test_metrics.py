"""metrics.jsonl after an interruption."""

from pathlib import Path

import pytest

from glmctl.core.train.metrics import MetricsLog
from glmctl.errors import InputError, MachineError


@pytest.fixture
def log(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    for step in (1, 2, 3):
        log.append({"step": step, "loss": step / 2})
    return log


def test_steps_after_the_checkpoint_are_dropped(log):
    log.truncate(2)
    assert [record["step"] for record in log.records()] == [1, 2]


def test_a_half_written_last_line_is_dropped(log):
    with log.path.open("a") as file:
        file.write('{"step": 4, "lo')
    log.truncate(4)
    assert [record["step"] for record in log.records()] == [1, 2, 3]
    log.append({"step": 4})
    assert [record["step"] for record in log.records()] == [1, 2, 3, 4]


def test_a_run_that_begins_has_no_log_to_truncate(tmp_path):
    MetricsLog(tmp_path / "metrics.jsonl").truncate(0)
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_damaged_line_is_shown(log):
    log.path.write_text("{broken\n")
    with pytest.raises(InputError, match=r"metrics.jsonl: holds a damaged line b'{broken"):
        log.truncate(3)


def test_a_full_disk_is_an_error_of_the_machine_that_names_the_file():
    with pytest.raises(MachineError, match=r"/dev/full: could not be written: .*No space left"):
        MetricsLog(Path("/dev/full")).append({"step": 1})
