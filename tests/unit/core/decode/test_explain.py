from math import exp

import pytest

from glmctl.core.decode.explain import FedToken, explain
from glmctl.core.decode.search import Fill

SOP, EOP = "<|startofpiece|>", "<|endofpiece|>"


def test_each_token_of_a_blank_shows_where_it_is_fed_and_what_follows(constant_glm):
    glm = constant_glm("old")
    special = glm.tokenizer.special
    prompt = glm.prompt("Paris [MASK] and [MASK].", "")
    fills = [
        Fill((7, 8), -3.0, "end", special.eop, (-1.0, -2.0, -0.5)),
        Fill((8,), -4.0, "length", None, (-4.0,)),
    ]
    explained = explain(prompt, fills, glm.tokenizer)
    assert explained.part_a == ("[CLS]", "paris", "[MASK]#1", "and", "[MASK]#2", ".", "[PAD]")
    assert explained.num_tokens == 7
    assert explained.blanks == (
        (
            FedToken(SOP, 2, 1, "nice", exp(-1.0)),
            FedToken("nice", 2, 2, "old", exp(-2.0)),
            FedToken("old", 2, 3, EOP, exp(-0.5)),
        ),
        (FedToken(SOP, 4, 1, "old", exp(-4.0)),),
    )


def test_of_a_long_text_the_ends_and_what_is_around_the_blanks_is_shown(constant_glm):
    glm = constant_glm("old")
    object.__setattr__(glm, "config", glm.config.model_copy(update={"max_positions": 99}))
    prompt = glm.prompt("nice " * 20 + "[MASK]" + " is" * 20, "")
    shown = explain(prompt, [Fill((), 0.0, "end", 0, (-1.0,))], glm.tokenizer).part_a
    assert shown == (
        "[CLS]", "(12 more)", *["nice"] * 8, "[MASK]#1", *["is"] * 8, "(12 more)", "[PAD]",
    )  # fmt: skip


@pytest.mark.parametrize("beams", [1, 3])
def test_the_probabilities_are_those_of_the_fill(tiny_model, beams):
    from glmctl.core.open import load
    from glmctl.recipe.schema import DecodeConfig

    glm = load(tiny_model)
    prompt = glm.prompt("The cat [MASK] beside", "")
    config = DecodeConfig(num_beams=beams, max_new_tokens=5)
    ((fill,),) = glm.fill([prompt], [1], config, None, 1)
    (tokens,) = explain(prompt, [fill], glm.tokenizer).blanks
    product = 1.0
    for token in tokens[: len(fill.ids)]:
        product *= token.probability
    assert product == pytest.approx(exp(fill.log_prob), rel=1e-6)
