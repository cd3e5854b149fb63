"""What each family reads around a text, and that its tokens are scored once by the model's law."""

import pytest
import torch

from glmctl.core.decode.score import score_candidates
from glmctl.core.open import load
from glmctl.core.tasks.frame import frame_of

FAMILIES = ["chatglm", "chatglm2", "chatglm3", "glm-4", "glm-4-0414"]
TEXT = "The oven is hot and the bread is good."


@pytest.fixture
def framed(chat_models, tiny_model):
    def open_model(name: str):
        glm = load(tiny_model if name == "glm" else chat_models / name, dtype="float64")
        tokenizer = glm.any_tokenizer()
        return glm, frame_of(tokenizer, is_causal=glm.config.attention == "causal")

    return open_model


def total(glm, candidates) -> float:
    with torch.inference_mode():
        scores = score_candidates(glm.module, candidates, glm.tokenizer.special.sop)
    return sum(score.log_prob for score in scores)


@pytest.mark.parametrize("name", FAMILIES)
def test_going_on_with_a_text_is_scored_as_the_format_s_own_layout(framed, name):
    glm, frame = framed(name)
    ids, special = tuple(glm.tokenizer.encode(TEXT))[:12], glm.tokenizer.special
    known, new = ids[:5], ids[5:]
    candidate = frame.candidate(known, special.gmask, (), new)
    # ChatGLM-6B writes its start behind the text, the models after it in front of it.
    start = [special.gmask, special.sop]
    row = [*known, *start, *new] if name == "chatglm" else [*start, *known, *new]
    log_probs = glm.logits(torch.tensor([row]))[0].log_softmax(-1)
    first = len(row) - len(new)
    expected = sum(log_probs[first + i - 1, token].item() for i, token in enumerate(new))
    assert total(glm, [candidate]) == pytest.approx(expected, abs=1e-9)


def test_a_causal_model_scores_what_follows_the_blank_too(framed):
    _, frame = framed("glm-4")
    candidate = frame.candidate((7, 8), 3, (9,), (5, 6))
    assert candidate.part_a[-2:] == (7, 8)
    assert (candidate.place, candidate.targets) == (None, (5, 6, 9))


def test_candidates_of_a_causal_model_do_not_see_each_other(framed):
    glm, frame = framed("chatglm2")
    candidates = [frame.candidate((5, 6), 0, (9,), answer) for answer in ((3,), (3, 4), (7, 7))]
    alone = [total(glm, [candidate]) for candidate in candidates]
    together = score_candidates(glm.module, candidates, glm.tokenizer.special.sop)
    assert [score.log_prob for score in together] == pytest.approx(alone, abs=1e-9)


@pytest.mark.parametrize("one_way", [True, False])
@pytest.mark.parametrize("name", ["glm", "chatglm", "glm-4"])
@pytest.mark.parametrize("number", [2, 9, 10, 11, 23])
def test_windows_score_each_token_but_the_first_once(framed, name, one_way, number):
    _, frame = framed(name)
    ids = [*range(100, 100 + number)]
    windows = [*frame.windows(ids, 10, 4, one_way=one_way)]
    scored = [token for it in windows for token in it.targets[it.num_given :]]
    assert scored == ids[1:]
    # The released count: one window, and one more for each 4 tokens behind the first 10.
    assert len(windows) == max(-(-max(number - 10, 0) // 4) + 1, 1)
    for window in windows:
        assert len([it for it in (*window.part_a, *window.targets) if it in ids]) <= 10


def test_a_window_read_one_way_gives_only_its_first_token_to_part_a(framed):
    glm, frame = framed("glm")
    special = glm.tokenizer.special
    _, later = frame.windows([*range(100, 112)], 10, 4, one_way=True)
    assert later.part_a == (special.cls, 104, special.mask_for("document"))
    assert (later.targets, later.num_given) == (tuple(range(105, 112)), 5)
    _, later = frame.windows([*range(100, 112)], 10, 4, one_way=False)
    assert later.part_a == (special.cls, *range(104, 110), special.mask_for("document"))
    assert (later.targets, later.num_given) == ((110, 111), 0)


def test_tokens_that_are_given_change_the_score_and_are_not_in_it(framed):
    glm, frame = framed("glm")
    blank = glm.tokenizer.special.mask
    whole = frame.one_way((100,), blank, (101, 102, 103))
    first, rest = frame.one_way((100,), blank, (101,)), frame.one_way((100, 101), blank, (102, 103))
    assert total(glm, [first]) + total(glm, [rest]) == pytest.approx(total(glm, [whole]), abs=1e-9)
    assert total(glm, [whole, rest]) == pytest.approx(
        total(glm, [whole]) + total(glm, [rest]), abs=1e-9
    )
