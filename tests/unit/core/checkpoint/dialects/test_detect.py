"""A released format is one file of the package, and every format is told from the others."""

import json
import sys
from pathlib import Path
from typing import get_args

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from glmctl.core.checkpoint import dialects
from glmctl.core.checkpoint.dialects import hub_glm
from glmctl.core.checkpoint.dialects.detect import dialects as known_dialects
from glmctl.core.checkpoint.dialects.dialect import Format
from glmctl.core.checkpoint.folder import Found
from glmctl.core.checkpoint.write import misfits
from glmctl.core.open import load
from glmctl.errors import GlmctlError, InputError
from glmctl.recipe.model import ModelConfig
from glmctl.stages import convert

NEW_FORMAT = """
from glmctl.core.checkpoint.dialects.dialect import Dialect
from glmctl.core.checkpoint.dialects.glm4 import GLM
from glmctl.core.checkpoint.dialects.rotary import read_rotary, rotary_values


def components(values):
    return {
        "position": "rotary",
        "rotary": read_rotary(values, fraction=1.0, interleaved=False, fraction_is_fixed=True),
        "norm": "rms",
        "ffn": "swiglu",
        "attention": "causal",
        "linear_bias": False,
        "qkv_bias": False,
        "dropout": 0.0,
    }


LLAMA = Dialect(
    name="transformers' llama",
    model_type="llama",
    outer=GLM.outer,
    layer=GLM.layer,
    inner={**GLM.inner, "ffn.up": ("mlp.gate_proj", "mlp.up_proj")},
    sizes=GLM.sizes,
    defaults={"norm_eps": 1e-6, "attention_dropout": 0.0},
    components=components,
    abilities=("causal",),
    fixed={"hidden_act": ("silu",), "attention_bias": (False,), "mlp_bias": (False,)},
    splits_at_jumps=True,
    written_as="transformers",
    values=lambda config: {"architectures": ["LlamaForCausalLM"], "hidden_act": "silu"}
    | {"tie_word_embeddings": config.tie_embeddings, **rotary_values(config)},
)
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where one more file is one in the package of the dialects."""
    folder = tmp_path / "package"
    folder.mkdir()
    monkeypatch.setattr(dialects, "__path__", [*dialects.__path__, str(folder)])
    yield folder
    for file in folder.glob("*.py"):
        if sys.modules.pop(f"{dialects.__name__}.{file.stem}", None):
            delattr(dialects, file.stem)


@pytest.fixture
def new_format(package: Path) -> Path:
    """A format as a newcomer writes it."""
    (package / "llama.py").write_text(NEW_FORMAT)
    return package / "llama.py"


@pytest.fixture
def llama(tmp_path: Path) -> LlamaForCausalLM:
    """A model that transformers wrote into the folder llama."""
    torch.manual_seed(6)
    sizes = LlamaConfig(
        hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=6,
        num_key_value_heads=3, head_dim=8, vocab_size=96, max_position_embeddings=64,
        # Their code turns whole heads all the same.
        rope_parameters={"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5},
    )  # fmt: skip
    model = LlamaForCausalLM(sizes).eval()
    model.save_pretrained(tmp_path / "llama")
    return model


def test_one_file_is_a_format_that_is_read_and_written(new_format, llama, tmp_path):
    ids = torch.randint(0, 96, (2, 17))
    with torch.inference_mode():
        expected = llama(ids).logits
        torch.testing.assert_close(
            load(tmp_path / "llama").logits(ids), expected, rtol=0, atol=2e-5
        )
        # Without a cache, a place that is not the next one begins another text in their code.
        places = torch.tensor([[*range(17)], [*range(9), *range(8)]])
        torch.testing.assert_close(
            load(tmp_path / "llama").logits(ids, places),
            llama(ids, position_ids=places, use_cache=False).logits,
            rtol=0, atol=2e-5,
        )  # fmt: skip
        convert.run(
            str(tmp_path / "llama"), tmp_path / "again", to="transformers", model_parallel=None,
            model_config=None, note=[].append,
        )  # fmt: skip
        again = LlamaForCausalLM.from_pretrained(tmp_path / "again")
        torch.testing.assert_close(again(ids).logits, expected, rtol=0, atol=0)


@pytest.mark.parametrize("to", ["transformers", "glmctl"])
def test_files_of_another_tokenizer_are_named_and_left_behind(new_format, llama, tmp_path, to):
    for name in ("tokenizer.json", "merges.txt"):
        (tmp_path / "llama" / name).write_text("{}")
    notes = []
    convert.run(
        str(tmp_path / "llama"), tmp_path / "out", to=to, model_parallel=None, model_config=None,
        note=notes.append,
    )  # fmt: skip
    (note,) = notes
    assert note.endswith("and are left behind: merges.txt, tokenizer.json")
    with pytest.raises(InputError, match=r"holds merges\.txt, tokenizer\.json of a family that is"):
        load(tmp_path / "llama").any_tokenizer()
    with pytest.raises(InputError, match="cannot be filled; it continues ids"):
        load(tmp_path / "llama").infill(["A [MASK]."])


def test_what_no_format_holds_is_said_of_each_that_is_as_near(new_format):
    config = ModelConfig(
        num_layers=1, hidden_size=16, num_attention_heads=2, max_positions=24, vocab_rows=32,
        position="rotary", rotary={"fraction": 0.5}, norm="rms", ffn="swiglu", attention="causal",
        linear_bias=False, qkv_bias=False,
    )  # fmt: skip
    problems = misfits("transformers", Found(config, {}, None))
    assert problems == [
        "rotary.interleaved is False; transformers' glm has True",
        "rotary.fraction is 0.5; transformers' llama has 1.0",
    ]


def test_null_counts_as_not_said(new_format, llama, tmp_path):
    file = tmp_path / "llama" / "config.json"
    nulls = dict.fromkeys(("tie_word_embeddings", "attention_dropout", "hidden_act"))
    file.write_text(json.dumps(json.loads(file.read_text()) | nulls))
    ids = torch.arange(20).view(2, 10)
    with torch.inference_mode():
        torch.testing.assert_close(
            load(tmp_path / "llama").logits(ids), llama(ids).logits, rtol=0, atol=2e-5
        )


def test_a_copy_of_a_file_needs_a_name_of_its_own(package):
    original_file = Path(hub_glm.__file__)
    (package / "mine.py").write_text(original_file.read_text())
    with pytest.raises(GlmctlError) as caught:
        known_dialects()
    assert str(package / "mine.py") in str(caught.value)
    assert str(original_file) in str(caught.value)


@pytest.mark.parametrize(
    ("filled", "problem"),
    [
        ('inner=GLM.inner | {"ffn.gate": ("mlp.gate_proj",)}', "inner has the key 'ffn.gate'; "),
        ('inner=GLM.inner | {"ffn.up": "mlp.up_proj"}', "inner['ffn.up'] is 'mlp.up_proj'; exp"),
        ('outer=GLM.outer | {"norm": "model.norm"}', "outer has the key 'norm'; ours are word_emb"),
        ('outer={"final_norm": "model.norm"}', "outer lacks 'word_embedding'"),
        (
            'sizes=GLM.sizes | {"width": "hidden_size"}',
            "sizes has the key 'width'; ours are num_la",
        ),
        ('sizes={"num_layers": "num_hidden_layers"}', "sizes lacks 'vocab_rows'"),
        ('defaults={"eps": 1e-6}', "defaults has the key 'eps'; ours are num_layers"),
        ('written_as="llama"', "written_as is 'llama'; expected None or original or hub-glm or "),
    ],
)
def test_a_field_that_is_filled_in_wrongly_is_named(package, filled, problem):
    (package / "mine.py").write_text(
        "from dataclasses import replace\n"
        "from glmctl.core.checkpoint.dialects.glm4 import GLM\n"
        f'MINE = replace(GLM, name="mine", {filled})\n'
    )
    with pytest.raises(GlmctlError) as caught:
        known_dialects()
    assert caught.value.place == f"{package / 'mine.py'}, dialect 'mine'"
    assert any(line.startswith(problem) for line in caught.value.problems)


@pytest.mark.parametrize(
    ("line", "instead", "problem"),
    [
        ('"norm": "rms"', '"norms": "rms"', "components gives 'norms', a key that [model] has not"),
        ("fixed=True)", "fixed=True) | {'part': 1.0}", "components gives 'rotary.part', a key"),
        ('"norm": "rms"', '"norm_placement": "sandwich", "norm": "rms"',
         "inner lacks 'attention_out_norm', and a model of its components has one"),
    ],
)  # fmt: skip
def test_a_mistake_of_the_components_is_not_one_of_the_file(
    new_format, llama, tmp_path, line, instead, problem
):
    new_format.write_text(NEW_FORMAT.replace(line, instead))
    with pytest.raises(GlmctlError) as caught:
        load(tmp_path / "llama")
    assert caught.value.place == 'dialect "transformers\' llama"'
    assert caught.value.problems[0].startswith(problem)


def test_formats_of_one_model_type_have_other_names_for_the_word_embedding():
    told_by = [
        (dialect.model_type, dialect.outer["word_embedding"]) for dialect in known_dialects()
    ]
    assert len({*told_by}) == len(told_by)


def test_every_format_that_can_be_asked_for_is_written():
    written = {dialect.written_as for dialect in known_dialects()} - {None}
    assert written | {"glmctl"} == {*get_args(Format)}
