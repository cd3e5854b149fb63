"""Several processes train as one would, stop together, and report the one that fails."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import replica_works

from glmctl.core.parallel.launch import run_replicas
from glmctl.errors import MachineError, NumericalError

STEPS = 50
PRETRAIN = [
    *(sys.executable, "-c", "from glmctl.cli.app import main; main()", "pretrain", "smoke/tiny"),
    *("--device", "cpu", "--set", f"train.steps={STEPS}", "--set", "optimizer.kind=sgd"),
    *("--set", "train.micro_batch_size=16", "--set", "optimizer.peak_lr=0.1"),
]


def losses(run: Path) -> list[tuple[int, float]]:
    records = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [(record["step"], record["loss"]) for record in records]


def pretrain(run: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [*PRETRAIN, "--run-dir", str(run), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """A run of one process, and one of two that is stopped after a while and continued."""
    folder = tmp_path_factory.mktemp("replicas")
    alone = pretrain(folder / "alone")
    assert alone.returncode == 0, alone.stderr
    together = folder / "together"
    command = [*PRETRAIN, "--run-dir", str(together), "--gpus", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240
    while not (together / "metrics.jsonl").exists() or len(losses(together)) < 5:
        assert process.poll() is None, process.stderr
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, stopped = process.communicate(timeout=60)
    num_before = len(losses(together))
    continued = pretrain(together, "--gpus", "2")
    return folder, process.returncode, stopped, num_before, continued


def test_a_signal_stops_all_replicas_after_saving(seen):
    _, code, stopped, num_before, _ = seen
    assert code == 75
    assert f"stopped by SIGTERM; step {num_before} of 50 is saved" in stopped
    assert 5 <= num_before < STEPS


def test_the_same_command_continues_and_no_step_is_missing_or_twice(seen):
    folder, _, _, num_before, continued = seen
    assert continued.returncode == 0, continued.stderr
    assert f"continuing after step {num_before}" in continued.stderr
    assert [step for step, _ in losses(folder / "together")] == [*range(1, STEPS + 1)]
    assert not (folder / "together" / "logs").exists()


def test_the_losses_are_those_of_one_process(seen):
    folder = seen[0]
    alone = [loss for _, loss in losses(folder / "alone")]
    together = [loss for _, loss in losses(folder / "together")]
    assert together == pytest.approx(alone, rel=1e-5)
    assert alone[-1] < alone[0] - 1


def test_a_replica_that_dies_is_reported_with_its_last_lines(tmp_path):
    with pytest.raises(MachineError) as caught:
        run_replicas(replica_works.die_in_rank_1, (), 2, tmp_path / "logs", lambda _: None)
    assert caught.value.place == "rank 1"
    assert caught.value.problems[0].startswith("killed by SIGKILL; the last checkpoint is intact")
    assert caught.value.problems[-2:] == ("first line", "last words")


def test_an_error_of_a_replica_arrives_as_it_was_raised(tmp_path):
    heard: list[str] = []
    with pytest.raises(NumericalError, match=r"step 7: loss nan; lower optimizer\.peak_lr"):
        run_replicas(replica_works.refuse_in_rank_1, (), 2, tmp_path / "logs", heard.append)
    assert sorted(heard) == ["rank 0 of 2", "rank 1 of 2"]
