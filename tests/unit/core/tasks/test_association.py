"""Effect sizes and permutation tests by hand (Caliskan et al. 2017), and what stands for a text."""

import json

import numpy as np
import pytest
import torch

from glmctl.core.model.sight import Segments
from glmctl.core.open import load
from glmctl.core.tasks.answer import answer, ask_all
from glmctl.core.tasks.ask import Asker
from glmctl.core.tasks.association import associations, effect_size, means, p_value
from glmctl.core.tasks.read import read_examples

EAST, NORTH = np.array([[2.0, 0.0]]), np.array([[0.0, 3.0]])  # lengths do not count


@pytest.mark.parametrize(
    ("x", "y", "effect", "chance"),
    [
        # 1 and -0.2 against -1 and 0.2: means 0.4 apart from 0, squares add up to 2.08. Of the six
        # sums of two, 0.8 and 1.2 are as large.
        ([1.0, -0.2], [-1.0, 0.2], 0.8 / (2.08 / 3) ** 0.5, 2 / 6),
        ([1.0, 0.9], [-1.0, -0.9], 1.9 / (3.62 / 3) ** 0.5, 1 / 6),
        ([-1.0, -0.9], [1.0, 0.9], -1.9 / (3.62 / 3) ** 0.5, 1.0),
        ([1.0, 0.0], [0.0, 1.0], 0.0, 5 / 6),  # ties: all but the sum of 0
        ([1.0], [0.0, -1.0], 1.5, 1 / 3),  # sets may differ in size
        ([0.5, 0.5, 0.1], [0.1, 0.5, 0.5], 0.0, 16 / 20),  # all but those with 0.1 twice
    ],
)
def test_effect_and_chance_by_hand(x, y, effect, chance):
    assert effect_size(np.array(x), np.array(y)) == pytest.approx(effect, abs=1e-12)
    assert p_value(np.array(x), np.array(y)) == pytest.approx(chance, abs=1e-12)


def test_an_association_is_a_difference_of_cosines():
    texts = np.array([[3.0, 0.0], [0.3, 0.4], [0.0, 1.0], [8.0, 6.0]])
    expected = [1.0, 0.6 - 0.8, -1.0, 0.8 - 0.6]
    assert associations(texts, EAST, NORTH) == pytest.approx(expected, abs=1e-12)
    both = np.concatenate([EAST, NORTH])
    assert associations(texts, both, NORTH) == pytest.approx(np.array(expected) / 2, abs=1e-12)


def test_of_many_ways_some_are_drawn_always_the_same_and_the_actual_one_counts():
    x, y = np.linspace(1.0, 2.0, 10), np.linspace(-2.0, -1.0, 10)  # 184,756 ways
    assert p_value(x, y) == pytest.approx(1 / 100_000, abs=2e-4)
    assert p_value(x, y) == p_value(x, y) >= 1 / 100_000
    assert p_value(x, x) == pytest.approx(0.5, abs=0.05)  # ties count


def test_a_text_is_the_mean_of_its_last_hidden_states(builtin, tmp_path):
    glm = load("glmctl-default")
    sets = {"targ1": ["It is hot.", "An oven."], "targ2": ["A cat."], "attr1": ["bread"]}
    record = {name: {"examples": texts} for name, texts in (sets | {"attr2": ["milk"]}).items()}
    (tmp_path / "sent-own.jsonl").write_text(json.dumps(record, indent=1))
    task = builtin("seat")
    asker = Asker(task, glm.scoring_tokenizer(), glm.config)
    rows = read_examples(tmp_path / "sent-own.jsonl", task)
    ((question,), problems) = ask_all(asker, rows)
    assert problems == []
    assert question.answers == ("It is hot.", "An oven.", "A cat.", "bread", "milk")
    special = asker.special
    ids = [special.cls, *glm.tokenizer.encode("An oven."), special.eos]
    places = torch.tensor([[*range(len(ids))], [0] * len(ids)])
    hidden = glm.module.hidden(torch.tensor(ids), places, Segments((len(ids),), (len(ids),)))
    found = means(glm.module, question.candidates)
    assert found[1] == pytest.approx(hidden.double().mean(0).detach().numpy(), abs=1e-5)
    (it,) = answer(glm.module, asker, [question], id)
    x, y, a, b = found[:2], found[2:3], found[3:4], found[4:]
    near_x, near_y = associations(x, a, b), associations(y, a, b)
    assert it.scores == {
        "effect_size": effect_size(near_x, near_y), "p_value": p_value(near_x, near_y)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ("", "has an empty set among x, y, a, b"),
        ("word " * 600, "has a text of 3,002 tokens; 100 are"),
    ],
)
def test_sets_that_cannot_be_compared_are_one_rows_problem(builtin, ask, x, message):
    sets = {"targ1": [x] if x else [], "targ2": ["b"], "attr1": ["c"], "attr2": ["d"]}
    with pytest.raises(ValueError, match=message):
        ask(builtin("seat"), {name: {"examples": it} for name, it in sets.items()}, 100)
