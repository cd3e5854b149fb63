from pathlib import Path

import pytest

from glmctl.errors import UsageError
from glmctl.recipe.load import load_recipe, to_toml

BASE = """
[recipe]
stage = "{stage}"
extends = "smoke/tiny.toml"
source = "test"
"""
SECTION = """
[quantize]
model = "glmctl-default"
bits = 4
max_loss = 0.05
"""


def write(folder: Path, text: str) -> str:
    path = folder / "quant.toml"
    path.write_text(text)
    return str(path)


def test_a_recipe_says_what_is_quantized_and_how(tmp_path: Path):
    recipe = load_recipe(write(tmp_path, BASE.format(stage="quantize") + SECTION))
    assert recipe.quantize is not None
    assert recipe.quantize.model_dump() == {
        "method": "absmax",
        "bits": 4,
        "model": "glmctl-default",
        "calibration": None,
        "max_loss": 0.05,
    }
    assert load_recipe(write(tmp_path, to_toml(recipe))) == recipe


@pytest.mark.parametrize(
    ("stage", "section", "problem"),
    [
        ("quantize", "", "quantize: missing; stage 'quantize' needs it, with the model to quant"),
        ("pretrain", SECTION, "recipe.stage: 'pretrain' does not read the section"),
        ("quantize", SECTION + 'group_size = 64\n', "quantize.group_size: unknown key; known keys"),
        ("quantize", "[quantize]\nbits = 4\n", r"quantize.model: missing; state it \(Model folder"),
        ("quantize", SECTION.replace("4", "3"), "quantize.bits: should be 8 or 4; found 3"),
        ("quantize", SECTION + 'method = "gptq"\n', "quantize.method: should be 'absmax'; found"),
        ("quantize", SECTION.replace("0.05", "-1.0"), "quantize.max_loss: should be greater"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_section_is_named(stage: str, section: str, problem: str, tmp_path: Path):
    with pytest.raises(UsageError, match=problem):
        load_recipe(write(tmp_path, BASE.format(stage=stage) + section))
