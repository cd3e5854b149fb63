"""What a fine-tuning adds to a model: a prompt, a head, and who asks by them."""

import re
from dataclasses import replace

import pytest
import torch

from glmctl.core.decode.classify import class_scores
from glmctl.core.model.sight import Segments
from glmctl.core.open import Glm, load
from glmctl.core.tasks.answer import answer
from glmctl.core.tasks.ask import Asker, Question
from glmctl.core.tasks.learned import asker_for
from glmctl.core.tasks.read import Example
from glmctl.core.tasks.schema import TaskConfig
from glmctl.core.train.lessons import lessons_of, make_batch
from glmctl.core.train.parts import add_parts, add_prompt
from glmctl.core.train.preflight import samples
from glmctl.errors import InputError, UsageError
from glmctl.recipe.schema import AdapterConfig

MOOD = {
    "name": "mood", "patterns": ["{text} It is [MASK]."], "verbalizer": {"a": "cat", "b": "oven"},
}  # fmt: skip
LABELS = {"name": "bare", "head": True, "labels": ["x", "y", "z"], "patterns": ["{text}"]}
COPA = {
    "name": "why", "head": True, "kind": "choice", "choices": ["{a}", "{b}"],
    "patterns": ["{text} [MASK]"],
}  # fmt: skip
WSC = {
    "name": "it", "head": True, "kind": "choice", "choices": ["{a}"], "labels": ["false", "true"],
    "first_is_claim": True, "patterns": ["{text} [MASK]"],
}  # fmt: skip
FIELDS = {"text": "The cat", "a": "sleeps", "b": "opens"}


@pytest.fixture
def glm(tiny_model) -> Glm:
    return load(tiny_model)


def asker_of(glm: Glm, table: dict, adapter: AdapterConfig | None = None) -> Asker:
    return Asker(TaskConfig.model_validate(table), glm.tokenizer, glm.config, "auto", adapter)


def ask(asker: Asker, gold: str, **fields: str) -> Question:
    return asker.ask(Example("rows:1", (1,), (1,), FIELDS | fields, (), (gold,)))


def ids_of(glm: Glm, text: str) -> list[int]:
    special = glm.tokenizer.special
    return [special.cls, *glm.tokenizer.encode(text), special.eos]


def prompt(**sizes: int) -> AdapterConfig:
    return AdapterConfig(kind="p_tuning", **sizes)


SLOTS = {**MOOD, "patterns": [{"parts": ["\u00b7", "~{text}", "\u00b7", " It is", " [MASK]."]}]}


@pytest.mark.parametrize(
    ("table", "adapter", "vectors"),
    [
        (SLOTS, prompt(num_vectors=3), [(-1, -2), (-3,)]),
        (SLOTS, prompt(num_vectors=1), [(-1,), ()]),
        (SLOTS, prompt(num_vectors=2, num_prefix=2), [(-1, -2, -3), (-4,)]),
        (MOOD, prompt(num_vectors=2, num_prefix=1), [(-1, -2, -3), ()]),
        (SLOTS, AdapterConfig(kind="lora"), [(), ()]),
        (SLOTS, None, [(), ()]),
    ],
)
def test_vectors_are_shared_out_over_the_slots_from_the_left(glm, table, adapter, vectors):
    (candidate, _) = ask(asker_of(glm, table, adapter), "a").candidates
    words = [*glm.tokenizer.encode("The cat")]
    rest = candidate.part_a[1 + len(words) + sum(map(len, vectors)) :]
    assert candidate.part_a == (glm.tokenizer.special.cls, *vectors[0], *words, *vectors[1], *rest)
    assert min(rest) >= 0
    assert candidate.part_a[candidate.place] == glm.tokenizer.special.mask


def test_a_text_is_cut_beside_its_vectors(glm):
    asker = asker_of(glm, SLOTS, prompt(num_vectors=6))
    question = ask(asker, "a", text="cat " * 80)
    part_a = question.candidates[0].part_a
    assert question.is_cut
    assert len(part_a) == 63  # and sop
    assert [token for token in part_a if token < 0] == [-1, -2, -3, -4, -5, -6]


def test_a_text_without_a_pattern_takes_no_vectors(glm):
    with pytest.raises(UsageError, match="p_tuning puts vectors into a pattern, which kind text"):
        asker_of(glm, {"name": "book", "kind": "text"}, prompt(num_vectors=1))


def test_samples_show_a_dot_for_each_vector(glm):
    asker = asker_of(glm, SLOTS, prompt(num_vectors=3))
    (_, reads, learns) = samples(glm.tokenizer, [*lessons_of(asker, ask(asker, "b"))])
    assert reads.startswith("  reads   [CLS]\u00b7\u00b7The cat\u00b7 It is[MASK]")
    assert learns == "  learns  >> oven<< against  cat"


def test_a_prompt_begins_between_frequent_tokens_and_the_words_of_answers(glm):
    rows = glm.module.word_embedding.weight.detach()
    add_prompt(glm.module, prompt(num_vectors=20), [7, 9])
    for vector in glm.module.prompt.embedding.weight.detach():
        of_line = []
        for word in (7, 9):
            toward, offset = rows - rows[word], vector - rows[word]  # [V, H], [H]
            share = (toward @ offset) / (toward**2).sum(1).clamp(min=1e-9)
            off = (offset - share[:, None] * toward).norm(dim=1)
            of_line.append(off[(share >= 0) & (share <= 1)].min())
        assert min(of_line) < 1e-5


@pytest.mark.parametrize(
    ("adapter", "trained"),
    [
        (prompt(), {"blocks.0", "blocks.1", "word", "prompt"}),
        (AdapterConfig(kind="p_tuning", freeze=True), {"prompt"}),
        (AdapterConfig(kind="p_tuning", freeze=True, tuned_layers=1), {"blocks.0", "prompt"}),
    ],
)
def test_a_frozen_model_trains_its_prompt_and_its_first_layers(glm, adapter, trained):
    add_parts(glm.module, adapter, asker_of(glm, MOOD, adapter), seed=1)
    names = [name for name, it in glm.module.named_parameters() if it.requires_grad]
    known = ("blocks.0", "blocks.1", "word", "prompt")
    assert {part for part in known if any(name.startswith(part) for name in names)} == trained


def test_equal_seeds_begin_alike_and_leave_other_draws_alone(tiny_model):
    drawn = []
    for seed in (1, 1, 2):
        glm = load(tiny_model)
        state = torch.get_rng_state()
        add_parts(glm.module, prompt(), asker_of(glm, LABELS, prompt()), seed)
        assert torch.equal(torch.get_rng_state(), state)
        drawn.append((glm.module.prompt(), glm.module.head.classes.weight))
    assert all(map(torch.equal, drawn[0], drawn[1]))
    assert not any(map(torch.equal, drawn[0], drawn[2]))


@pytest.mark.parametrize(
    ("table", "gold", "texts", "answers"),
    [
        (LABELS, "z", ["The cat"], ("x", "y", "z")),
        (COPA, "1", ["The cat sleeps", "The cat opens"], ("sleeps", "opens")),
        (WSC, "true", ["The cat sleeps"], ("false", "true")),
    ],
)
def test_a_head_reads_a_text_for_all_labels_or_one_for_each_choice(
    glm, table, gold, texts, answers
):
    asker = asker_of(glm, table)
    question = ask(asker, gold)
    assert question.answers == answers
    rows = asker.texts(question)
    assert [[*row.part_a] for row in rows] == [ids_of(glm, text) for text in texts]
    add_parts(glm.module, None, asker, seed=1)
    (lesson,) = lessons_of(asker, question)
    assert lesson.right == len(answers) - 1
    b = make_batch([lesson], asker)
    glm.module.eval()
    total, _ = glm.module.loss(
        b.input_ids, b.position_ids, b.segments, b.wanted, b.target_ids, b.choices
    )
    states = []
    for text in texts:
        ids = torch.tensor(ids_of(glm, text))
        places = torch.stack([torch.arange(len(ids)), torch.zeros_like(ids)])
        states.append(glm.module.hidden(ids, places, Segments((len(ids),), (len(ids),)))[0])
    scores = glm.module.head(torch.stack(states)).flatten()
    assert total.item() == pytest.approx(-scores.log_softmax(0)[-1].item(), rel=1e-4)
    found = class_scores(glm.module, rows, is_causal=False).flatten()
    torch.testing.assert_close(found, scores.double(), rtol=1e-4, atol=1e-5)
    (prediction,) = answer(glm.module, asker, [question], lambda _: None)
    assert prediction.scores == pytest.approx(
        dict(zip(answers, scores.tolist(), strict=True)), rel=1e-4
    )
    names = answers if table is not COPA else ("0", "1")
    assert prediction.prediction == names[int(scores.argmax())]


def test_the_head_of_a_causal_model_reads_the_last_token(chat_models):
    glm = load(chat_models / "chatglm2")
    asker = asker_of(glm, LABELS)
    add_parts(glm.module.eval(), None, asker, seed=1)
    rows = asker.texts(ask(asker, "x"))
    (found,) = class_scores(glm.module.eval(), rows, is_causal=True)
    longer = replace(rows[0], part_a=(*rows[0].part_a, 5))
    (other,) = class_scores(glm.module, [longer], is_causal=True)
    assert not torch.allclose(found, other)


def test_what_a_model_learned_is_used_for_its_task_alone(glm, tmp_path):
    adapter = prompt(num_vectors=2, num_prefix=1)
    task = {**MOOD, "head": True}
    add_parts(glm.module, adapter, asker_of(glm, task, adapter), seed=1)
    tuned = replace(glm, adapter=adapter, abilities=("task mood",))
    opened = load(tuned.save(tmp_path / "tuned"))
    asker = asker_for(opened, TaskConfig.model_validate(MOOD))
    assert asker.task.head
    assert asker.in_front == (-1, -2, -3)
    assert asker.scored_by == "score of a head on the hidden state of the first token"
    question = ask(asker, "a")
    glm.module.eval()
    expected = class_scores(glm.module, asker.texts(question), is_causal=False)
    found = class_scores(opened.module, asker.texts(question), is_causal=False)
    assert torch.equal(found, expected)
    other = asker_for(opened, TaskConfig.model_validate({**MOOD, "name": "other"}))
    assert (other.task.head, other.in_front) == (False, ())
    assert not asker_for(opened, TaskConfig.model_validate(MOOD), "decode").task.head
    fewer = opened.module.prompt.embedding.num_embeddings
    (again,) = [asker_for(replace(opened, adapter=None), TaskConfig.model_validate(MOOD))]
    assert len(again.in_front) == fewer


def test_a_head_that_does_not_fit_is_refused(glm):
    task = TaskConfig.model_validate(LABELS)
    problem = "has a head of 0 classes, and task bare asks for 3; take a model that was fine-tuned"
    with pytest.raises(InputError, match=problem):
        asker_for(glm, task)
    heads = {"classes.weight": torch.zeros(2, 32), "classes.bias": torch.zeros(2)}
    with pytest.raises(InputError, match="what it learned is damaged"):
        asker_for(replace(glm, heads=heads), task)
    heads |= {"pool.weight": torch.zeros(32, 32), "pool.bias": torch.zeros(32)}
    with pytest.raises(InputError, match="has a head of 2 classes, and task bare asks for 3"):
        asker_for(replace(glm, heads=heads), task)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": []}, "needs labels, or a verbalizer; a head tells two of them or more apart"),
        ({"kind": "choice", "choices": ["{a}", "{b}"]}, "holds 0 blanks; write [MASK] once"),
        ({"kind": "generate", "golds": "a"}, "head: kind generate has no listed answers"),
        ({"patterns": ["[MASK] {text} [MASK]"]}, "holds 2 blanks"),
    ],
)
def test_a_task_that_a_head_cannot_answer_is_refused(change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        TaskConfig.model_validate(LABELS | change)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"kind": "p_tuning", "rank": 4}, "rank: kind 'p_tuning' does not read it; leave it out"),
        ({"num_vectors": 5}, "num_vectors: kind 'lora' does not read it; leave it out"),
        ({"kind": "p_tuning", "num_vectors": 0}, "p_tuning needs a vector"),
        ({"kind": "p_tuning", "tuned_layers": 2}, "without freeze all layers are trained"),
    ],
)
def test_keys_of_another_adapter_are_refused(table, message):
    with pytest.raises(ValueError, match=message):
        AdapterConfig.model_validate(table)


@pytest.mark.parametrize("kind", ["cloze", "generate"])
def test_vectors_that_are_words_ask_as_the_words_do(glm, kind):
    table = MOOD if kind == "cloze" else {
        "name": "tell", "kind": "generate", "golds": "a", "patterns": ["{text} then [MASK]"],
        "decode": {"max_new_tokens": 4},
    }  # fmt: skip
    words = glm.tokenizer.encode("The oven and")
    said = []
    for vectors in (0, len(words)):
        adapter = AdapterConfig(kind="p_tuning", encoder="none", num_vectors=vectors or 1)
        asker = asker_of(glm, table, adapter if vectors else None)
        if vectors:
            add_prompt(glm.module, adapter, ())
            glm.module.prompt.embedding.weight.data = glm.module.word_embedding.weight[
                words
            ].clone()
        text = " sleeps" if vectors else "The oven and sleeps"
        with torch.inference_mode():
            (found,) = answer(glm.module, asker, [ask(asker, "a", text=text)], lambda _: None)
        said.append((found.prediction, found.scores))
    assert said[0][0] == said[1][0]
    assert said[0][1] == pytest.approx(said[1][1])
