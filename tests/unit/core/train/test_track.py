"""TensorBoard files and wandb runs; a module that writes down its calls plays wandb."""

import json
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from glmctl.core.train.track import require_packages, tracking
from glmctl.errors import MachineError
from glmctl.recipe.load import load_recipe

FAKE_WANDB = """
import json, pathlib

class Error(Exception): pass

class Settings:
    def __init__(self, **values): pass

class Run:
    def __init__(self, calls): self.calls = calls
    def log(self, scalars, step): write(self.calls, "log", scalars=scalars, step=step)
    def finish(self, exit_code): write(self.calls, "finish", exit_code=exit_code)

def write(path, call, **values):
    with path.open("a") as file:
        file.write(json.dumps({"call": call, **values}) + chr(10))

def init(*, dir, settings, **values):
    if values["project"] == "nobody's":
        raise Error("no user is logged in")
    calls = pathlib.Path(dir, "calls.jsonl")
    write(calls, "init", **values)
    return Run(calls)
"""


@pytest.fixture
def wandb(tmp_path, monkeypatch):
    """Puts the module in wandb's place and gives what it was told about a run folder."""
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake/wandb.py").write_text(FAKE_WANDB)
    monkeypatch.syspath_prepend(str(tmp_path / "fake"))
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    for variable in ("GLMCTL_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)

    def calls(name: str) -> list[dict]:
        lines = (tmp_path / "calls.jsonl").read_text().splitlines()
        return [call for call in map(json.loads, lines) if call["call"] == name]

    return calls


def recipe(*settings: str):
    return load_recipe("smoke/tiny", [f"track.{setting}" for setting in settings])


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """All that TensorBoard shows, by name."""
    reader = EventAccumulator(str(folder))
    reader.Reload()
    names = reader.Tags()["scalars"]
    return {name: [(e.step, e.value) for e in reader.Scalars(name)] for name in names}


def test_the_numbers_have_the_names_of_the_metrics_in_groups(tmp_path):
    record = {"step": 1, "loss": 2.0, "loss_token": 2.5, "lr": 0.5, "grad_norm": 1.5, "mfu": 0.25}
    record |= {"probe_nll_en": 3.0, "loss_by_span_length": {"2-3": 4.0}, "note": "text"}
    with tracking(recipe("tensorboard=true"), tmp_path, 0, is_first=True) as tracker:
        tracker.log(record)
    assert scalars(tmp_path / "tensorboard") == {
        "loss/loss": [(1, 2.0)],
        "loss/loss_token": [(1, 2.5)],
        "loss/loss_by_span_length/2-3": [(1, 4.0)],
        "lr/lr": [(1, 0.5)],
        "grad/grad_norm": [(1, 1.5)],
        "mfu/mfu": [(1, 0.25)],
        "probe/probe_nll_en": [(1, 3.0)],
    }


def test_tensorboard_shows_no_step_twice_and_misses_none_after_a_resume(tmp_path):
    with tracking(recipe("tensorboard=true"), tmp_path, 0, is_first=True) as tracker:
        for step in (1, 2, 3, 4):
            tracker.log({"step": step, "loss": 1.0})
    with tracking(recipe("tensorboard=true"), tmp_path, 2, is_first=True) as tracker:
        for step in (3, 4, 5):
            tracker.log({"step": step, "loss": 2.0})
    shown = scalars(tmp_path / "tensorboard")["loss/loss"]
    assert shown == [(1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0), (5, 2.0)]


def test_what_is_flushed_survives_the_end_of_the_process(tmp_path):
    with tracking(recipe("tensorboard=true"), tmp_path, 0, is_first=True) as tracker:
        tracker.log({"step": 1, "loss": 1.0})
        tracker.flush()
        assert scalars(tmp_path / "tensorboard") == {"loss/loss": [(1, 1.0)]}


def test_a_resumed_run_has_the_same_wandb_id(tmp_path, wandb):
    for step in (0, 1):
        with tracking(recipe("wandb.project='glm'"), tmp_path, step, is_first=True) as tracker:
            tracker.log({"step": step + 1, "loss": 2.0})
    first, second = wandb("init")
    assert first["id"] == second["id"] != ""
    assert (first["project"], first["entity"], first["mode"]) == ("glm", None, "online")
    assert first["resume"] == "allow"
    assert first["config"]["train"]["seed"] == 1234
    assert [(c["step"], c["scalars"]) for c in wandb("log")] == [
        (1, {"loss/loss": 2.0}),
        (2, {"loss/loss": 2.0}),
    ]
    assert [call["exit_code"] for call in wandb("finish")] == [0, 0]


@pytest.mark.parametrize(
    ("mode", "variable", "used"),
    [("online", "1", "offline"), ("online", "0", "online"), ("offline", "", "offline")],
)
def test_wandb_stays_off_the_network_when_it_is_told_to(
    tmp_path, wandb, monkeypatch, mode, variable, used
):
    monkeypatch.setenv("GLMCTL_OFFLINE", variable)
    with tracking(
        recipe("wandb.project='glm'", f"wandb.mode='{mode}'"), tmp_path, 0, is_first=True
    ):
        pass
    assert wandb("init")[0]["mode"] == used


def test_a_run_that_fails_is_a_failed_run_of_wandb(tmp_path, wandb):
    def fail() -> None:
        with tracking(recipe("wandb.project='glm'"), tmp_path, 0, is_first=True):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert wandb("finish")[0]["exit_code"] == 1


def test_a_wandb_that_refuses_is_an_error_with_a_remedy(tmp_path, wandb):
    words = r"track.wandb: could not begin: no user is logged in; run `wandb login`, or set"
    tracks = tracking(recipe('wandb.project="nobody\'s"'), tmp_path, 0, is_first=True)
    with pytest.raises(MachineError, match=words):
        tracks.__enter__()


def test_missing_packages_are_named_together_with_their_remedies(monkeypatch):
    monkeypatch.setattr("glmctl.core.train.track.find_spec", lambda name: None)
    with pytest.raises(MachineError) as caught:
        require_packages(recipe("tensorboard=true", "wandb.project='glm'").track)
    assert caught.value.problems == (
        "tensorboard: is not installed; pip install 'glmctl[track]'",
        "wandb: is not installed; pip install wandb, or leave track.wandb out",
    )


def test_a_recipe_without_trackers_needs_no_package_and_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr("glmctl.core.train.track.find_spec", lambda name: None)
    require_packages(recipe().track)
    with tracking(recipe(), tmp_path, 0, is_first=True) as tracker:
        tracker.log({"step": 1, "loss": 2.0})
        tracker.flush()
    assert list(tmp_path.iterdir()) == []


def test_replicas_but_the_first_keep_silent(tmp_path, wandb):
    asked = recipe("tensorboard=true", "wandb.project='glm'")
    with tracking(asked, tmp_path, 0, is_first=False) as tracker:
        tracker.log({"step": 1, "loss": 2.0})
    assert [path.name for path in tmp_path.iterdir()] == ["fake"]
