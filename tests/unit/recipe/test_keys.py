from glmctl.recipe.keys import all_keys, differences, flatten
from glmctl.recipe.load import load_recipe


def test_tables_become_dotted_keys_and_lists_stay_whole():
    assert flatten({"a": {"b": 1, "c": {"d": [{"e": 2}]}}, "f": {}}) == {
        "a.b": 1,
        "a.c.d": [{"e": 2}],
    }


def test_differences_are_the_changed_keys_with_both_values():
    one = load_recipe("smoke/tiny", ["train.steps=5", "train.precision=fp32"])
    other = load_recipe("smoke/tiny", ["train.steps=7", "topology.note=mine"])
    assert differences(one, other) == {
        "train.steps": (5, 7),
        "topology.note": (None, "mine"),
    }


def test_a_section_that_one_recipe_lacks_is_one_difference():
    one, other = (load_recipe("smoke/tiny", it) for it in ([], ["adapter.kind=lora"]))
    found = differences(one, other)
    assert [*found] == ["adapter"]
    assert found["adapter"][0] is None
    assert found["adapter"][1]["kind"] == "lora"


def test_a_recipe_does_not_differ_from_itself():
    assert differences(load_recipe("glm-doc"), load_recipe("glm-doc")) == {}


def test_every_key_that_can_be_set_is_there_with_its_meaning():
    keys = dict(all_keys())
    assert keys["train.global_batch_size"] == "Rows a step, over all GPUs."
    assert "recipe.schema" in keys  # as it is written, not as the class calls it
    assert "track.wandb.project" in keys
    assert "data.corpus" in keys
    assert "topology.profiles" in keys
    assert not [key for key in keys if key.startswith(("data.corpus.", "topology.profiles."))]


def test_numbers_of_the_literature_are_no_settings():
    known = {"metric": "a/b", "value": 1.0, "certainty": "paper", "source": "Table 1"}
    one = load_recipe("glm-doc")
    other = one.model_validate(one.model_dump(by_alias=True) | {"published": [known]})
    assert one.published
    assert differences(one, other) == {}
