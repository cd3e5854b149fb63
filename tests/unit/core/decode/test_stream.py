import pytest
import torch

from glmctl.core.decode.infill import insert, open_rows, stream_fills
from glmctl.core.open import load
from glmctl.recipe.schema import DecodeConfig

TEXT = "The cat [MASK] beside \u00fc [MASK], and\n[sMASK]"


def stream(glm, text, **settings):
    config = DecodeConfig(max_new_tokens=9, **settings)
    prompt = glm.prompt(text, "text")
    (row,) = open_rows([prompt], config, [1])
    return [*stream_fills(glm.module, prompt, row, glm.tokenizer, config)], row.fills


@pytest.mark.parametrize("settings", [{}, {"temperature": 1.0, "seed": 4}])
def test_what_the_text_grows_by_makes_the_filled_text(tiny_model, settings):
    glm = load(tiny_model)
    tokens, fills = stream(glm, TEXT, **settings)
    (filled,) = glm.infill([TEXT], max_new_tokens=9, **settings)
    assert "".join(token.text for token in tokens) == filled.text
    assert insert(glm.prompt(TEXT, "text"), fills, glm.tokenizer) == filled
    for number, fill in enumerate(fills, 1):
        chosen = fill.ids if fill.end is None else (*fill.ids, fill.end)
        assert [token.token_id for token in tokens if token.blank == number] == [*chosen]
        log_probs = [token.log_prob for token in tokens if token.blank == number]
        assert log_probs == [*fill.token_log_probs]


def test_a_character_appears_when_its_last_byte_is_there(tiny_model, monkeypatch):
    glm = load(tiny_model)
    drawn = iter(glm.tokenizer.encode("\u00fc\u00fc"))
    assert len(glm.tokenizer.encode("\u00fc")) == 2

    def one_certain_token(hidden):
        logits = torch.full((1, glm.config.vocab_rows), -1e9)
        logits[0, next(drawn)] = 0.0
        return logits

    monkeypatch.setattr(glm.module, "logits", one_certain_token)
    config = DecodeConfig(max_new_tokens=4)
    prompt = glm.prompt("a [MASK].", "text")
    (row,) = open_rows([prompt], config, [1])
    tokens = [*stream_fills(glm.module, prompt, row, glm.tokenizer, config)]
    assert [token.text for token in tokens] == ["a ", "\u00fc", "", "\u00fc."]


def test_no_gradient_mode_leaks_between_tokens(tiny_model):
    glm = load(tiny_model)
    config = DecodeConfig(max_new_tokens=2)
    prompt = glm.prompt("a [MASK].", "text")
    (row,) = open_rows([prompt], config, [1])
    for _ in stream_fills(glm.module, prompt, row, glm.tokenizer, config):
        assert not torch.is_inference_mode_enabled()
    assert row.is_done
