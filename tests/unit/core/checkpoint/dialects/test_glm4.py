"""GLM-4 folders that transformers writes give the logits that transformers computes."""

import json
from pathlib import Path

import pytest
import torch

from glmctl.core.open import load
from glmctl.errors import InputError

transformers = pytest.importorskip("transformers")

SIZES = {
    "small": {
        "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "vocab_size": 96,
        "num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 8,
        "rms_norm_eps": 1e-3, "pad_token_id": 0, "max_position_embeddings": 64,
    },
    "one group and wide heads": {
        "hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 3, "vocab_size": 64,
        "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 16,
        "pad_token_id": 0, "attention_bias": False, "tie_word_embeddings": True,
        "rope_parameters": {
            "rope_type": "default", "rope_theta": 5e5, "partial_rotary_factor": 0.25,
        },
    },
    "yarn": {
        "hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 2, "vocab_size": 64,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 64, "pad_token_id": 0,
        "rope_parameters": {
            "rope_type": "yarn", "rope_theta": 1e4, "partial_rotary_factor": 0.5, "factor": 4.0,
            "original_max_position_embeddings": 128,
        },
    },
}  # fmt: skip


@pytest.fixture(params=["Glm", "Glm4"])
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def written(folder: Path, family: str, sizes: dict[str, object], seed: int) -> torch.nn.Module:
    """A random model of transformers, which is written into the folder too."""
    torch.manual_seed(seed)
    config = getattr(transformers, f"{family}Config")(**sizes, attn_implementation="eager")
    model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder, max_shard_size="20KB")
    return model


@pytest.mark.parametrize("sizes", SIZES)
def test_logits_equal_those_of_transformers(family, sizes, tmp_path):
    theirs = written(tmp_path, family, SIZES[sizes], seed=len(sizes))
    assert len([*tmp_path.glob("model-*-of-*.safetensors")]) > 1
    ids = torch.randint(0, 64, (3, 17), generator=torch.Generator().manual_seed(4))
    places = torch.tensor([[*range(17)], [*range(3, 20)], [*range(9), *range(8)]])
    with torch.inference_mode():
        ours = load(tmp_path)
        torch.testing.assert_close(ours.logits(ids), theirs(ids).logits, rtol=0, atol=2e-5)
        # Without a cache, a place that is not the next one begins another text in their code.
        expected = theirs(ids, position_ids=places, use_cache=False).logits
        torch.testing.assert_close(ours.logits(ids, places), expected, rtol=0, atol=2e-5)
    assert ours.config.tie_embeddings == theirs.config.tie_word_embeddings


def test_a_dropout_that_is_left_out_is_none(family, tmp_path):
    written(tmp_path, family, SIZES["small"], seed=2)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["attention_dropout"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert load(tmp_path).config.attention_dropout == 0.0


def test_a_saved_copy_reads_positions_as_before(family, tmp_path):
    written(tmp_path / "theirs", family, SIZES["small"], seed=3)
    ours = load(tmp_path / "theirs")
    copy = load(ours.save(tmp_path / "ours"))
    ids, places = torch.tensor([[5, 6, 7, 8, 9]]), torch.tensor([[0, 1, 0, 1, 2]])
    assert copy.config == ours.config
    assert torch.equal(copy.logits(ids, places), ours.logits(ids, places))


def test_greedy_tokens_are_those_of_transformers(family, tmp_path):
    theirs = written(tmp_path, family, SIZES["small"], seed=8)
    rows = [[5, 6, 7], [9, 8, 7, 6, 5, 4]]
    expected = [
        theirs.generate(
            torch.tensor([row]), max_new_tokens=9, min_new_tokens=9, do_sample=False, eos_token_id=1
        )[0, len(row) :].tolist()
        for row in rows
    ]
    assert load(tmp_path).continue_ids(rows, max_new_tokens=9) == expected
    end = expected[0][4]
    ended = [row[: row.index(end)] if end in row else row for row in expected]
    assert load(tmp_path).continue_ids(rows, max_new_tokens=9, ends=[end]) == ended


def test_scaled_positions_that_are_not_read_are_refused(family, tmp_path):
    written(tmp_path, family, SIZES["small"], seed=1)
    config = json.loads((tmp_path / "config.json").read_text())
    config["rope_parameters"] |= {"rope_type": "longrope", "factor": 4.0}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        InputError, match=r"rope_type is 'longrope'; only 'default' and 'yarn' are read"
    ):
        load(tmp_path)


def test_yarn_of_a_kind_that_is_not_read_is_refused(family, tmp_path):
    written(tmp_path, family, SIZES["yarn"], seed=1)
    config = json.loads((tmp_path / "config.json").read_text())
    config["rope_parameters"] |= {"mscale": 0.7}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="mscale of rope_type 'yarn' is not read"):
        load(tmp_path)
