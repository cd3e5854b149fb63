import pytest

from glmctl.core.train.matrix import compare

RUNS = [
    ({"task": task, "seed": seed, "optimizer.peak_lr": rate}, "accuracy", score)
    for task, rate, scores in (
        ("rte", 1e-5, (60.0, 62.0, 67.0)),
        ("rte", 2e-5, (70.0, 50.0, 60.0)),
        ("cb", 1e-5, (80.0, 80.0, 80.0)),
        ("cb", 2e-5, (80.0, 81.0, 82.0)),
    )
    for seed, score in enumerate(scores)
]


def test_seeds_become_a_mean_and_a_deviation():
    rows = compare(RUNS)
    assert [row.mean for row in rows] == [63, 60, 80, 81]
    assert [row.deviation for row in rows] == pytest.approx([13**0.5, 10, 0, 1])
    assert {row.num_runs for row in rows} == {3}
    assert rows[0].values == {"task": "rte", "optimizer.peak_lr": 1e-5}


def test_every_task_has_its_best_rate():
    assert [row.is_best for row in compare(RUNS)] == [True, False, False, True]


def test_one_run_has_no_deviation():
    (row,) = compare(RUNS[:1])
    assert (row.deviation, row.num_runs, row.is_best) == (None, 1, True)
