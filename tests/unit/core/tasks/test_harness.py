"""The model class for lm-evaluation-harness, on a stand-in for its base class."""

import importlib
import math
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from glmctl.core.open import load


@pytest.fixture
def harness(monkeypatch):
    """The module, whether or not lm-eval is installed: all it takes from there is a base class."""
    names = ("lm_eval", "lm_eval.api", "lm_eval.api.model")
    for name in names:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules[names[-1]].LM = type("LM", (), {})
    monkeypatch.delitem(sys.modules, "glmctl.core.tasks.harness", raising=False)
    yield importlib.import_module("glmctl.core.tasks.harness")
    sys.modules.pop("glmctl.core.tasks.harness", None)


def requests(*arguments):
    return [SimpleNamespace(args=args) for args in arguments]


def test_a_continuation_is_scored_as_the_fill_of_a_blank_behind_its_context(harness, tiny_model):
    glm = load(tiny_model)
    model = harness.HarnessModel(glm)
    asked = requests(("The cat", " sleeps"), ("The cat", " eats"), ("The oven", " is hot"))
    found = model.loglikelihood(asked)
    (cat, oven) = glm.score(
        ["The cat[gMASK]", "The oven[gMASK]"], [[" sleeps", " eats"], [" is hot"]]
    )
    assert [value for value, _ in found] == pytest.approx([*cat, *oven], abs=1e-5)
    (written,) = model.generate_until(requests(("The cat", {"until": [], "max_gen_toks": 1})))
    ((_, is_greedy),) = model.loglikelihood(requests(("The cat", written)))
    assert is_greedy == (len(model.encode(written)) == 1)


def test_a_causal_model_reads_on(harness, chat_models):
    glm = load(chat_models / "glm-4")
    model = harness.HarnessModel(glm)
    ((value, _),) = model.loglikelihood(requests(("The oven", " is hot")))
    special, context = glm.tokenizer.special, [*model.encode("The oven")]
    answer = [*model.encode(" is hot")]
    row = torch.tensor([[special.gmask, special.sop, *context, *answer]])
    log_probs = glm.logits(row)[0, -len(answer) - 1 : -1].log_softmax(-1)
    expected = log_probs.gather(1, torch.tensor(answer)[:, None]).sum().item()
    assert value == pytest.approx(expected, abs=1e-4)


def test_a_context_that_is_too_long_loses_its_beginning(harness, tiny_model):
    model = harness.HarnessModel(load(tiny_model))
    candidate = model.candidate(tuple(range(10, 200)), (5, 6))
    assert candidate.part_a[-2] == 199
    assert len(candidate.part_a) + 2 == model.glm.config.max_positions
    assert candidate.targets == (5, 6)


def test_every_token_of_a_long_text_is_scored(harness, tiny_model):
    model = harness.HarnessModel(load(tiny_model))
    text = "The grey cat sleeps beside the oven. " * 12
    (total,) = model.loglikelihood_rolling(requests((text,)))
    assert -2 * math.log(512) < total / len(model.encode(text)) < 0


def test_what_is_written_ends_before_the_first_stop(harness, tiny_model):
    model = harness.HarnessModel(load(tiny_model))
    (whole,) = model.generate_until(requests(("The cat", {"max_gen_toks": 12})))
    stop = whole[len(whole) // 2]
    (cut,) = model.generate_until(requests(("The cat", {"max_gen_toks": 12, "until": [stop]})))
    assert cut == whole.partition(stop)[0]
