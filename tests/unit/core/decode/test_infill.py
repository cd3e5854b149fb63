import math

import pytest

from glmctl.core.decode.search import Fill
from glmctl.core.open import load
from glmctl.errors import InputError, UsageError
from glmctl.recipe.schema import DecodeConfig


def test_a_blank_that_does_not_end_stops_at_the_limit(constant_glm):
    (filled,) = constant_glm("nice").infill(["Paris is [MASK]."], max_new_tokens=3)
    assert filled.text == "Paris is nice nice nice."
    assert filled.blanks[0].text == "nice nice nice"
    assert filled.blanks[0].ids == (7, 7, 7)
    assert filled.blanks[0].finish == "length"


def test_no_token_stands_beyond_the_last_position_of_the_model(constant_glm):
    (filled,) = constant_glm("nice").infill(["[MASK]"], max_new_tokens=1000)
    assert len(filled.blanks[0].ids) == 12


@pytest.mark.parametrize("end", ["<|endofpiece|>", "[PAD]"])
def test_an_end_token_ends_a_blank_and_is_not_kept(constant_glm, end):
    (filled,) = constant_glm(end).infill(["Paris is [MASK]old."])
    assert filled.text == "Paris is old."
    assert (filled.blanks[0].ids, filled.blanks[0].finish) == ((), "end")
    assert filled.blanks[0].log_prob == 0.0


def test_log_prob_is_the_sum_over_the_ids(constant_glm):
    (filled,) = constant_glm("nice").infill(["[MASK]"], max_new_tokens=2)
    # One logit of 1 among 32 rows, the others 0.
    assert filled.blanks[0].log_prob == pytest.approx(2 * (1 - math.log(math.e + 31)))


def test_a_setting_out_of_its_range_is_refused(constant_glm):
    with pytest.raises(UsageError, match=r"decode\.max_new_tokens: "):
        constant_glm("nice").infill(["[MASK]"], max_new_tokens=0)


def test_blanks_of_every_kind_are_filled_in_order(constant_glm):
    texts = ["Paris [MASK] and [sMASK]. [gMASK]"]
    (filled,) = constant_glm("old").infill(texts, max_new_tokens=1)
    assert filled.text == "Paris old and old. old"
    assert [blank.finish for blank in filled.blanks] == ["length"] * 3


def test_part_a_ends_in_eos_unless_the_text_ends_in_a_document_blank(constant_glm):
    glm = constant_glm("old")
    special = glm.tokenizer.special
    assert glm.prompt("Paris [sMASK]", "").part_a == (2, 5, special.smask, special.eos)
    assert glm.prompt("Paris [gMASK]", "").part_a == (2, 5, special.gmask)


def test_a_text_without_a_blank_is_refused_with_its_place(constant_glm):
    with pytest.raises(InputError, match="text 2: holds no blank; write"):
        constant_glm("old").infill(["[MASK]", "Paris"])


def test_a_text_longer_than_the_model_is_refused_with_both_numbers(constant_glm):
    with pytest.raises(InputError, match="text 1: is 14 tokens long and the model has 12 pos"):
        constant_glm("old").infill(["[MASK]" + " old" * 11])


def test_the_rest_of_the_text_stays_as_typed_and_the_space_is_not_doubled(tiny_model):
    glm = load(tiny_model)
    text = "The  bakery opens [MASK], \u00fcber [MASK]\tsix. "
    (filled,) = glm.infill([text], max_new_tokens=4)
    first, second = (blank.text for blank in filled.blanks)
    assert filled.text == f"The  bakery opens {first}, \u00fcber {second}\tsix. "
    assert not first.startswith(" ")


TEXTS = [
    "The bakery [MASK] at six.",
    "[MASK]",
    "Her grey cat [MASK] beside the [MASK], and [gMASK]",
    "opens [sMASK] two [MASK]",
]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 1.0, "top_k": 50, "seed": 7},
        {"num_beams": 3, "length_penalty": 0.7, "no_repeat_ngram": 2},
    ],
)
def test_no_result_depends_on_the_batch(tiny_model, settings):
    glm = load(tiny_model)
    together = glm.infill(TEXTS, max_new_tokens=8, **settings)
    in_pairs = glm.infill(TEXTS, max_new_tokens=8, batch_size=1, **settings)
    assert [filled.text for filled in together] == [filled.text for filled in in_pairs]
    for one, other in zip(together, in_pairs, strict=True):
        for a, b in zip(one.blanks, other.blanks, strict=True):
            assert a.ids == b.ids
            assert a.log_prob == pytest.approx(b.log_prob, abs=1e-5)


def test_the_best_fills_are_listed_with_the_one_that_was_taken_first(tiny_model):
    glm = load(tiny_model)
    texts = ["The bakery [MASK] at six and [MASK]."]
    (filled,) = glm.infill(texts, num_beams=4, n_best=3, max_new_tokens=5)
    for blank in filled.blanks:
        assert len({fill.ids for fill in blank.n_best}) == 3
        assert blank.ids == blank.n_best[0].ids
        scores = [fill.score for fill in blank.n_best]
        assert scores == sorted(scores, reverse=True)
    (other,) = glm.infill(texts, num_beams=4, max_new_tokens=5)
    assert (other.text, other.blanks[0].n_best) == (filled.text, ())


def test_texts_alike_in_length_share_a_batch(constant_glm, monkeypatch):
    glm = constant_glm("old")
    batches = []

    def fill_blanks(model, prompts, special, size, config, numbers, ends):
        batches.append(
            [(number, len(prompt.part_a)) for number, prompt in zip(numbers, prompts, strict=True)]
        )
        return [[Fill((number,), 0.0, "end")] for number in numbers]

    monkeypatch.setattr("glmctl.core.open.fill_blanks", fill_blanks)
    prompts = [glm.prompt("[MASK]" + " old" * n, "") for n in (4, 0, 5, 1)]
    fills = glm.fill(prompts, [11, 12, 13, 14], DecodeConfig(), None, 2)
    assert batches == [[(12, 3), (14, 4)], [(11, 7), (13, 8)]]
    assert [fill.ids for (fill,) in fills] == [(11,), (12,), (13,), (14,)]


def test_the_seed_decides_the_draws(tiny_model):
    glm = load(tiny_model)
    drawn = [
        glm.infill(["[MASK] and [MASK]"], max_new_tokens=8, temperature=1.0, seed=seed)
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]


def test_equal_lines_get_draws_of_their_own(tiny_model):
    first, second = load(tiny_model).infill(["[MASK]"] * 2, max_new_tokens=8, temperature=1.0)
    assert first != second


def test_infilling_leaves_the_module_in_its_mode(tiny_model):
    glm = load(tiny_model)
    glm.module.train()
    first, second = (
        glm.infill(["[MASK]"], max_new_tokens=8),
        glm.infill(["[MASK]"], max_new_tokens=8),
    )
    assert glm.module.training
    assert first == second
