"""Run folders as columns."""

import numpy as np
import pytest

from glmctl.errors import InputError
from glmctl.stages.report.read import Column, read_runs, rows_of, summarize


def test_a_column_has_the_steps_at_which_its_number_was_written(make_run, records):
    (run,) = read_runs([make_run("a", *records)])
    assert run.columns["loss"].steps.tolist() == [1, 2, 3]
    assert run.columns["probe_nll"].steps.tolist() == [3]
    assert run.columns["probe_nll"].values.tolist() == [3.5]


def test_the_numbers_of_a_nested_object_are_columns_of_their_own(make_run, records):
    records[1]["loss_by_span_length"] = {"1": 2.0, "16-": 5.0}
    (run,) = read_runs([make_run("a", *records)])
    assert run.columns["loss_by_span_length/16-"].steps.tolist() == [2]
    assert run.columns["loss_by_span_length/16-"].values.tolist() == [5.0]


def test_numbers_that_are_not_finite_are_left_out(make_run, records):
    records[1]["grad_norm"] = float("inf")
    (run,) = read_runs([make_run("a", *records)])
    assert run.columns["grad_norm"].steps.tolist() == [1, 3]


def test_a_line_that_a_running_run_is_writing_is_left_for_later(make_run, records):
    folder = make_run("a", *records)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    (run,) = read_runs([folder])
    assert run.columns["loss"].steps.tolist() == [1, 2, 3]


def test_a_mean_reaches_over_one_in_a_hundred_values_on_either_side():
    values = np.zeros(200)
    values[100] = 50.0
    smooth = Column(np.arange(200.0), values).smooth().values
    assert smooth[97:104].tolist() == [0, 10, 10, 10, 10, 10, 0]


def test_a_mean_at_the_end_has_one_side():
    smooth = Column(np.arange(300.0), np.arange(300.0)).smooth().values
    assert smooth[-1] == pytest.approx((296 + 297 + 298 + 299) / 4)


def test_runs_of_one_name_are_told_apart_by_their_paths(make_run, records):
    paths = [make_run("x/tiny", *records), make_run("y/tiny", *records), make_run("z", *records)]
    assert [run.name for run in read_runs(paths)] == [str(paths[0]), str(paths[1]), "z"]


def test_a_run_that_is_named_twice_is_read_once(make_run, records):
    folder = make_run("a", *records)
    assert len(read_runs([folder, folder])) == 1


def test_the_folder_of_a_matrix_stands_for_its_runs(make_run, records, tmp_path):
    paths = [make_run("all/b", *records), make_run("all/a", *records)]
    assert [run.name for run in read_runs([tmp_path / "all"])] == ["a", "b"]
    assert [run.name for run in read_runs([paths[0], tmp_path / "all"])] == ["b", "a"]


def test_a_fine_tuning_has_its_score_beside_that_of_the_literature(make_run, records):
    runs = read_runs([make_run("a", *records, tuned=True), make_run("b", *records)])
    headings, tuned, other = rows_of([*map(summarize, runs)])
    found = dict(zip(headings, zip(tuned, other, strict=True), strict=True))
    assert found["score"] == ("accuracy 75.00", "-")
    assert found["95 % interval"] == ("60.00 to 85.50", "-")
    assert found["published"] == ("80 (glm-base, paper)", "-")
    assert found["forgetting"] == ("+12.5 %", "-")


def test_a_fine_tuning_that_goes_on_has_no_score_yet(make_run, records):
    (run,) = read_runs([make_run("a", *records, tuned=True, finished=None)])
    headings, _ = rows_of([summarize(run)])
    assert "score" not in headings
    assert "published" not in headings


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"is no run: recipe.toml is missing; name a run folder"):
        read_runs([tmp_path])


def test_a_run_without_a_step_is_refused(make_run):
    with pytest.raises(InputError, match=r"a: has no step yet; wait for the first one"):
        read_runs([make_run("a")])


def test_a_damaged_manifest_is_shown(make_run, records):
    folder = make_run("a", *records)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(InputError, match=r"manifest.json: is damaged: .*copy the run folder again"):
        read_runs([folder])


def test_a_line_without_a_step_is_shown(make_run, records):
    folder = make_run("a", *records)
    (folder / "metrics.jsonl").write_text('{"loss": 1.0}\n')
    with pytest.raises(InputError, match=r"""holds a damaged line b'\{"loss": 1.0"""):
        read_runs([folder])
