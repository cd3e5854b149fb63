"""What a task changes in its rows for training alone: mirrored, fewer candidates, claims."""

import math

import pytest

from glmctl.core.open import Glm, load
from glmctl.core.tasks.ask import Asker, Question
from glmctl.core.tasks.read import examples_of
from glmctl.core.tasks.schema import TaskConfig
from glmctl.core.train.lessons import lessons_of, make_batch, mirrored

COPA = {
    "name": "why", "kind": "choice", "fields": {"p": "p", "a": "a", "b": "b"},
    "choices": ["{a}", "{b}"], "mirror": ["a", "b"], "patterns": ["{a} or {b}? {p} [MASK]"],
}  # fmt: skip
RECORD = {
    "name": "who", "kind": "choice", "fields": {"p": "p"}, "num_negatives": 3, "id": ["id"],
    "listed_choices": {"path": "names"}, "golds": {"path": "right"}, "patterns": ["{p} [MASK]"],
}  # fmt: skip
WSC = {
    "name": "it", "kind": "choice", "fields": {"p": "p", "claim": "claim"}, "choices": ["{claim}"],
    "listed_choices": {"path": "names", "optional": True}, "labels": ["false", "true"],
    "first_is_claim": True, "patterns": ["{p} [MASK]"],
}  # fmt: skip
NAMES = ["bakery", "cat", "oven", "six", "two", "eyes"]


@pytest.fixture
def glm(tiny_model) -> Glm:
    return load(tiny_model, dtype="float64")


def ask(glm: Glm, table: dict, row: dict) -> tuple[Asker, Question]:
    asker = Asker(TaskConfig.model_validate(table), glm.tokenizer, glm.config)
    (example,) = examples_of(row, asker.task, "rows", 1)
    return asker, asker.ask(example)


@pytest.mark.parametrize(("label", "other"), [(0, "1"), (1, "0")])
def test_the_other_way_round_the_same_choice_is_right(glm, label, other):
    asker, question = ask(glm, COPA, {"p": "It sleeps", "a": "cat", "b": "oven", "label": label})
    turned = mirrored(asker, question)
    assert turned.answers == question.answers[::-1]
    assert turned.example.golds == (other,)
    (lesson,), (back,) = lessons_of(asker, question), lessons_of(asker, turned)
    texts = [it.question.candidates[it.right].targets for it in (lesson, back)]
    assert texts[0] == texts[1]
    read = glm.tokenizer.decode(turned.part_a)
    assert "oven or cat?" in read


def test_so_many_wrong_candidates_stay_beside_each_right_one(glm):
    row = {"id": 4, "p": "At two the", "names": NAMES, "right": ["cat", "oven"]}
    asker, question = ask(glm, RECORD, row)
    first, second = lessons_of(asker, question)
    for lesson, right in ((first, "cat"), (second, "oven")):
        answers = lesson.question.answers
        assert answers[lesson.right] == right
        assert len(answers) == 4
        assert {*answers} & {"cat", "oven"} == {right}
        assert [*answers] == [name for name in NAMES if name in answers]
    assert [*lessons_of(asker, question)] == [first, second]
    drawn = set()
    for number in range(20):
        asker, question = ask(glm, RECORD, row | {"id": number})
        drawn |= {answer for it in lessons_of(asker, question) for answer in it.question.answers}
    assert drawn == {*NAMES}


def test_a_true_claim_is_learned_against_its_rivals_and_a_false_one_is_not(glm):
    row = {"p": "It sleeps", "claim": "cat", "names": ["oven", "bakery"], "label": True}
    asker, question = ask(glm, WSC, row)
    (lesson,) = lessons_of(asker, question)
    assert (lesson.question.answers, lesson.right) == (("cat", "oven", "bakery"), 0)
    assert make_batch([lesson], asker).num_targets == 1
    assert not [*lessons_of(*ask(glm, WSC, row | {"label": False}))]


def test_a_claim_without_rivals_is_learned_token_by_token(glm):
    asker, question = ask(glm, WSC, {"p": "It sleeps", "claim": "grey cat", "label": True})
    (lesson,) = lessons_of(asker, question)
    batch = make_batch([lesson], asker)
    (candidate,) = lesson.question.candidates
    assert batch.num_targets == len(candidate.targets)
    total, _ = glm.module.loss(
        batch.input_ids, batch.position_ids, batch.segments, batch.wanted, batch.target_ids,
        batch.choices,
    )  # fmt: skip
    (score,) = glm.score(["It sleeps [MASK]"], [["grey cat"]], include_end=True)
    assert math.isclose(total.item(), -score[0], rel_tol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mirror": ["a"]}, "mirror: swaps two fields and two labels; name two fields"),
        ({"mirror": ["a", "c"]}, "mirror: 'c' is no field; there are p, a, b"),
        ({"choices": ["{a}"]}, "mirror: swaps two fields and two labels"),
        (
            {"kind": "cloze", "verbalizer": {"0": "a", "1": "b"}, "num_negatives": 2, "mirror": []},
            "num_negatives: kind cloze does not read it",
        ),
    ],
)
def test_keys_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        TaskConfig.model_validate(COPA | change)
