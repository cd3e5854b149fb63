"""Rows that ask the same are named before they spoil a score."""

from types import SimpleNamespace

from glmctl.core.tasks.ask import Question
from glmctl.core.tasks.repeats import repeats


def rows(file: str, *texts_and_labels: tuple[str, str]) -> list[Question]:
    return [
        Question(
            SimpleNamespace(place=f"{file}:{number}", golds=(label,)),
            ("1", "0"),
            (SimpleNamespace(part_a=tuple(text.encode())),),
            False,
        )
        for number, (text, label) in enumerate(texts_and_labels, 2)
    ]


def test_rows_that_contradict_or_repeat_others_are_counted_with_three_places():
    learned = rows("train.csv", ("a", "1"), ("b", "0"), *[("a", "0")] * 4, ("b", "0"))
    assert [*repeats(learned, rows("dev.csv", ("c", "1")), has_labels=True)] == [
        "4 rows have another label than an earlier row of the same text; correct them "
        "(train.csv:2 and train.csv:4, train.csv:2 and train.csv:5, train.csv:2 and train.csv:6, "
        "...)",
        "1 rows repeat an earlier row, and so count more than others; leave them out "
        "(train.csv:3 and train.csv:8)",
    ]


def test_a_text_may_have_several_right_answers_but_is_no_held_out_row_then():
    learned, held = rows("train.csv", ("a", "x"), ("a", "y")), rows("dev.csv", ("a", "z"))
    assert [*repeats(learned, held * 2, has_labels=False)] == [
        "2 held-out rows (100.0%) are copies of training rows, so the score is too good for new "
        "rows; leave them out of one of the files (train.csv:2 and dev.csv:2, train.csv:2 and "
        "dev.csv:2)"
    ]


def test_rows_with_other_answers_to_choose_from_ask_something_else():
    (one,), (other,) = rows("train.csv", ("a", "1")), rows("train.csv", ("a", "0"))
    other = Question(other.example, ("x", "y"), other.candidates, False)
    assert not [*repeats([one], [other], has_labels=True)]
    assert not [*repeats([one, other], [], has_labels=True)]
