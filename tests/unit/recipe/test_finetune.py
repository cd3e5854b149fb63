"""What a recipe of fine-tuning must and may say."""

from pathlib import Path

import pytest

from glmctl.errors import UsageError
from glmctl.recipe.load import load_recipe, make_recipe, to_toml

TASK = {"patterns": [{"parts": ["~{text}", " [MASK]"]}], "verbalizer": {"1": "good", "0": "bad"}}


def tables(**sections: dict) -> dict:
    return {
        "recipe": {"stage": "finetune", "source": "test"},
        "model": {
            "num_layers": 1,
            "hidden_size": 8,
            "num_attention_heads": 2,
            "max_positions": 16,
        },
        "data": {"sequence_length": 16, "corpus": [{"name": "train", "path": "train.csv"}]},
        "train": {"epochs": 2, "global_batch_size": 4, "micro_batch_size": 2},
        "task": TASK,
        **sections,
    }


def problems_of(*overrides: str, **sections: dict) -> tuple[str, ...]:
    with pytest.raises(UsageError) as caught:
        make_recipe(tables(**sections), "mood", overrides)
    assert caught.value.place == "mood"
    return caught.value.problems


def test_the_task_stands_in_the_recipe_and_comes_back_from_its_file(tmp_path: Path):
    recipe = make_recipe(tables(), "mood", ["train.patience=3", "train.probe_every=5"])
    assert (recipe.task, recipe.train.patience, recipe.train.probe_every) == (TASK, 3, 5)
    (tmp_path / "run.toml").write_text(to_toml(recipe))
    assert load_recipe(str(tmp_path / "run.toml")) == recipe


def test_every_mistake_is_named_at_once():
    found = problems_of("train.epoch=3", "data.held_out_share=2", "broken")
    assert len(found) == 3
    assert found[0] == "--set broken: is not of the form section.key=value"
    assert any("data.held_out_share: should be less than or equal to 1" in it for it in found)
    assert any("train.epoch: unknown key; did you mean 'epochs'?" in it for it in found)


def test_a_stage_and_its_section_go_together():
    (missing,) = problems_of(task=None)
    assert missing == "task: missing; stage 'finetune' needs it, with what to train for"
    (other,) = problems_of(recipe={"stage": "pretrain", "source": "test"})
    assert other.startswith("recipe.stage: 'pretrain' does not read the section [task]; set it to")
