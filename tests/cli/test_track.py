"""A tracked run, interrupted and taken up again."""

import json
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from glmctl.cli.app import run

SMALL = [
    "train.global_batch_size=2",
    "train.micro_batch_size=2",
    "model.num_layers=1",
    "model.hidden_size=16",
    "model.num_attention_heads=2",
    "track.tensorboard=true",
]


def train(folder: Path, steps: int) -> int:
    settings = [word for setting in [*SMALL, f"train.steps={steps}"] for word in ("--set", setting)]
    return run(["pretrain", "smoke/tiny", "--run-dir", str(folder), "--quiet", *settings])


def test_a_run_that_is_taken_up_again_is_tracked_and_its_restart_reported(tmp_path, capsys):
    folder = tmp_path / "small"
    assert train(folder, 2) == 0
    assert train(folder, 4) == 0
    reader = EventAccumulator(str(folder / "tensorboard"))
    reader.Reload()
    records = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
    assert [event.step for event in reader.Scalars("loss/loss")] == [1, 2, 3, 4]
    assert [round(event.value, 4) for event in reader.Scalars("loss/loss")] == [
        round(record["loss"], 4) for record in records
    ]
    assert json.loads((folder / "manifest.json").read_text())["restarts"] == [2]
    page = tmp_path / "page.html"
    assert run(["report", str(folder), "--out", str(page), "--quiet"]) == 0
    assert '<th scope="row">restarts</th><td>[2]</td>' in page.read_text()


def test_a_missing_package_is_named_before_anything_is_built(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("glmctl.core.train.track.find_spec", lambda name: None)
    assert train(tmp_path / "small", 2) == 4
    assert capsys.readouterr().err == (
        "error: track: tensorboard: is not installed; pip install 'glmctl[track]'\n"
    )
    assert not (tmp_path / "small").exists()
