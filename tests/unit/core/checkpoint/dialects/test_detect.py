"""A released format is one file of the package, and every format is told from the others."""

import sys
from pathlib import Path
from typing import get_args

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from glmctl.core.checkpoint import dialects
from glmctl.core.checkpoint.dialects.detect import dialects as known_dialects
from glmctl.core.checkpoint.dialects.dialect import Format
from glmctl.core.checkpoint.find import Found
from glmctl.core.checkpoint.write import misfits
from glmctl.core.open import load
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
    components=components,
    written_as="transformers",
    values=lambda config: {"architectures": ["LlamaForCausalLM"], "hidden_act": "silu"}
    | {"tie_word_embeddings": config.tie_embeddings, **rotary_values(config)},
)
"""


@pytest.fixture
def new_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One more file in the package of the dialects, as a newcomer writes it."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "llama.py").write_text(NEW_FORMAT)
    monkeypatch.setattr(dialects, "__path__", [*dialects.__path__, str(tmp_path / "package")])
    yield
    del sys.modules[f"{dialects.__name__}.llama"]
    del dialects.llama


def test_one_file_is_a_format_that_is_read_and_written(new_format, tmp_path):
    torch.manual_seed(6)
    sizes = LlamaConfig(
        hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=6,
        num_key_value_heads=3, head_dim=8, vocab_size=96, max_position_embeddings=64,
        # Their code turns whole heads all the same.
        rope_parameters={"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5},
    )  # fmt: skip
    theirs = LlamaForCausalLM(sizes).eval()
    theirs.save_pretrained(tmp_path / "llama")
    ids = torch.randint(0, 96, (2, 17))
    with torch.inference_mode():
        expected = theirs(ids).logits
        torch.testing.assert_close(
            load(tmp_path / "llama").logits(ids), expected, rtol=0, atol=2e-5
        )
        convert.run(
            str(tmp_path / "llama"), tmp_path / "again", to="transformers", model_parallel=None,
            model_config=None, note=[].append,
        )  # fmt: skip
        again = LlamaForCausalLM.from_pretrained(tmp_path / "again")
        torch.testing.assert_close(again(ids).logits, expected, rtol=0, atol=0)


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


def test_formats_of_one_model_type_have_other_names_for_the_word_embedding():
    told_by = [
        (dialect.model_type, dialect.outer["word_embedding"]) for dialect in known_dialects()
    ]
    assert len({*told_by}) == len(told_by) == 6


def test_every_format_that_can_be_asked_for_is_written():
    written = {dialect.written_as for dialect in known_dialects()} - {None}
    assert written | {"glmctl"} == {*get_args(Format)}
