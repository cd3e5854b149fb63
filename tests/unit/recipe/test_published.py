"""Our scores beside published ones."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from glmctl.recipe.kinds import load_any
from glmctl.recipe.published import compare_numbers, compare_scores
from glmctl.recipe.schema import PublishedConfig

KNOWN = {"certainty": "recalled", "source": "Table 1"}
LARGE = {"copa/accuracy": 76.0, "rte/accuracy": 74.0}
PUBLISHED = [
    PublishedConfig(values=LARGE, model="glm-large", **KNOWN),
    PublishedConfig(metric="copa/accuracy", value=71.0, model="glm-base", **KNOWN),
]


def test_what_is_measured_is_compared_with_the_numbers_of_the_same_model():
    ours = {"copa/accuracy": 70.5, "cb/accuracy": 1.0}
    (row,) = compare_numbers(PUBLISHED, "runs/glm-base", ours)
    assert row == {
        "metric": "copa/accuracy",
        "ours": 70.5,
        "published": 71.0,
        "difference": -0.5,
        "model": "glm-base",
        "certainty": "recalled",
        "source": "Table 1",
    }


def test_a_model_without_numbers_of_this_metric_is_compared_with_the_others():
    (row,) = compare_numbers(PUBLISHED, "runs/glm-base", {"rte/accuracy": 75.0})
    assert (row["model"], row["difference"]) == ("glm-large", 1.0)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"metric": "copa/accuracy"}, "metric, value: one of them is missing; state both"),
        ({}, "metric, values: state a metric with its value, or a table of values"),
        ({"metric": "a", "value": 1.0, "values": {}}, "metric, values: state a metric with its"),
    ],
)
def test_a_number_has_a_name(numbers, message):
    with pytest.raises(ValueError, match=message):
        PublishedConfig(**numbers, **KNOWN)


@pytest.mark.parametrize("model", [None, "runs/mine"])
def test_another_model_is_compared_with_all(model):
    rows = compare_numbers(PUBLISHED, model, {"copa/accuracy": 80.0})
    assert [(row["model"], row["difference"]) for row in rows] == [
        ("glm-large", 4.0),
        ("glm-base", 9.0),
    ]


RUN = """
[recipe]
stage = "{stage}"
source = "test"
[model]
num_layers = 1
hidden_size = 8
num_attention_heads = 2
max_positions = 16
[data]
sequence_length = 16
corpus = [{{ name = "train", path = "train.csv" }}]
[train]
initial_model = "runs/glm-base"
epochs = 2
global_batch_size = 4
micro_batch_size = 2
{task}
[[published]]
metric = "mood/accuracy"
model = "glm-base"
value = 60.0
certainty = "paper"
source = "Table 1"
"""
TASK = '[task]\npatterns = ["{text} [MASK]"]\nverbalizer = { 1 = "good", 0 = "bad" }'


def test_a_fine_tuning_is_compared_by_the_recipe_in_its_folder(tmp_path: Path):
    (tmp_path / "recipe.toml").write_text(RUN.format(stage="finetune", task=TASK))
    results = {"mood": {"accuracy": SimpleNamespace(value=61.5)}}
    (row,) = compare_scores("mood", str(tmp_path), results)
    assert (row["difference"], row["model"]) == (1.5, "glm-base")


def test_a_pretraining_is_not_compared_by_what_others_reached_after_it(tmp_path: Path):
    (tmp_path / "recipe.toml").write_text(RUN.format(stage="pretrain", task=""))
    results = {"mood": {"accuracy": SimpleNamespace(value=61.5)}}
    assert compare_scores("mood", str(tmp_path), results) == []
    assert compare_scores("mood", "glmctl-default", results) == []


def test_numbers_are_of_the_file_that_states_them_alone(tmp_path: Path):
    (tmp_path / "mine.toml").write_text('[recipe]\nextends = "superglue/335m"\nsource = "mine"\n')
    assert load_any("superglue/335m").published
    assert load_any(str(tmp_path / "mine.toml")).published == ()
