"""Models whose next token is known."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from glmctl.core.model.glm import GLM
from glmctl.core.open import Glm
from glmctl.core.tokenizer.load import load_tokenizer
from glmctl.recipe.model import ModelConfig, TokenizerConfig

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "paris", "is", "nice", "old", "and", "."]


@pytest.fixture
def constant_glm(tmp_path: Path) -> Callable[[str], Glm]:
    """A model of twelve positions that predicts one given token everywhere."""
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    section = TokenizerConfig(
        kind="wordpiece", path=str(tmp_path / "vocab.txt"), special="glm-english-task"
    )
    tokenizer = load_tokenizer(section)

    def make(token: str) -> Glm:
        config = ModelConfig(
            num_layers=1, hidden_size=4, num_attention_heads=1, max_positions=12, vocab_rows=32
        )
        module = GLM(config).eval()
        with torch.no_grad():
            for weight in module.parameters():
                weight.zero_()
            module.final_norm.bias[0] = 1.0
            module.word_embedding.weight[tokenizer.encode(token)[0], 0] = 1.0
        return Glm(config, {}, tokenizer, source="constant model", module=module)

    return make
