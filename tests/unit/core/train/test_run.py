"""The folder of a run: one writer, one recipe."""

import pytest

from glmctl.core.train.run import RunFolder, changed_keys
from glmctl.errors import UsageError
from glmctl.recipe.schema import Recipe


def recipe(**train: object) -> Recipe:
    return Recipe.model_validate(
        {
            "recipe": {"source": "test"},
            "model": {
                "num_layers": 1,
                "hidden_size": 8,
                "num_attention_heads": 1,
                "max_positions": 16,
            },
            "data": {"sequence_length": 16, "corpus": [{"name": "a", "path": "a.txt"}]},
            "train": {"steps": 10, "global_batch_size": 4, "micro_batch_size": 2} | train,
        }
    )


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with folder.locked():
        folder.settle(recipe(), fresh=False, force=False)
    folder.write_manifest({"finished": None})
    return folder


def test_a_run_stores_its_recipe_and_takes_it_again(folder):
    assert "steps = 10" in folder.recipe.read_text()
    folder.settle(recipe(), fresh=False, force=False)


def test_another_recipe_is_refused_and_every_difference_named(folder):
    with pytest.raises(
        UsageError,
        match=r"holds a run of another recipe\n  train.global_batch_size: 4 in the run, 8 in the "
        r"recipe\n  train.seed: 1234 in the run, 5 in the recipe\n  start over with --fresh",
    ):
        folder.settle(recipe(global_batch_size=8, seed=5), fresh=False, force=False)
    assert "steps = 10" in folder.recipe.read_text()


def test_a_run_that_failed_before_it_began_takes_another_recipe_and_no_data_of_the_first(folder):
    folder.manifest.unlink()
    (folder.data / "a").mkdir(parents=True)
    folder.settle(recipe(seed=5), fresh=False, force=False)
    assert "seed = 5" in folder.recipe.read_text()
    assert not folder.data.exists()


def test_more_steps_and_another_rhythm_continue_the_run(folder):
    folder.settle(
        recipe(steps=20, save_every=1, log_every=1, keep=5, micro_batch_size=4),
        fresh=False,
        force=False,
    )
    assert "steps = 20" in folder.recipe.read_text()


def test_fewer_steps_are_another_experiment():
    assert [*changed_keys(recipe(), recipe(steps=5))] == [
        "train.steps: 10 in the run, 5 in the recipe"
    ]


def test_the_micro_batch_counts_where_the_corruption_is_drawn_for_a_batch():
    sections = recipe().model_dump(by_alias=True)
    sections["objective"]["draw_mode"] = "batch"
    stored = Recipe.model_validate(sections)
    sections["train"]["micro_batch_size"] = 4
    assert len([*changed_keys(stored, Recipe.model_validate(sections))]) == 1


def test_a_second_process_is_refused(folder):
    with (
        folder.locked(),
        pytest.raises(UsageError, match="another process is training here"),
        RunFolder(folder.root).locked(),
    ):
        pass


def test_fresh_alone_deletes_nothing(folder):
    folder.metrics.write_text("{}\n")
    with pytest.raises(UsageError, match="--fresh would delete the run that is here; add --force"):
        folder.settle(recipe(seed=5), fresh=True, force=False)
    assert folder.metrics.exists()


def test_fresh_with_force_starts_over_and_leaves_files_of_others_alone(folder):
    folder.metrics.write_text("{}\n")
    (folder.checkpoints / "step-00000001").mkdir(parents=True)
    (folder.root / "notes.txt").write_text("mine")
    folder.settle(recipe(seed=5), fresh=True, force=True)
    assert not folder.metrics.exists()
    assert not folder.checkpoints.exists()
    assert (folder.root / "notes.txt").read_text() == "mine"
    assert "seed = 5" in folder.recipe.read_text()


def test_fresh_with_force_forgets_what_trackers_were_told(folder):
    (folder.root / "tensorboard").mkdir()
    (folder.root / "wandb").mkdir()
    (folder.root / "wandb/run-id").write_text("abc")
    folder.settle(recipe(seed=5), fresh=True, force=True)
    assert not (folder.root / "tensorboard").exists()
    assert not (folder.root / "wandb").exists()


def test_a_run_may_be_tracked_from_some_step_on():
    sections = recipe().model_dump(by_alias=True) | {"track": {"wandb": {"project": "glm"}}}
    assert [*changed_keys(recipe(), Recipe.model_validate(sections))] == []


def test_a_run_may_go_on_when_its_recipe_states_another_number_of_the_literature():
    number = {"metric": "rte/accuracy", "value": 70.0, "certainty": "paper", "source": "Table 1"}
    sections = recipe().model_dump(by_alias=True) | {"published": [number]}
    assert [*changed_keys(recipe(), Recipe.model_validate(sections))] == []


def test_force_without_fresh_is_a_mistake(folder):
    with pytest.raises(UsageError, match="--force: lets --fresh delete a run"):
        folder.settle(recipe(), fresh=False, force=True)


def test_a_folder_with_other_files_is_not_taken(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UsageError, match=r"holds thesis.tex but no run; choose another --run-dir"):
        RunFolder(tmp_path).settle(recipe(), fresh=False, force=False)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_leftovers_of_a_killed_process_are_removed_on_start(folder):
    (folder.checkpoints / "step-00000002.partial").mkdir(parents=True)
    (folder.root / "model.partial").mkdir()
    folder.settle(recipe(), fresh=False, force=False)
    assert not [*folder.root.rglob("*.partial")]
