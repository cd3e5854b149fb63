"""Suites of language modelling, answers, summaries, infilling and labels, on texts of our own."""

import json
import re
from dataclasses import replace

import pytest
import torch

from glmctl.core.decode.infill import Prompt
from glmctl.core.decode.search import Fill
from glmctl.core.open import load
from glmctl.core.tasks.answer import answer, ask_all, blinded, written
from glmctl.core.tasks.ask import Asker, Question
from glmctl.core.tasks.formats import records
from glmctl.core.tasks.metrics import Judged, measure
from glmctl.core.tasks.read import Example, examples_of, read_examples


def prompt_of(questions, text_of):
    (question,) = questions
    return text_of(question.prompt.part_a)


LAST_WORD = {"text": "The cat saw the hot oven."}


def test_lambada_asks_for_the_last_word_behind_the_text(builtin, ask, text_of):
    (question,) = ask(builtin("lambada"), LAST_WORD)
    (candidate,) = question.candidates
    assert text_of(candidate.part_a) == "[CLS]The cat saw the hot[MASK]<eos>"
    assert (text_of(candidate.targets), candidate.num_given) == (" oven.", 0)
    assert question.example.golds == ("true",)


def test_lambada_from_left_to_right_sees_one_token_in_both_directions(builtin, ask, text_of):
    (question,) = ask(builtin("lambada-unidirectional"), LAST_WORD)
    (candidate,) = question.candidates
    assert text_of(candidate.part_a) == "[CLS]T[MASK]<eos>"
    assert text_of(candidate.targets) == "he cat saw the hot oven."
    assert candidate.num_predicted == len(" oven.")


def test_a_long_text_of_lambada_loses_its_start(builtin, ask, text_of):
    (question,) = ask(builtin("lambada"), LAST_WORD, 20)
    assert text_of(question.candidates[0].part_a) == "[CLS]saw the hot[MASK]<eos>"
    assert question.is_cut


@pytest.mark.parametrize("name", ["wikitext", "wikitext-unidirectional"])
def test_wikitext_is_one_text_every_token_of_which_counts_once(
    builtin, ask, text_of, characters, monkeypatch, tmp_path, name
):
    special = characters.special
    monkeypatch.setattr(special, "mask_for", lambda kind: special.mask, raising=False)
    (tmp_path / "wiki.tokens").write_text(" = Ovens = \n\n Hot , 1 @,@ 200 of them . \n")
    task = builtin(name)
    ((_, record),) = records(tmp_path / "wiki.tokens", task.format)
    (question,) = ask(task.model_copy(update={"overlap": 3}), record, 12)
    fields = question.example.fields
    assert fields["text"] == " = Ovens =\n\nHot, 1,200 of them. "
    assert fields["original"] == record["text"]
    targets = "".join(text_of(it.targets[it.num_given :]) for it in question.candidates)
    assert fields["text"][0] + targets == fields["text"]


PAGE = {"data": [{"paragraphs": [{"context": "It opens at six.", "qas": [
    {"id": "a", "question": "When?", "answers": [{"text": "six"}, {"text": "at six"}]},
    {"id": "b", "question": "Why?", "answers": [], "is_impossible": True},
]}]}]}  # fmt: skip


@pytest.fixture
def page(tmp_path):
    (tmp_path / "dev.json").write_text(json.dumps(PAGE))
    return tmp_path / "dev.json"


def test_squad_asks_before_the_context_and_expects_n_a_where_it_has_no_answer(
    builtin, ask, text_of, page
):
    task = builtin("squad_v2")
    rows = [record for _, record in records(page, task.format)]
    assert prompt_of(ask(task, rows[0]), text_of) == "[CLS] When?[MASK]. It opens at six."
    examples = read_examples(page, task).examples
    assert [(it.id, it.golds) for it in examples] == [
        (("a",), ("six", "at six")), (("b",), ("N/A",)),
    ]  # fmt: skip
    assert task.decode.num_beams == 5


def test_having_no_answer_is_scored_beside_the_best_answer(builtin, page):
    glm = load("glmctl-default")
    task = builtin("squad_v2")
    own = {"decode": task.decode.model_copy(update={"max_new_tokens": 4})}
    own["answer"] = " {choice}, {question}"  # as it may be of another row
    asker = Asker(task.model_copy(update=own), glm.scoring_tokenizer(), glm.config)
    questions, _ = ask_all(asker, read_examples(page, task))
    for question, it in zip(questions, answer(glm.module, asker, questions, id), strict=True):
        assert [*it.scores][:1] == ["N/A"]
        assert it.prediction in ("N/A", *[*it.scores][1:])  # what is written is the best of both
        special, prompt = asker.special, question.prompt
        ids = [*glm.tokenizer.encode(f" N/A, {question.example.fields['question']}"), special.eop]
        read = torch.tensor([[*prompt.part_a, special.sop, *ids[:-1]]])
        first = len(prompt.part_a)
        log_probs = glm.logits(read)[0, first:].log_softmax(-1)
        expected = log_probs[range(len(ids)), ids].sum().item()
        assert it.scores["N/A"] == pytest.approx(expected, abs=1e-4)


def test_the_best_answer_is_the_first_beam_with_words(builtin, characters, sized):
    asker = Asker(builtin("squad_v2"), characters, sized(100))
    example = Example("", (0,), (0,), {"question": "When?", "context": "At six."}, (), ("six",))
    characters.decode = lambda ids: "".join(map(chr, ids))
    beams = [
        Fill(tuple(map(ord, text)), 0.0, "end", token_log_probs=(log_prob, -1.0))
        for text, log_prob in ((" N/A", -1.0), (" ", -1.5), (" six", -2.0), (" ten", -3.0))
    ]
    fill = replace(beams[0], ranked=tuple(beams))
    it = written(asker, asker.ask(example), [fill], -2.25)
    assert (it.prediction, it.scores) == ("N/A", {"N/A": -2.25, "six": -3.0})


def test_cmrc_asks_in_chinese(builtin, ask, text_of, page):
    task = builtin("cmrc")
    _, record = next(records(page, task.format))
    assert prompt_of(ask(task, record), text_of) == (
        "[CLS]\u95ee\u9898\uff1aWhen?\u7b54\u6848\uff1a[MASK]It opens at six."
    )


def test_a_question_is_made_for_each_answer(builtin, ask, text_of, page):
    task = builtin("squad_generation")
    _, record = next(records(page, task.format))
    first, second = ask(task, record)
    assert text_of(first.prompt.part_a) == (
        "[CLS]It opens at six. Question:[MASK] Answer: six"
    )  # fmt: skip
    assert [it.example.id for it in (first, second)] == [("a", "six"), ("a", "at six")]
    assert first.example.golds == ("When?",)


def test_a_summary_is_written_before_the_text(builtin, ask, text_of):
    record = {"source": "-lrb- The oven is hot . -rrb-", "target": "UNK is hot ."}
    (question,) = ask(builtin("gigaword"), record)
    assert text_of(question.prompt.part_a) == "[CLS][MASK] Content: ( The oven is hot . )"
    assert question.example.golds == ("[UNK] is hot .",)
    news = {"source": "It is hot . <S_SEP> It is six .", "target": "Hot . <S_SEP> Six ."}
    (question,) = ask(builtin("cnn_dm"), news)
    assert text_of(question.prompt.part_a) == "[CLS][MASK] Content: It is hot . It is six ."
    assert question.example.golds == ("Hot . [SEP] Six .",)


@pytest.mark.parametrize(
    ("name", "source", "beams", "penalty", "fewest", "most"),
    [
        ("gigaword", 192, 5, 0.6, 0, 32),
        ("cnn_dm", 608, 5, 0.7, 55, 160),
        ("xsum", 608, 6, 1.0, 10, 60),
        ("squad_generation", 464, 5, 0.7, 0, 48),
    ],
)
def test_beams_are_those_of_the_paper(builtin, name, source, beams, penalty, fewest, most):
    task = builtin(name)
    decode = task.decode
    assert task.max_length == source
    assert (decode.num_beams, decode.length_penalty) == (beams, penalty)
    assert (decode.min_new_tokens, decode.max_new_tokens) == (fewest, most)


def test_texts_of_ones_own_lose_their_start(builtin, ask, text_of):
    record = {"source": "one two three", "target": "four"}
    (question,) = ask(builtin("customization"), record, 12)
    assert text_of(question.prompt.part_a) == "[CLS]wo three[MASK]<eos>"


@pytest.mark.parametrize("percent", [10, 20, 30, 40, 50])
def test_yahoo_hides_its_share_of_the_words(builtin, percent):
    assert builtin(f"yahoo-{percent}").mask_ratio == percent / 100


def test_a_text_to_infill_that_is_too_long_is_one_rows_problem(builtin, tmp_path):
    glm = load("glmctl-default")
    task = builtin("infill").model_copy(update={"max_length": 8})
    (tmp_path / "val.txt").write_text("The oven is hot at six in the morning.\nIt is hot now.\n")
    asker = Asker(task, glm.scoring_tokenizer(), glm.config)
    questions, problems = ask_all(asker, read_examples(tmp_path / "val.txt", task))
    assert len(questions) == 1
    (problem,) = problems
    assert "val.txt:1: is " in problem
    assert "tokens long and the model has 8 positions; shorten it" in problem


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("猫在炉边睡觉\uff0c炭很热。", 5),  # 11 characters
        ("The cat  sleeps by the warm oven.", 3),
        ("猫 sleeps 在 the 炉边。", 3),
    ],
)
def test_words_and_chinese_characters_are_hidden_where_they_stand(builtin, text, number):
    glm = load("glmctl-default")
    task = builtin("infill").model_copy(update={"mask_ratio": 0.5})
    question = Asker(task, glm.scoring_tokenizer(), glm.config).hide_words(
        Example("", (1,), (1,), {"text": text}, (), ())
    )
    (whole,) = question.example.golds
    assert whole == " ".join(text.split())
    kept = question.prompt.text.split("[MASK]")
    found = re.fullmatch("(.+)".join(map(re.escape, kept)), whole)
    hidden = [re.findall("[a-zT.]+|[一-鿿\uff0c。]", it) for it in found.groups()]
    assert sum(map(len, hidden)) == number


def test_a_blind_model_sees_blanks_alone_and_answers_in_the_same_text(characters):
    special = characters.special
    shown = "a [MASK] b"
    part_a = (special.cls, ord("a"), special.mask, ord("b"), special.mask, special.eos)
    example = Example("", (1,), (1,), {}, (), ("a x b",))
    question = Question(example, (), (), False, Prompt(shown, part_a, (2, 4)))
    (blind,) = blinded([question], special)
    expected = Prompt(shown, (special.cls, special.mask, special.mask, special.eos), (1, 2))
    assert blind == replace(question, prompt=expected)


def test_each_kind_of_entity_is_a_question_of_its_sentence(builtin, ask, text_of):
    record = {"id": 3, "text": "Ann Lee saw Bob", "entities": [
        {"type": "PER", "text": "Ann Lee"}, {"type": "PER", "text": "Bob"},
    ]}  # fmt: skip
    persons, *others = ask(builtin("conll2003"), record)
    assert text_of(persons.prompt.part_a) == "[CLS]Ann Lee saw Bob persons:[MASK]<eos>"
    assert persons.example.golds == ("Ann Lee; Bob",)
    assert [it.example.golds for it in others] == [("none",)] * 3
    assert {it.example.group for it in (persons, *others)} == {(3,)}


def test_entities_of_a_file_are_scored_over_sentences(builtin, tmp_path):
    (tmp_path / "val.conll").write_text("Ann B-PER\nsaw O\nRome B-LOC\n\nBob B-PER\n")
    task = builtin("conll2003")
    rows = read_examples(tmp_path / "val.conll", task).examples
    right = [Judged(it.group, it.golds[0], it.golds) for it in rows]
    assert measure("span_f1", right, ()).value == 100.0
    silent = [Judged(it.group, "none", it.golds) for it in rows[:4]] + right[4:]
    assert measure("span_f1", silent, ()).value == pytest.approx(50.0, abs=1e-12)


def test_a_question_without_a_right_answer_is_still_asked(builtin, page):
    task = builtin("squad_v2")
    rows = [record for _, record in records(page, task.format)]
    (example,) = examples_of(rows[1], task, "dev.json:2", 2, is_new=True)
    assert example.golds == ()
