"""Files in the formats of their authors, read row by row; all texts are our own."""

import gzip
import json
import re

import pytest

from glmctl.core.tasks.formats import entities, records
from glmctl.core.tasks.read import read_examples
from glmctl.core.tasks.schema import TaskConfig
from glmctl.errors import InputError


@pytest.fixture
def write(tmp_path):
    def put(name: str, text: str):
        data = text.encode()
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return tmp_path / name

    return put


@pytest.mark.parametrize("end", ["", ".gz"])
def test_lines_of_a_source_go_with_those_of_its_target(write, end):
    write(f"val.target{end}", "Short.\nShorter.\n")
    rows = [*records(write(f"val.source{end}", "A long text.\nAnother one.\n"))]
    assert rows == [
        (1, {"source": "A long text.", "target": "Short."}),
        (2, {"source": "Another one.", "target": "Shorter."}),
    ]


def test_a_source_needs_a_target_of_its_length(write):
    file = write("val.source", "one\ntwo\n")
    with pytest.raises(InputError, match=r"val.target: is missing; lines of a .source need"):
        [*records(file)]
    write("val.target", "one\n")
    with pytest.raises(InputError, match=r"val.target: ends before line 2 of its partner"):
        [*records(file)]


PAGE = {
    "version": "v2.0",
    "data": [{"title": "Bakery", "paragraphs": [{"context": "It opens at six.", "qas": [
        {"id": "a", "question": "When?", "answers": [
            {"text": "six", "answer_start": 12}, {"text": "at six", "answer_start": 9},
            {"text": "six", "answer_start": 12}]},
        {"id": "b", "question": "Why?", "answers": [], "is_impossible": True},
        {"question": "Who?", "answers": []},
    ]}]}],
}  # fmt: skip


def test_questions_of_squad_have_their_context_and_the_answers_that_differ(write):
    rows = [*records(write("dev.json.gz", json.dumps(PAGE)), "squad")]
    assert rows[0] == (1, {
        "id": "a", "title": "Bakery", "context": "It opens at six.", "question": "When?",
        "answers": [{"text": "six"}, {"text": "at six"}], "is_impossible": False,
    })  # fmt: skip
    assert (rows[1][1]["answers"], rows[1][1]["is_impossible"]) == ([], True)
    assert str(rows[2][1]) == "question 3 lacks 'id'; mend it"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"data": [', "not JSON: Expecting value at line 1; a file of SQuAD's format is one"),
        ('{"rows": []}', "lacks 'data'; a file of SQuAD's format is one JSON object"),
        ("[1]", "lacks list indices must be integers"),
    ],
)
def test_a_file_that_is_not_squads_is_refused(write, text, problem):
    with pytest.raises(InputError, match=problem):
        [*records(write("dev.json", text), "squad")]


def test_sentences_have_tokens_tags_and_entities(write):
    file = write(
        "val.conll",
        "-DOCSTART- -X- O\n\nAnn NN B-PER\nLee NN I-PER\nbakes NN O\n\n\nin IN O\nRome NN I-LOC",
    )
    assert [*records(file)] == [
        (3, {
            "id": 3, "text": "Ann Lee bakes", "tokens": ["Ann", "Lee", "bakes"],
            "tags": ["B-PER", "I-PER", "O"],
            "entities": [{"type": "PER", "text": "Ann Lee", "start": 0, "end": 2}],
        }),
        (8, {
            "id": 8, "text": "in Rome", "tokens": ["in", "Rome"], "tags": ["O", "I-LOC"],
            "entities": [{"type": "LOC", "text": "Rome", "start": 1, "end": 2}],
        }),
    ]  # fmt: skip


def test_a_sentence_with_a_torn_line_is_named_and_spoils_no_other(write):
    rows = [*records(write("val.conll", "Ann B-PER\nbakes\n\nin O\n"))]
    assert str(rows[0][1]).startswith("has no tag behind each token")
    assert (rows[0][0], rows[1][0], rows[1][1]["tokens"]) == (1, 4, ["in"])


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("B-PER I-PER O B-PER B-PER I-PER", "PER 0 2, PER 3 4, PER 4 6"),  # IOB2
        ("I-PER I-PER O I-PER B-PER I-LOC", "PER 0 2, PER 3 4, PER 4 5, LOC 5 6"),  # IOB1
        ("O I-LOC B-LOC I-LOC I-PER O", "LOC 1 2, LOC 2 4, PER 4 5"),
        ("B-LOC O I-LOC I-PER", "LOC 0 1, LOC 2 3, PER 3 4"),
        ("O O", ""),
        ("I-MISC", "MISC 0 1"),
    ],
)
def test_entities_are_those_that_seqeval_finds(tags, expected):
    found = [f"{kind} {start} {stop}" for kind, start, stop in entities(tags.split())]
    assert ", ".join(found) == expected


def test_plain_text_is_a_text_a_line_or_one_text(write):
    assert [*records(write("val.txt", "One.\n\nTwo.\n"))] == [
        (1, {"text": "One."}), (3, {"text": "Two."}),
    ]  # fmt: skip
    assert [*records(write("wiki.valid.tokens", " = A = \n\n b \n"))] == [
        (1, {"text": " = A = \n\n b "})
    ]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ('text\tlabel\na\t1\n"Oh" he said\t0\nb\t1\n', [2, 4]),
        ('text\tlabel\na\t1\n"Oh he said\t0\nb\t1\n', [2]),
    ],
)
def test_a_quote_that_ends_no_cell_is_named_where_it_opens(write, text, numbers):
    rows = [*records(write("rows.tsv", text))]
    ((place, problem),) = [row for row in rows if isinstance(row[1], ValueError)]
    assert place == 3
    assert "set quoted = false in the task" in str(problem)
    assert [number for number, row in rows if not isinstance(row, ValueError)] == numbers


def test_a_quote_that_never_ends_in_the_names_is_an_error(write):
    with pytest.raises(InputError, match="opens with a quote"):
        [*records(write("rows.csv", '"text,label\na,1\n'))]


def test_a_table_may_have_no_names_and_no_quotes(write):
    file = write("val.tsv", 'a "b\t1\nc\t0\n')
    rows = [*records(file, columns=("text", "label"), quoted=False)]
    assert rows == [(1, {"text": 'a "b', "label": "1"}), (2, {"text": "c", "label": "0"})]
    narrow = [*records(file, columns=("text",), quoted=False)]
    assert str(narrow[0][1]) == "has 2 columns and the task 1; quote the text"


def test_a_task_says_the_format_where_the_name_does_not(write):
    task = TaskConfig(
        name="t", kind="generate", format="squad", patterns=["{context} {question} [MASK]"],
        fields={"context": "context", "question": "question"},
        golds={"path": "answers", "key": "text"},
    )  # fmt: skip
    rows = read_examples(write("dev.json", json.dumps(PAGE)), task)
    assert [it.golds for it in rows.examples] == [("six", "at six"), ()]
    assert [it.rpartition(": ")[2] for it in rows.problems] == ["question 3 lacks 'id'; mend it"]


ROWS = "评论,标签\n面包很香。,1\n房间太冷。,0\n"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("rows.csv", ROWS.encode("utf-16"), ": is UTF-16; save it as CSV (UTF-8), or convert it"),
        ("rows.csv", ROWS.encode("gbk"), ":1: not UTF-8; probably GBK; save it as CSV (UTF-8), or "
         "convert it: iconv -f GBK -t UTF-8"),
        ("rows.csv", "text,label\nSchön und früh.,1\n".encode("cp1252"),
         ":2: not UTF-8; probably WINDOWS-1252; save it"),
        ("rows.xlsx", b"PK\x03\x04\x14\x00", ": is a workbook or an archive; save it as"),
        ("rows.xls", b"\xd0\xcf\x11\xe0\xa1\xb1", ": is a workbook of Excel; save it as CSV"),
        ("rows.csv", ROWS.replace(",", "\uff0c").encode(),
         ":1: columns are separated by \uff0c; write a , there"),
        ("rows.csv", b"text,label,text\na,1,b\n", ":1: has several columns 'text'; rename all but"),
    ],
    ids=["utf-16", "gbk", "latin", "xlsx", "xls", "full-width", "twice"],
)  # fmt: skip
def test_what_is_no_table_of_utf_8_is_named_with_a_remedy(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=re.escape(f"{name}{message}")):
        [*records(tmp_path / name)]


def test_a_line_in_another_encoding_is_named_and_spoils_no_other(tmp_path):
    lines = [json.dumps({"text": "面包"}, ensure_ascii=False).encode(it) for it in ("utf-8", "gbk")]
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join(lines))
    good, bad = (row for _, row in records(tmp_path / "rows.jsonl"))
    assert good == {"text": "面包"}
    assert str(bad).startswith("not UTF-8: byte 0xc3 at byte 10 of the line; probably GBK; save it")


def test_a_full_width_comma_in_a_row_is_text(tmp_path):
    (tmp_path / "rows.csv").write_text("评论,标签\n香\uff0c软,1\n冷\uff0c0\n", encoding="utf-8")
    good, bad = (row for _, row in records(tmp_path / "rows.csv"))
    assert good == {"评论": "香\uff0c软", "标签": "1"}
    assert str(bad) == "has 1 columns and the first line 2; separate them by ','"
