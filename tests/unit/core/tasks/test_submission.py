"""What is sent to those who hold the labels of a test set."""

from pathlib import Path

from glmctl.core.tasks.ask import Prediction
from glmctl.core.tasks.read import Example
from glmctl.core.tasks.schema import SubmissionConfig
from glmctl.core.tasks.submission import submitted, write_submission


def predicted(identity: tuple[int | str, ...], prediction: str) -> Prediction:
    return Prediction(Example("", identity, identity, {}, (), ()), prediction, {})


def test_a_table_has_an_index_and_a_prediction(tmp_path: Path) -> None:
    form = SubmissionConfig(file="CoLA.tsv", labels={"bad": 0})
    write_submission(tmp_path / form.file, form, [predicted((0,), "good"), predicted((1,), "bad")])
    assert (tmp_path / form.file).read_text() == "index\tprediction\n0\tgood\n1\t0\n"


def test_a_line_is_called_by_the_last_part_of_the_id() -> None:
    form = SubmissionConfig(file="ReCoRD.jsonl")
    rows = [*submitted(form, [predicted((0, 4), "Ann"), predicted((1, 5), "Bob")])]
    assert rows == [{"idx": 4, "label": "Ann"}, {"idx": 5, "label": "Bob"}]


def test_the_answers_of_a_question_stand_in_its_list() -> None:
    form = SubmissionConfig(file="M.jsonl", labels={"1": 1}, nest=("text.questions", "answers"))
    ids = [(0, 0, 0), (0, 0, 1), (0, 1, 2), (3, 2, 3)]
    first, second = submitted(form, [predicted(it, "1") for it in ids])
    assert first == {
        "idx": 0,
        "text": {
            "questions": [
                {"idx": 0, "answers": [{"idx": 0, "label": 1}, {"idx": 1, "label": 1}]},
                {"idx": 1, "answers": [{"idx": 2, "label": 1}]},
            ]
        },
    }
    assert second["text"]["questions"][0]["answers"] == [{"idx": 3, "label": 1}]
