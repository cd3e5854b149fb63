"""What fine-tuning learns: the loss of a question, the order of the rows, what stops it."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from glmctl.core.open import Glm, load
from glmctl.core.tasks.answer import answer, ask_all
from glmctl.core.tasks.ask import Asker, Prediction, Question
from glmctl.core.tasks.find import own_suite
from glmctl.core.tasks.read import read_examples
from glmctl.core.tasks.schema import TaskConfig
from glmctl.core.train.examination import Examination, probabilities
from glmctl.core.train.lessons import Lesson, LessonData, hold_out, lessons_of
from glmctl.core.train.preflight import lesson_problems, samples, word_problems
from glmctl.errors import UsageError

ROWS = "text,label\nThe bakery opens,a\nThe grey cat sleeps at two,b\nIts eyes,a\nThe oven,b\n"


def task_of(verbalizer: str = "a=cat,b=oven") -> TaskConfig:
    return own_suite("rows.csv", "text", "label", "{text} at [MASK].", verbalizer).tasks[0]


@pytest.fixture
def glm(tiny_model: Path) -> Glm:
    return load(tiny_model, dtype="float64")


def asker_of(glm: Glm, task: TaskConfig) -> Asker:
    return Asker(task, glm.tokenizer, glm.config)


def lessons(asker: Asker, folder: Path, rows: str = ROWS) -> list[Lesson]:
    (folder / "rows.csv").write_text(rows)
    questions, problems = ask_all(asker, read_examples(folder / "rows.csv", asker.task))
    assert not problems
    return [lesson for question in questions for lesson in lessons_of(asker, question)]


def data_of(asker: Asker, found: list[Lesson], **changes: int) -> LessonData:
    values = {"seed": 1, "global_batch_size": 4, "micro_batch_size": 4, "end_row": 8} | changes
    return LessonData(found, asker, **values)


def loss_of(glm: Glm, data: LessonData) -> list[float]:
    (b,) = data.step(0, 0, 1).micro_batches.values()
    glm.module.eval()
    total, losses = glm.module.loss(
        b.input_ids, b.position_ids, b.segments, b.wanted, b.target_ids, b.choices
    )
    assert total.requires_grad
    assert total.item() == pytest.approx(losses.sum().item())
    return losses.tolist()


def test_the_loss_of_words_is_that_of_their_logits_alone(glm, tmp_path):
    asker = asker_of(glm, task_of())
    found = lessons(asker, tmp_path)
    expected = []
    for lesson in found:
        part_a = lesson.question.candidates[0].part_a
        row = torch.tensor([[*part_a, glm.tokenizer.special.sop]])
        logits = glm.logits(row)[0, -1]
        (cat,), (oven,) = glm.tokenizer.encode(" cat"), glm.tokenizer.encode(" oven")
        both = torch.stack([logits[cat], logits[oven]])
        expected.append(both.logsumexp(0).item() - both[lesson.right].item())
    assert sorted(loss_of(glm, data_of(asker, found))) == pytest.approx(sorted(expected))


def test_the_loss_of_longer_words_is_that_of_their_summed_log_probabilities(glm, tmp_path):
    asker = asker_of(glm, task_of("a=bakery,b=sleeps at two"))
    found = lessons(asker, tmp_path)
    sop = glm.tokenizer.special.sop
    expected = []
    for lesson in found:
        scores = []
        for word in (" bakery", " sleeps at two"):
            ids = glm.tokenizer.encode(word)
            assert len(ids) > 1
            part_a = lesson.question.candidates[0].part_a
            row = torch.tensor([[*part_a, sop, *ids[:-1]]])
            log_probs = glm.logits(row)[0, len(part_a) :].log_softmax(1)
            scores.append(sum(log_probs[place, token] for place, token in enumerate(ids)))
        both = torch.stack(scores)
        expected.append(both.logsumexp(0).item() - both[lesson.right].item())
    assert sorted(loss_of(glm, data_of(asker, found))) == pytest.approx(sorted(expected))


def on_scale() -> TaskConfig:
    table = task_of("5=oven,0=cat").model_dump() | {
        "labels": ["0", "5"],
        "scale": True,
        "metrics": ["pearson"],
    }
    return TaskConfig.model_validate(table)


def test_a_number_between_two_labels_is_learned_as_both(glm, tmp_path):
    asker = asker_of(glm, on_scale())
    rows = "text,label\nIts eyes,0\nThe bakery opens,5.0\nThe oven,1.5\n"
    found = lessons(asker, tmp_path, rows)
    assert [lesson.right for lesson in found] == pytest.approx([0, 1, 0.3])
    expected, said = [], []
    for lesson in found:
        row = torch.tensor([[*lesson.question.part_a, glm.tokenizer.special.sop]])
        words = [glm.tokenizer.encode(word)[0] for word in (" cat", " oven")]
        cat, oven = glm.logits(row)[0, -1, words].log_softmax(0).tolist()
        expected.append(-(1 - lesson.right) * cat - lesson.right * oven)
        said.append(5 * math.exp(oven))
    data = data_of(asker, found, global_batch_size=3, micro_batch_size=3, end_row=3)
    assert sorted(loss_of(glm, data)) == pytest.approx(sorted(expected))
    exam = Examination(asker, [it.question for it in found], None, lambda: None)
    record = exam.run(glm.module, SimpleNamespace(precision="fp32"))
    assert record["dev_loss"] == pytest.approx(sum(expected) / 3)
    predictions = answer(glm.module, asker, exam.questions, lambda _: None)
    assert [float(it.prediction) for it in predictions] == pytest.approx(said, rel=1e-5)
    assert not [*lesson_problems(asker, found, "rows.csv")]
    assert [*samples(glm.tokenizer, found)][-1] == "  learns  >> cat<< to 70% and >> oven<< to 30%"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ["5", "0"]}, "numbers that ascend"),
        ({"labels": ["0", "high"], "verbalizer": {"0": "a", "high": "b"}}, "numbers that ascend"),
        ({"metrics": ["accuracy"]}, "accuracy: with scale = true, choose pearson or spearman"),
        ({"metrics": ["pearson", "accuracy"]}, "pearson, accuracy: with scale = true, choose"),
        ({"mirror": ["text", "text"]}, "neither mirror nor shots"),
    ],
)
def test_what_does_not_go_with_a_scale_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        TaskConfig.model_validate(on_scale().model_dump() | change)


def test_answers_that_are_written_are_no_numbers(glm):
    with pytest.raises(UsageError, match="its metrics need scores"):
        Asker(on_scale(), glm.tokenizer, glm.config, "decode")


@pytest.mark.parametrize("label", ["5.1", "-1", "nan", "much", "1e0"])
def test_a_label_off_the_scale_is_named(glm, tmp_path, label):
    (tmp_path / "rows.csv").write_text(f"text,label\nIts eyes,{label}\nThe oven,5\n")
    rows = read_examples(tmp_path / "rows.csv", on_scale())
    assert len(rows.examples) == 1
    (problem,) = rows.problems
    assert problem.endswith(f"rows.csv:2: {label!r} is no number from 0 to 5; correct it")


def test_a_number_between_labels_that_are_no_scale_is_told_of_it(glm, tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\nIts eyes,7\nThe oven,10\nIts,11\n")
    rows = read_examples(tmp_path / "rows.csv", task_of("1=cat,10=oven"))
    assert [it.partition("; ")[2] for it in rows.problems] == [
        "correct it or the task, or set scale = true", "correct it or the task",
    ]  # fmt: skip


def test_numbers_are_held_out_although_each_is_another(glm, tmp_path):
    asker = asker_of(glm, on_scale())
    rows = "text,label\n" + "".join(f"{'cat ' * n},{n / 10}\n" for n in range(1, 11))
    questions = [it.question for it in lessons(asker, tmp_path, rows)]
    learned, held = hold_out(questions, 0.2, by_label=asker.task.has_labels)
    assert (len(learned), len(held)) == (8, 2)


def test_a_question_has_one_part_a_for_all_its_candidates(glm, tmp_path):
    asker = asker_of(glm, task_of("a=bakery,b=sleeps at two"))
    found = lessons(asker, tmp_path)
    (batch,) = data_of(asker, found).step(0, 0, 1).micro_batches.values()
    assert len(batch.segments.lengths) == 4
    assert all(len(pieces) == 2 for pieces in batch.segments.pieces)
    assert batch.num_targets == 4


def test_every_epoch_has_each_row_once_in_an_order_of_its_own(glm, tmp_path):
    rows = "text,label\n" + "".join(f"{'cat ' * n},{'ab'[n % 2]}\n" for n in range(1, 10))
    asker = asker_of(glm, task_of())
    found = lessons(asker, tmp_path, rows)
    data = data_of(asker, found, global_batch_size=9, micro_batch_size=1, end_row=21)
    epochs = [
        [batch.segments.lengths[0] for batch in data.step(step, 0, 1).micro_batches.values()]
        for step in range(3)
    ]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted({*epochs[0]})
    assert epochs[0] != epochs[1]
    assert len(epochs[2]) == 3  # what is left of the run
    halves = [data.step(0, rank, 2).micro_batches for rank in (0, 1)]
    assert sorted([*halves[0], *halves[1]]) == [*range(9)]


def test_rows_are_held_out_of_each_label_with_their_group(glm, tmp_path):
    asker = asker_of(glm, task_of().model_copy(update={"id": ("text",), "group_by": 1}))
    rows = "text,label\n" + "".join(f"{'cat ' * (n // 2)},{'ab'[n // 20]}\n" for n in range(40))
    (tmp_path / "rows.csv").write_text(rows)
    questions, _ = ask_all(asker, read_examples(tmp_path / "rows.csv", asker.task))
    learned, held = hold_out(questions, 0.2, by_label=True)
    assert (len(learned), len(held)) == (32, 8)
    assert [sum(it.example.golds == (label,) for it in held) for label in "ab"] == [4, 4]
    assert not {it.example.group for it in learned} & {it.example.group for it in held}
    later = hold_out(questions[::-1], 0.2, by_label=True)[1]
    assert {it.example.id for it in later} == {it.example.id for it in held}


def test_rows_that_ask_the_same_are_on_one_side(glm, tmp_path):
    asker = asker_of(glm, task_of())
    texts = ["cat " * (1 + n % 10) for n in range(40)]
    rows = "text,label\n" + "".join(f"{text},{'ab'[n // 20]}\n" for n, text in enumerate(texts))
    (tmp_path / "rows.csv").write_text(rows)
    questions, _ = ask_all(asker, read_examples(tmp_path / "rows.csv", asker.task))
    learned, held = hold_out(questions, 0.2, by_label=True)
    assert (len(learned), len(held)) == (32, 8)
    assert not {it.part_a for it in learned} & {it.part_a for it in held}


def test_the_other_right_answers_are_no_candidates():
    task = SimpleNamespace(kind="choice", first_is_claim=False, num_negatives=None, scale=False)
    asker = SimpleNamespace(has_index=False, task=task)
    example = SimpleNamespace(golds=("Ann", "Bob"))
    question = Question(example, ("Ann", "Eve", "Bob"), ("A", "E", "B"), False)
    first, second = lessons_of(asker, question)
    assert (first.question.answers, first.right) == (("Ann", "Eve"), 0)
    assert (second.question.candidates, second.right) == (("E", "B"), 1)
    example.golds = ("Tom",)
    with pytest.raises(ValueError, match=r"none of its candidates is right \(Tom\)"):
        [*lessons_of(asker, question)]


@pytest.mark.parametrize(
    ("verbalizer", "problem"),
    [
        ("a=bakery,b= bakery", "'a' and 'b' have words of the same tokens; change one"),
        ("a=cat,b=cat sleeps", "the word of 'b' begins with all tokens of that of 'a'"),
        ("a=cat sleeps,b=cat", "the word of 'a' begins with all tokens of that of 'b'"),
        ("a=cat,b=oven", None),
    ],
)
def test_words_that_collide_as_tokens_are_found(glm, verbalizer, problem):
    found = [*word_problems(asker_of(glm, task_of(verbalizer)))]
    assert len(found) == (problem is not None)
    assert problem is None or problem in found[0]


def test_a_word_without_tokens_is_found(glm):
    asker = asker_of(glm, task_of())
    asker.words["a"] = ()
    (problem, *_) = word_problems(asker)
    assert "cannot spell the word of 'a'" in problem


def test_a_label_without_a_row_is_found(glm, tmp_path):
    asker = asker_of(glm, task_of("a=cat,b=oven,c=six"))
    (problem,) = lesson_problems(asker, lessons(asker, tmp_path), "rows.csv")
    assert problem.startswith("no row of rows.csv has the label 'c'; add some, or take the label")


def test_a_text_of_which_nothing_is_left_is_found(glm, tmp_path):
    task = task_of().model_copy(update={"max_length": 6})
    asker = asker_of(glm, task)
    (problem,) = lesson_problems(asker, lessons(asker, tmp_path), "rows.csv")
    assert "rows.csv:2: nothing of its text is left beside the pattern" in problem


def test_samples_show_what_the_model_reads_and_learns(glm, tmp_path):
    asker = asker_of(glm, task_of())
    lines = [*samples(glm.tokenizer, lessons(asker, tmp_path))]
    assert len(lines) == 9
    assert lines[0].endswith("rows.csv:2")
    assert lines[1].strip() == "reads   [CLS]The bakery opens at[MASK].<|endoftext|>"
    assert lines[2].strip() == "learns  >> cat<< against  oven"


def test_the_best_record_is_kept_and_patience_ends():
    exam = Examination(SimpleNamespace(task=task_of()), (), patience=2, keep=lambda: None)
    best = [
        exam.see({"dev_accuracy": accuracy, "dev_loss": loss})
        for accuracy, loss in ((50.0, 0.9), (75.0, 0.8), (75.0, 0.7), (50.0, 0.1))
    ]
    assert best == [True, True, True, False]
    assert exam.is_satisfied
    assert exam.best == {"dev_accuracy": 75.0, "dev_loss": 0.7}
    assert exam.in_words({"dev_accuracy": 50.0, "dev_loss": 0.1}) == "accuracy 50.00 (best 75.00)"


def test_scores_become_probabilities():
    found = probabilities(Prediction(None, "a", {"a": 1000.0, "b": 1000.0, "c": -1000.0}))
    assert found == pytest.approx({"a": 0.5, "b": 0.5, "c": 0.0})


@pytest.mark.parametrize(
    ("verbalizer", "problem"),
    [
        ("good,b=bad", "'good' is not LABEL=WORD"),
        ("a=good,a=bad", "'a' has two words; one is enough"),
        ("a=good", "needs a verbalizer with a word for each of two labels or more"),
        ("a=good,b=good", "two labels share a word"),
    ],
)
def test_what_is_wrong_with_a_verbalizer_is_said(verbalizer, problem):
    with pytest.raises(UsageError, match=problem):
        task_of(verbalizer)


def written(**more) -> TaskConfig:
    table = {"name": "own", "kind": "generate", "patterns": ["{text} It is [MASK]."]}
    return TaskConfig(**table, golds={"path": "answers"}, answer=" {choice}", **more)


WRITTEN_ROWS = [
    {"text": "The oven", "answers": ["hot", "very hot"]},
    {"text": "The grey cat", "answers": ["old"]},
]


def written_questions(asker: Asker, folder: Path) -> list[Question]:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in WRITTEN_ROWS))
    questions, problems = ask_all(asker, read_examples(folder / "rows.jsonl", asker.task))
    assert not problems
    return questions


def written_lessons(asker: Asker, folder: Path) -> list[Lesson]:
    return [
        it for question in written_questions(asker, folder) for it in lessons_of(asker, question)
    ]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_written_answer_is_learned_token_by_token_with_its_end(glm, tmp_path, smoothing):
    asker = asker_of(glm, written(label_smoothing=smoothing))
    found = written_lessons(asker, tmp_path)
    special = glm.tokenizer.special
    expected = []
    for text, said in (("The oven", "hot"), ("The oven", "very hot"), ("The grey cat", "old")):
        part_a = [special.cls, *glm.tokenizer.encode(f"{text} It is [MASK]."), special.eos]
        ids = [*glm.tokenizer.encode(f" {said}"), special.eop]
        place, n = part_a.index(special.mask), len(ids)
        row = torch.tensor([[*part_a, special.sop, *ids[:-1]]])
        places = [*range(len(part_a)), *[place] * n]
        in_span = [*[0] * len(part_a), *range(1, n + 1)]
        logits = glm.logits(row, torch.tensor([[places, in_span]]), torch.tensor([len(part_a)]))
        expected += torch.nn.functional.cross_entropy(
            logits[0, -n:], torch.tensor(ids), label_smoothing=smoothing, reduction="none"
        ).tolist()
    data = data_of(asker, found, global_batch_size=3, micro_batch_size=3, end_row=3)
    assert sorted(loss_of(glm, data)) == pytest.approx(sorted(expected), abs=1e-9)


def test_one_lesson_twice_in_a_batch_counts_twice(glm, tmp_path):
    asker = asker_of(glm, written())
    (lesson, *_) = written_lessons(asker, tmp_path)
    once, twice = (loss_of(glm, data_of(asker, [lesson] * n, end_row=n)) for n in (1, 2))
    assert sorted(twice) == pytest.approx(sorted([*once, *once]))


def test_an_answer_that_is_too_long_loses_its_end_and_most_may_not(glm, tmp_path):
    asker = asker_of(glm, written(decode={"max_new_tokens": 1}))
    found = written_lessons(asker, tmp_path)
    assert {len(it.question.candidates[0].targets) for it in found} == {1}
    (problem,) = lesson_problems(asker, found, "rows.jsonl")
    assert problem.startswith("3 of 3 answers in rows.jsonl are longer than 1 tokens")


def test_written_answers_are_held_out_although_each_is_another(glm, tmp_path):
    asker = asker_of(glm, written())
    learned, held = hold_out(written_questions(asker, tmp_path), 0.5, by_label=False)
    assert (len(learned), len(held)) == (1, 1)


def test_the_loss_of_held_out_written_answers_is_that_of_their_tokens(glm, tmp_path):
    asker = asker_of(glm, written())
    exam = Examination(asker, written_questions(asker, tmp_path), None, lambda: None)
    found = written_lessons(asker, tmp_path)
    losses = loss_of(glm, data_of(asker, found, global_batch_size=3, micro_batch_size=3, end_row=3))
    with torch.inference_mode():
        assert exam.token_loss(glm.module) == pytest.approx(sum(losses) / len(losses))
