"""How texts that are too long are shortened, and how scores become predictions."""

import pytest

from glmctl.core.decode.score import Score
from glmctl.core.decode.search import Fill
from glmctl.core.tasks.answer import read, written
from glmctl.core.tasks.ask import Asker
from glmctl.core.tasks.pattern import Unit, shorten
from glmctl.core.tasks.read import Example
from glmctl.core.tasks.schema import TaskConfig
from glmctl.recipe.model import TokenizerConfig

WORDS = ('[PAD] [UNK] [CLS] [SEP] [MASK] a the cat sat on mat . ? , " yes no').split()
RTE = {
    "premise": "The cat sat on the mat.", "hypothesis": "A cat sat.", "label": "entailment",
    "idx": 0,
}  # fmt: skip


def units(*lengths: int, fixed: int = 0) -> list[Unit]:
    """One side of two parts that may be shortened, and another of one."""
    a, b, c = (tuple(range(length)) for length in lengths)
    return [Unit(a, True), Unit((99,) * fixed), Unit(b, True), Unit(c, True, True)]


@pytest.mark.parametrize(
    ("lengths", "excess", "kept"),
    [
        ((3, 4, 2), 1, [3, 3, 2]),  # the longer side, its last part
        ((3, 4, 2), 5, [2, 0, 2]),  # the part before it when that one is used up
        ((3, 4, 2), 6, [2, 0, 1]),  # sides of one length: the second
        ((1, 1, 9), 7, [1, 1, 2]),
        ((1, 1, 2), 4, [0, 0, 0]),
    ],
)
def test_tokens_go_from_the_end_of_the_longer_side(lengths, excess, kept):
    shortened = shorten(units(*lengths, fixed=5), excess)
    assert [len(ids) for ids in shortened] == [kept[0], 5, kept[1], kept[2]]
    assert shortened[0] == tuple(range(kept[0]))


def test_what_is_too_long_even_so_is_refused():
    with pytest.raises(ValueError, match="is 1,000 tokens too long even without what may be"):
        shorten(units(2, 3, 4), 1009)


def test_the_layout_is_the_one_of_the_released_code(builtin, sized, tmp_path):
    from glmctl.core.tasks.read import examples_of
    from glmctl.core.tokenizer.load import load_tokenizer

    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    section = TokenizerConfig(
        kind="wordpiece", path=str(tmp_path / "vocab.txt"), special="glm-english"
    )
    asker = Asker(builtin("rte"), load_tokenizer(section), sized(32))
    (example,) = examples_of(RTE, asker.task, "", 1)
    question = asker.ask(example)
    read = '[CLS] " a cat sat " ? [MASK] , " the cat sat on the mat . " [PAD]'.split()
    for candidate in question.candidates:
        assert [WORDS[token] for token in candidate.part_a] == read
        assert (candidate.place, len(candidate.part_a)) == (7, 19)
    assert [WORDS[it.targets[0]] for it in question.candidates] == ["yes", "no"]


def test_a_longer_answer_leaves_less_of_the_text(builtin, ask, text_of):
    record = {
        "premise": "abcdefghij", "choice1": "x", "choice2": "wxyz", "question": "cause",
        "label": 0, "idx": 0,
    }  # fmt: skip
    (question,) = ask(builtin("copa"), record, 36)
    # 26 tokens are fixed: "x" or "wxyz"? 14, because 8, blank and full stop 2, both ends 2. The
    # answers have 3 and 6, which leaves 7 and 4 of the 11 of the premise and its space.
    short, long = (text_of(it.part_a) for it in question.candidates)
    assert (short, long) == (
        '[CLS]"x" or "wxyz"? abcdef because[MASK].<eos>',
        '[CLS]"x" or "wxyz"? abc because[MASK].<eos>',
    )  # fmt: skip
    assert [len(it.part_a) + len(it.targets) for it in question.candidates] == [36, 36]
    assert question.is_cut


def task_of(**values) -> TaskConfig:
    return TaskConfig(name="own", **values)


@pytest.fixture
def predict(ask, characters, sized):
    def give(task: TaskConfig, record: dict, scores: list[Score]) -> str:
        (question,) = ask(task, record)
        return read(Asker(task, characters, sized(1000)), question, scores).prediction

    return give


REVIEW = task_of(patterns=["{text} It was [MASK]."], verbalizer={"1": "good", "0": "bad"})
SHORT = task_of(patterns=["{text} It was[MASK]."], verbalizer={"1": "+", "0": "-"})
NEXT = task_of(kind="choice", patterns=["{text} [MASK]"], choices=["{a}", "{b}"], labels=["A", "B"])


def test_the_space_before_a_blank_moves_into_its_answers(ask, text_of):
    (question,) = ask(REVIEW, {"text": "Nice.", "label": "1"})
    assert text_of(question.candidates[0].part_a) == "[CLS]Nice. It was[MASK].<eos>"
    assert [text_of(it.targets) for it in question.candidates] == [" good", " bad"]


def test_the_fields_of_a_plain_pattern_may_be_shortened(ask, text_of):
    (question,) = ask(REVIEW, {"text": "Nice and warm.", "label": "0"}, 22)
    # 7 + 2 of the pattern, both ends, and 5 of " good" leave 6.
    assert text_of(question.candidates[0].part_a) == "[CLS]Nice a It was[MASK].<eos>"


def test_control_strings_in_a_field_are_text(ask, text_of):
    (question,) = ask(REVIEW, {"text": "[MASK]", "label": "0"})
    assert question.candidates[0].place == len("[MASK] It was") + 1


@pytest.mark.parametrize(
    ("task", "record", "scores", "expected"),
    [
        # Words of one token: the logit; of several: the log-probability.
        (SHORT, {"text": "", "label": "1"}, [Score(-1, 2, 1), Score(-2, 3, 1)], "0"),
        (REVIEW, {"text": "", "label": "1"}, [Score(-1, 2, 1), Score(-2, 3, 1)], "1"),
        # Labels by the place of the choice, also where two choices are alike.
        (
            NEXT, {"text": "", "a": "x", "b": "x", "label": "B"},
            [Score(-2, 0, 1), Score(-1, 0, 1)], "B",
        ),
        # With its end, the first choice has 2 + 1 tokens and the second one 5 + 1.
        (
            NEXT.model_copy(update={"length_penalty": 1.0}),
            {"text": "", "a": "x", "b": "long", "label": "A"},
            [Score(-3.0, 0, 1), Score(-5.9, 0, 1)], "B",
        ),
    ],
    ids=["logit", "log-prob", "index", "length"],
)  # fmt: skip
def test_the_best_answer_is_the_prediction(predict, task, record, scores, expected):
    assert predict(task, record, scores) == expected


WSC = {
    "text": "The cat saw Tom , so it ran.", "label": True, "idx": 5,
    "target": {"span1_index": 0, "span1_text": "The cat", "span2_index": 6, "span2_text": "it"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("negatives", "scores", "expected"),
    [
        ([], [Score(-9, 0, 0)], "true"),
        ([], [Score(-0.1, 0, 1)], "false"),
        (["Tom"], [Score(-16, 0, 1), Score(-9, 0, 1)], "true"),  # 9 and 5 tokens
        (["Tom"], [Score(-18, 0, 0), Score(-9, 0, 1)], "false"),
    ],
    ids=["greedy", "not-greedy", "wins", "loses"],
)
def test_a_claim_is_true_when_it_wins_or_alone_is_what_the_model_would_write(
    builtin, predict, negatives, scores, expected
):
    record = WSC | {"candidates": [{"text": text} for text in negatives]}
    assert predict(builtin("wsc"), record, scores) == expected


def test_scores_that_tie_go_to_the_first_label(predict):
    tie = [Score(-1, 1, 1), Score(-1, 1, 1)]
    assert predict(SHORT, {"text": "", "label": "0"}, tie) == "1"


def test_a_blank_that_the_model_lacks_is_asked_with_mask(ask, characters, sized, text_of):
    task = task_of(patterns=["{text}[gMASK]"], verbalizer={"1": "+", "0": "-"})
    (question,) = ask(task, {"text": "ab", "label": "1"})
    assert text_of(question.part_a) == "[CLS]ab[MASK]<eos>"
    assert Asker(task, characters, sized(1000)).missing_blank == "[gMASK]"


@pytest.mark.parametrize(
    ("task", "record", "message"),
    [
        (NEXT, {"text": "", "a": "x", "label": "A"}, "has no 'b'; there are text, a, label"),
        (NEXT, {"text": "", "a": "x", "b": "", "label": "A"}, "has an empty choice"),
        (REVIEW, {"review": "", "label": "1"}, "has no 'text'; there are review, label"),
    ],
    ids=["no-choice", "empty-choice", "no-field"],
)  # fmt: skip
def test_rows_that_cannot_be_asked_say_why(ask, task, record, message):
    with pytest.raises(ValueError, match=message):
        ask(task.model_copy(update={"answer": "{choice}"}), record)


@pytest.mark.parametrize(
    ("said", "predicted"),
    [(" Yes.", "a"), ("yes, it is", "a"), ("No way!", "c"), ("no", "b"), ("maybe", "maybe")],
)
def test_a_written_answer_is_the_longest_listed_one_that_it_begins_with(
    characters, sized, said, predicted
):
    task = TaskConfig(
        name="own",
        patterns=["{text} [MASK]"],
        verbalizer={"a": "Yes", "b": "No", "c": "No way"},
        fields={"text": "text"},
    )
    asker = Asker(task, characters, sized(100), "decode")
    example = Example("", (0,), (0,), {"text": "Is it?"}, (), ("a",))
    characters.decode = lambda ids: "".join(map(chr, ids))
    fill = Fill(tuple(map(ord, said)), 0.0, "end")
    assert written(asker, asker.ask(example), [fill]).prediction == predicted
