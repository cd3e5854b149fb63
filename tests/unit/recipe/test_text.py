import pytest

from glmctl.recipe.find import find_recipe
from glmctl.recipe.load import load_recipe
from glmctl.recipe.text import copy_text


def test_a_copy_of_a_builtin_recipe_is_the_recipe_with_comments_in_another_folder(tmp_path):
    text = copy_text(find_recipe("glm-doc"), tmp_path)
    (tmp_path / "glm-large.toml").write_text("not a parent of the copy")
    (tmp_path / "mine.toml").write_text(text)
    assert text.startswith("# GLM-Doc")
    assert '\nextends = "glm-large"\n' in text
    assert load_recipe(str(tmp_path / "mine.toml")) == load_recipe("glm-doc")


def test_only_the_parent_changes_in_a_copy(tmp_path):
    text = find_recipe("glm-doc").read_text()
    copy = copy_text(find_recipe("glm-doc"), tmp_path)
    assert copy == text.replace('"glm-large.toml"', '"glm-large"')


def test_a_recipe_without_a_parent_is_copied_as_it_is(tmp_path):
    assert copy_text(find_recipe("glm-base"), tmp_path) == find_recipe("glm-base").read_text()


@pytest.mark.parametrize(
    "head",
    ["[recipe]\nextends = 'a.toml' # mine", "recipe.extends='a.toml'", "recipe={extends='a.toml'}"],
)
def test_the_parent_of_an_own_recipe_is_named_from_the_new_folder(tmp_path, head):
    (tmp_path / "a.toml").write_text("")
    (tmp_path / "b.toml").write_text(f"# extends = 'a.toml' is said below\n{head}\n")
    (tmp_path / "sub").mkdir()
    assert copy_text(tmp_path / "b.toml", tmp_path / "sub") == (
        "# extends = 'a.toml' is said below\n" + head.replace("'a.toml'", '"../a.toml"') + "\n"
    )
