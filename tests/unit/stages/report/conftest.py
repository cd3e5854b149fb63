"""Run folders made by hand."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

RECIPE = """
[recipe]
source = "a run & <nothing> else"
[model]
num_layers = 1
hidden_size = 16
num_attention_heads = 2
max_positions = 32
[data]
sequence_length = 32
corpus = [{{ name = "letters", path = "letters.txt" }}]
[train]
steps = 4
global_batch_size = 4
micro_batch_size = 2
seed = {seed}
"""
TASK = """
[task]
patterns = ["{text} [MASK]"]
verbalizer = { 1 = "good", 0 = "bad" }
"""
FINISHED = {
    "task": "mood",
    "metric": "accuracy",
    "score": 75.0,
    "interval": [60.0, 85.5],
    "confusion": {"1": {"1": 7, "0": 3}, "0": {"1": 2, "0": 8}},
    "forgetting": 0.125,
    "published": [
        {"metric": "mood/accuracy", "published": 80.0, "model": "glm-base", "certainty": "paper"},
        {"metric": "mood/f1", "published": 70.0, "model": None, "certainty": "recalled"},
    ],
}
MANIFEST = {
    "glmctl": "0.1.0",
    "commit": "0123456789abcdef",
    "python": "3.11.7",
    "packages": {"torch": "2.13.0"},
    "hardware": {"platform": "Linux", "cpus": 2, "threads": 1, "device": "cpu"},
    "started_at": "2026-11-24T08:34:28+00:00",
    "num_parameters": 4321,
    "finished": None,
}
MakeRun = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path) -> MakeRun:
    """Writes a run folder from its records."""

    def make(name: str, *records: dict, seed: int = 1, tuned: bool = False, **manifest) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        text = RECIPE.format(seed=seed)
        if tuned:
            text = text.replace("source", 'stage = "finetune"\nsource') + TASK
            manifest = {"finished": FINISHED, **manifest}
        (folder / "recipe.toml").write_text(text)
        (folder / "manifest.json").write_text(json.dumps(MANIFEST | manifest))
        lines = [json.dumps(record) + "\n" for record in records]
        (folder / "metrics.jsonl").write_text("".join(lines))
        return folder

    return make


def record(step: int, **values) -> dict:
    """A record of half a second and 100 tokens."""
    common = {"step": step, "loss": 8.0 / step, "lr": 1e-3, "grad_norm": 1.0}
    return common | {"num_tokens": 100, "seconds": 0.5, "tokens_per_second": 200.0} | values


@pytest.fixture
def records() -> list[dict]:
    """Three of them; the last one has a probe."""
    probe = {"probe_exact_match_share": 0.25, "probe_baseline_share": 0.125, "probe_nll": 3.5}
    return [record(1), record(2), record(3, **probe)]
