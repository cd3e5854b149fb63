"""What the runs of a matrix share."""

from contextlib import nullcontext
from dataclasses import dataclass

import pytest

from glmctl.core.open import Glm, load
from glmctl.stages import finetune
from glmctl.stages.finetune import jobs_of, run

RECIPE = """
[recipe]
stage = "finetune"
source = "test"
[task]
patterns = ["{text} [MASK]"]
verbalizer = { 1 = "two", 0 = "six" }
[train]
steps = 1
[matrix]
seed = [1, 2, 3]
"""


def test_a_matrix_measures_its_model_once_and_what_came_of_it_each_time(
    tiny_model, tmp_path, monkeypatch
):
    asked: list[Glm] = []

    @dataclass(frozen=True)
    class Counted:
        battery: object

        def measure(self, module):
            asked.append(module)
            return self.battery.measure(module)

    battery_of = finetune.battery_of
    monkeypatch.setattr(finetune, "battery_of", lambda glm, path: Counted(battery_of(glm, path)))
    rows = "".join(f"The cat is {i},{i % 2}\n" for i in range(20))
    (tmp_path / "rows.csv").write_text("text,label\n" + rows)
    (tmp_path / "own.toml").write_text(RECIPE)
    jobs = jobs_of(
        str(tmp_path / "own.toml"), (), model=str(tiny_model), data=tmp_path / "rows.csv"
    )
    found = run(
        jobs, run_dir=tmp_path / "runs", device="cpu", note=lambda _: None,
        progress=lambda _: nullcontext(lambda *_: None),
    )  # fmt: skip
    assert len(asked) == 1 + 3
    (before,) = {it.perplexity_before for it in found.runs.values()}
    battery = battery_of(load(tiny_model), "glmctl-demo-held-out")
    assert before == pytest.approx(battery.measure(load(tiny_model).module).perplexity)
