import math

import pytest
import torch

from glmctl.core.decode.score import Candidate, groups, score_candidates
from glmctl.core.open import load
from glmctl.errors import InputError


def test_a_score_sums_over_the_tokens_of_a_choice_without_the_end(constant_glm):
    # The logit of "nice" is 1, those of the other 31 rows are 0.
    log_sum = math.log(math.e + 31)
    scores = constant_glm("nice").score(["Paris is [MASK]."], [["nice", "old and nice"]])
    assert scores == [pytest.approx([1 - log_sum, 1 - 3 * log_sum])]


def test_include_end_adds_the_end_of_piece(constant_glm):
    log_sum = math.log(math.e + 31)
    glm = constant_glm("<|endofpiece|>")
    scores = glm.score(["Paris is [MASK]."], [["nice"]], include_end=True)
    assert scores == [pytest.approx([1 - 2 * log_sum])]


def test_scores_equal_those_of_all_logits(tiny_model):
    glm = load(tiny_model)
    special = glm.tokenizer.special
    part_a = glm.prompt("The cat [MASK] beside", "").part_a
    (scores,) = glm.score(["The cat [MASK] beside"], [["sleeps", "opens at six"]])
    for score, choice in zip(scores, (" sleeps", " opens at six"), strict=True):
        ids = glm.tokenizer.encode(choice)
        row = torch.tensor([[*part_a, special.sop, *ids]])
        log_probs = glm.logits(row).log_softmax(2)[0, len(part_a) :]
        expected = sum(log_probs[i, token].item() for i, token in enumerate(ids))
        assert score == pytest.approx(expected, abs=1e-5)


def test_lists_of_any_length_keep_their_places(tiny_model):
    glm = load(tiny_model)
    texts = ["The [MASK] opens", "[MASK]", "grey [MASK]"]
    together = glm.score(texts, [["bakery", "cat"], [], ["oven"]])
    assert [len(scores) for scores in together] == [2, 0, 1]
    assert together[2] == pytest.approx(glm.score([texts[2]], [["oven"]])[0], abs=1e-5)


def test_the_best_choice_fills_each_blank_with_the_earlier_ones_in_sight(tiny_model):
    glm = load(tiny_model)
    words = ["six", "two", "oven"]
    (filled,) = glm.infill(["opens at [MASK], closes at [MASK]."], choices=words)
    first, second = filled.blanks
    assert filled.text == f"opens at {first.text}, closes at {second.text}."
    assert (first.finish, second.finish) == ("choice", "choice")
    # The same by hand: all three words for the second blank, after the word for the first one.
    special = glm.tokenizer.special
    prompt = glm.prompt("opens at [MASK], closes at [MASK].", "")
    totals = []
    for word in words:
        ids = glm.tokenizer.encode(f" {word}")
        row = torch.tensor([[*prompt.part_a, special.sop, *first.ids, special.sop, *ids]])
        log_probs = glm.logits(row).log_softmax(2)[0, -len(ids) - 1 :]
        totals.append(sum(log_probs[i, token].item() for i, token in enumerate(ids)))
    assert second.text == words[totals.index(max(totals))]
    assert second.log_prob == pytest.approx(max(totals), abs=1e-5)


def test_control_strings_in_a_choice_are_text(tiny_model):
    glm = load(tiny_model)
    (filled,) = glm.infill(["[MASK]"], choices=["[gMASK]"])
    assert filled.text == "[gMASK]"
    assert glm.tokenizer.special.gmask not in filled.blanks[0].ids


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ([""], "choice '': has 0 tokens; it needs at least one"),
        ([], "choices: are empty; give at least one"),
        (["old " * 13], "has 13 tokens; it needs at least one and at most 12"),
    ],
)
def test_choices_that_cannot_stand_in_a_blank_are_refused(constant_glm, choices, message):
    with pytest.raises(InputError, match=message):
        constant_glm("old").infill(["[MASK]"], choices=choices)


def test_a_score_is_of_one_blank(constant_glm):
    with pytest.raises(InputError, match="text 1: holds 2 blanks; a score is that of one"):
        constant_glm("old").score(["[MASK] [MASK]"], [["old"]])


def test_every_text_needs_its_list_of_choices(constant_glm):
    with pytest.raises(InputError, match="choices: 2 lists for 1 texts"):
        constant_glm("old").score(["[MASK]"], [["old"], ["nice"]])


def test_many_candidates_are_scored_in_several_passes():
    candidates = [Candidate((*range(998), i), (), 5, (7,)) for i in range(20)]
    assert [len(group) for group in groups(candidates)] == [8, 8, 4]


def test_a_part_a_that_candidates_share_counts_once():
    candidates = [Candidate(tuple(range(999)), (), 5, (7, i)) for i in range(20)]
    assert [len(group) for group in groups(candidates)] == [20]


def test_candidates_that_share_part_a_score_as_each_alone(tiny_model):
    module = load(tiny_model).module
    one, other = (7, 5, 30, 8), (7, 30, 9)
    earlier = ((380, 1, 1), (12, 1, 2))
    candidates = [
        Candidate(one, (), 2, (11, 12, 13)),
        Candidate(one, (), 2, (11, 12, 14)),
        Candidate(one, (), 2, (15,)),
        Candidate(one, earlier, 2, (15, 16)),
        Candidate(one, (), 1, (15, 16)),
        Candidate(other, (), 1, (15, 16)),
    ]
    together = score_candidates(module, candidates, sop=380)
    for candidate, score in zip(candidates, together, strict=True):
        (alone,) = score_candidates(module, [candidate], sop=380)
        assert score.log_prob == pytest.approx(alone.log_prob, abs=1e-5)
        assert score.logit == pytest.approx(alone.logit, abs=1e-5)
    assert len({round(score.log_prob, 4) for score in together}) == len(candidates)


def test_a_candidate_is_greedy_when_each_of_its_tokens_is_the_best(tiny_model):
    glm = load(tiny_model)
    prompt, sop = glm.prompt("The cat [MASK] beside", ""), glm.tokenizer.special.sop
    targets: list[int] = []
    for _ in range(3):
        row = torch.tensor([[*prompt.part_a, sop, *targets]])
        targets.append(int(glm.logits(row)[0, -1].argmax()))
    second = targets[1] - 1
    offers = [(*targets,), (targets[0],), (targets[0], second, targets[2]), (second,)]
    candidates = [Candidate(prompt.part_a, (), prompt.places[0], ids) for ids in offers]
    scores = score_candidates(glm.module, candidates, sop)
    assert [score.num_missed == 0 for score in scores] == [True, True, False, False]


def test_many_rows_are_scored_like_few(tiny_model, monkeypatch):
    module = load(tiny_model).module
    candidates = [Candidate((7, 5, 30, i), (), 2, (11, i, 13)) for i in range(9)]
    at_once = score_candidates(module, candidates, sop=380)
    monkeypatch.setattr("glmctl.core.decode.score.MAX_ROWS", 4)
    in_parts = score_candidates(module, candidates, sop=380)
    assert [score.log_prob for score in in_parts] == pytest.approx(
        [score.log_prob for score in at_once], abs=1e-5
    )
