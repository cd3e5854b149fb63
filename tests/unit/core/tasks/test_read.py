"""Files of examples, and rows of them that are broken."""

import json

import pytest

from glmctl.core.tasks.read import read_examples, read_parts
from glmctl.core.tasks.schema import TaskConfig
from glmctl.errors import InputError

REVIEWS = TaskConfig(
    name="reviews", patterns=["{text} It was [MASK]."], verbalizer={"1": "good", "0": "bad"}
)
GOOD = {"text": "Warm and fresh.", "label": 1}
LATIN = (
    "probably WINDOWS-1252; save it as CSV (UTF-8), or convert it: iconv -f WINDOWS-1252 -t UTF-8"
)


@pytest.fixture
def write(tmp_path):
    def put(name: str, *lines: str | bytes):
        raw = b"\n".join(it if isinstance(it, bytes) else it.encode() for it in lines)
        (tmp_path / name).write_bytes(raw)
        return tmp_path / name

    return put


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("rows.jsonl", [json.dumps(GOOD), "", '{"text": "Cold.", "label": "0"}']),
        ("rows.csv", ["label,text", '1,"Warm and fresh."', '0,"Cold."']),
        ("rows.tsv", ["text\tlabel", "Warm and fresh.\t1", "Cold.\t0"]),
        ("bom.csv", [b"\xef\xbb\xbftext,label\r", b"Warm and fresh.,1\r", b"Cold.,0\r"]),
        ("german.csv", ["text;label", "Warm and fresh.;1", "Cold.;0"]),
        ("tabs.csv", [" text\tlabel ", "Warm and fresh.\t1", "Cold.\t 0"]),
        ("commas.tsv", ["text, label", "Warm and fresh., 1", "Cold.,0"]),
    ],
    ids=["jsonl", "csv", "tsv", "bom", "semicolons", "tabs", "commas"],
)
def test_rows_become_examples(write, name, lines):
    file = write(name, *lines)
    rows = read_examples(file, REVIEWS, None)
    assert [(it.fields["text"], it.golds) for it in rows.examples] == [
        ("Warm and fresh.", ("1",)), ("Cold.", ("0",)),
    ]  # fmt: skip
    assert rows.examples[1].place == f"{file}:3"
    assert rows.problems == ()


def test_a_line_break_in_a_cell_is_text(write):
    rows = read_examples(
        write("rows.csv", "text,label", '"one', 'two",1', "three,0"), REVIEWS, None
    )
    assert [it.fields["text"] for it in rows.examples] == ["one\ntwo", "three"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            '{"text": "a"',
            "not JSON: Expecting ',' delimiter at column 13; correct the line",
        ),
        ("[1]", "is no JSON object but '[1]'; write one a line"),
        (b'{"text": "\xff"}', "not UTF-8: byte 0xff at byte 10 of the line; " + LATIN),
        ('{"text": "a"}', "has no 'label'; keys there: text; name the right one in the task"),
        ('{"text": "a", "label": 7}', "label '7' is none of 1, 0; correct it or the task"),
        ('{"text": "a", "label": null}', "its 'label' is no text but null; mend it"),
        ('{"text": "\\ud800", "label": 1}', "half a surrogate pair at character 0 of the text"),
        (
            "[" * 100_000,
            "not JSON: nested too deeply; correct the line",
        ),
    ],
    ids=["json", "list", "utf-8", "no-label", "label", "null", "surrogate", "deep"],
)
def test_a_broken_line_is_named_and_spoils_no_other(write, line, problem):
    file = write("rows.jsonl", json.dumps(GOOD), line, json.dumps(GOOD))
    rows = read_examples(file, REVIEWS, None)
    assert len(rows.examples) == 2
    assert rows.problems == (f"{file}:2: {problem}",)


def test_a_row_with_another_number_of_columns_is_named(write):
    file = write("rows.csv", "text,label", "warm, fresh,1", "cold,0")
    rows = read_examples(file, REVIEWS, None)
    assert rows.problems == (
        f"{file}:2: has 3 columns and the first line 2; quote the text",
    )  # fmt: skip


def test_an_empty_file_is_refused(write):
    with pytest.raises(InputError, match="is empty; it should hold examples"):
        read_examples(write("rows.jsonl", ""), REVIEWS, None)


def test_a_file_without_a_good_row_is_refused_with_what_is_wrong_said_once(write):
    file = write("rows.csv", "text,stars", *["Warm.,1"] * 9)
    with pytest.raises(InputError) as problem:
        read_examples(file, REVIEWS, None)
    assert problem.value.problems == (
        f"{file}:2 and 8 more: has no 'label'; keys there: text, stars; name the right one in "
        "the task",
    )


def test_only_the_first_few_problems_are_named(write):
    lines = [f'{{"text": "a", "label": {number}}}' for number in range(2, 11)]
    with pytest.raises(InputError, match="label '2' is none of 1, 0") as problem:
        read_examples(write("rows.jsonl", *lines), REVIEWS, None)
    assert problem.value.problems[5:] == ("4 more problems",)


def test_a_limit_counts_questions_and_not_their_answers(write, builtin):
    def passage(number, *sizes):
        questions = [
            {
                "idx": i,
                "question": "Who?",
                "answers": [{"idx": k, "text": "Ann", "label": 0} for k in range(size)],
            }
            for i, size in enumerate(sizes)
        ]
        return json.dumps({"idx": number, "passage": {"text": "Ann.", "questions": questions}})

    file = write("val.jsonl", passage(0, 3, 2), passage(1, 4, 5))
    ids = [it.id for it in read_examples(file, builtin("multirc"), 3).examples]
    assert ids == [(0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 1, 0), (0, 1, 1)] + [
        (1, 0, k) for k in range(4)
    ]


WSC = {
    "text": "The cat saw Tom , so it ran.", "label": True, "idx": 5,
    "target": {"span1_index": 0, "span1_text": "The cat", "span2_index": 3, "span2_text": "it"},
}  # fmt: skip
COPA = {
    "premise": "a", "choice1": "b", "choice2": "c", "question": "cause", "label": 0, "idx": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "record", "problem"),
    [
        ("wsc", WSC, "word 3 of its text is not 'it'; correct 'target.span2_index'"),
        ("copa", COPA | {"label": "maybe"}, "label 'maybe' is none of 0, 1"),
        ("wsc", WSC | {"target": []}, "has no 'target.span2_text'; keys there: none"),
        ("copa", COPA | {"question": "why"}, "its 'question' is 'why', not one of cause, effect"),
        ("copa", COPA | {"label": 2}, "label '2' is none of 0, 1"),
        ("record", {"idx": 0, "qas": {}}, "its 'qas' is no list but {}"),
        (
            "wsc",
            WSC | {"target": WSC["target"] | {"span2_index": "6"}},
            "its 'target.span2_index' is no whole number but \"6\"",
        ),
        ("copa", COPA | {"idx": [0]}, "its 'idx' is no text but .0.; mend it"),
        (
            "record",
            {
                "idx": 0,
                "passage": {"text": "Ann", "entities": []},
                "qas": [{"idx": 0, "query": "Who?", "answers": []}],
            },
            "its 'qa.query' does not hold '@placeholder'",
        ),
    ],
    ids=["index", "label", "target", "question", "choice", "qas", "number", "idx", "query"],
)
def test_rows_that_are_not_in_the_official_format_say_what_is_wrong(
    write, builtin, name, record, problem
):
    with pytest.raises(InputError, match=problem.replace("{", r"\{")):
        read_examples(write("val.jsonl", json.dumps(record)), builtin(name), None)


def test_a_table_without_names_takes_those_of_the_task(write):
    task = REVIEWS.model_copy(update={"columns": ("label", "", "text"), "quoted": False})
    file = write("rows.tsv", '1\t*\tA "warm cake.', "0\t*\tCold.", "0\tCold.")
    rows = read_examples(file, task)
    assert [(it.fields["text"], it.golds) for it in rows.examples] == [
        ('A "warm cake.', ("1",)), ("Cold.", ("0",)),
    ]  # fmt: skip
    assert rows.problems == (f"{file}:3: has 2 columns and the task 3; separate them by tabs",)


def test_only_records_that_the_task_asks_for_are_read(write):
    file = write(
        "rows.csv", "text,label,language", "Warm.,1,en", "Froid.,0,fr", "Cold.,0,en"
    )  # fmt: skip
    rows = read_examples(file, REVIEWS.model_copy(update={"only": {"language": "en"}}))
    assert [it.fields["text"] for it in rows.examples] == ["Warm.", "Cold."]


def test_a_list_is_joined_and_nothing_has_its_text(write):
    fields = {
        "text": {"path": "words", "join": ", "},
        "before": {"path": "passage", "default": ""},
    }
    task = REVIEWS.model_validate(REVIEWS.model_dump() | {"fields": fields})
    record = {"words": ["warm", "fresh"], "passage": None, "label": 1}
    (example,) = read_examples(write("rows.jsonl", json.dumps(record)), task).examples
    assert example.fields == {"text": "warm, fresh", "before": ""}


def test_words_are_marked_where_their_first_character_stands(write):
    marks = [
        {"word": "pronoun", "index": "at", "unit": "character"},
        {"word": "name", "index": "name_at", "unit": "character", "sign": "#"},
    ]
    fields = {"text": {"path": "text", "marks": marks}}
    task = REVIEWS.model_validate(REVIEWS.model_dump() | {"fields": fields})
    record = {"text": "小猫饿了。它叫。", "pronoun": "它", "at": 5, "name": "小猫", "name_at": 0}
    good, bad = (json.dumps(record | {"label": 1, "at": at}) for at in (5, 6))
    file = write("rows.jsonl", good, bad)
    rows = read_examples(file, task)
    assert rows.examples[0].fields["text"] == "#小猫#饿了。*它*叫。"
    assert rows.problems == (
        f"{file}:2: character 6 of its text does not begin '它'; correct 'at'",
    )


def quiz(**choices) -> TaskConfig:
    return TaskConfig(
        name="quiz", kind="choice", patterns=["{text} [MASK]"], fields={"text": "text"},
        listed_choices={"path": "options", **choices},
    )  # fmt: skip


def test_equal_choices_keep_their_numbers(write):
    record = {"text": "One?", "options": ["two", "two", "one"], "label": 2}
    file = write("rows.jsonl", json.dumps(record))
    (example,) = read_examples(file, quiz()).examples
    assert (example.choices, example.golds) == (("two", "two", "one"), ("2",))


def test_choices_may_be_the_letters_of_a_list(write):
    record = {"text": "One?", "options": ["A. two", "C. none", "B. one"], "label": 1}
    file = write("rows.jsonl", json.dumps(record))
    (example,) = read_examples(file, quiz(letters=True)).examples
    assert example.choices == ("A", "B", "C")


def test_parts_share_the_limit_and_keep_their_rows_apart(write):
    task = REVIEWS.model_copy(update={"fields": {"text": "text", "subject": "part"}})
    lines = ["text,label", "Warm.,1", "Cold.,0", "Fresh.,1"]
    files = {name: write(f"{name}.csv", *lines) for name in ("bread", "cake", "tea")}
    examples = read_parts(files, task, 5).examples
    assert [(it.part, it.fields["subject"], it.fields["text"]) for it in examples] == [
        ("bread", "bread", "Warm."), ("bread", "bread", "Cold."),
        ("cake", "cake", "Warm."), ("cake", "cake", "Cold."),
        ("tea", "tea", "Warm."),
    ]  # fmt: skip
    assert len({it.group for it in examples}) == 5
    assert {it.part for it in read_parts(files, task, 2).examples} == {"bread", "cake"}


def test_worked_examples_are_those_of_the_same_part(write):
    patterns = [{"parts": ["~{shots}", "{text} It was [MASK]."], "shot": "{text} It was{choice}."}]
    task = REVIEWS.model_validate(REVIEWS.model_dump() | {"patterns": patterns, "shots": 1})
    lines = ["text,label", "Warm.,1", "Cold.,0"]
    files = {name: write(f"{name}.csv", *lines) for name in ("bread", "tea")}
    shots = {"bread": write("dev.csv", "text,label", "Old.,0", "New.,1")}
    with pytest.raises(InputError, match=r"no worked examples for 'tea'; add their file"):
        read_parts(files, task, shots=shots)
    examples = read_parts({"bread": files["bread"]}, task, shots=shots).examples
    assert [[shot.fields["text"] for shot in it.shots] for it in examples] == [["Old."], ["Old."]]
