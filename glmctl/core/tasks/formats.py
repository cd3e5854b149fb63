"""Files in the formats of their authors -> records, row by row.

A row that cannot be read spoils no other: it is given as its error, with its number.
"""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from glmctl.core.data.text import COMPRESSED, file_lines, line_text, open_binary, text_suffix
from glmctl.core.tasks.schema import Format
from glmctl.errors import InputError

TABLES = {".csv": ",", ".tsv": "\t"}
DELIMITERS = {",": "','", ";": "';'", "\t": "tabs"}
"""Spreadsheets write any of them into a .csv, by the country."""
OPEN_QUOTE = (
    "a cell opens with a quote that does not end it; double the quotes inside of it, or set "
    "quoted = false in the task where quotes are text"
)
FULL_WIDTH = "\uff0c"
"""The comma of Chinese text, which separates nothing."""
SAVE = "save it as CSV (UTF-8), or"
BEGINNINGS = {
    b"PK\x03\x04": f"is a workbook or an archive; {SAVE} unpack it",
    b"\xd0\xcf\x11\xe0": f"is a workbook of Excel; {SAVE} as JSON Lines",
    b"\xff\xfe": f"is UTF-16; {SAVE} convert it: iconv -f UTF-16 -t UTF-8",
    b"\xfe\xff": f"is UTF-16; {SAVE} convert it: iconv -f UTF-16 -t UTF-8",
}
"""Files that hold no lines of UTF-8, by their first bytes."""
SUFFIXES: Mapping[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".source": "pairs",
    ".conll": "conll",
    ".txt": "lines",
    ".text": "lines",
    ".tokens": "text",
}
DOCUMENT_START = "-DOCSTART-"
Record = Mapping[str, Any]
Row = tuple[int, Record | ValueError]
"""The number of its line, or of its question where a file is one JSON object."""


def records(
    file: Path,
    form: Format | None = None,
    *,
    columns: Sequence[str] = (),
    quoted: bool = True,
) -> Iterator[Row]:
    """The rows of a file; one that is broken as its error.

    Args:
        file: in any of the formats, also compressed.
        form: its format; None: as its name says, else JSON Lines.
        columns: names for those of a table that has no line of names.
        quoted: cells of a table may stand in quotes.

    Raises:
        InputError: nothing of the file can be read.
    """
    form = form or SUFFIXES.get(text_suffix(file), "jsonl")
    with open_binary(file) as stream:
        begins = stream.read(4)
    for mark, problem in BEGINNINGS.items():
        if begins.startswith(mark):
            raise InputError(str(file), problem)
    if form in ("csv", "tsv"):
        return table_rows(file, TABLES[f".{form}"], columns, quoted=quoted)
    if form == "pairs":
        return pairs(file)
    if form == "squad":
        return questions(file)
    if form == "conll":
        return sentences(file)
    if form == "json":
        return iter([(1, json_record(whole(file).encode()))])
    if form == "text":
        return whole_text(file)
    return each_line(file, is_json=form == "jsonl")


def lines_of(file: Path) -> Iterator[bytes]:
    return (line for some in file_lines(file) for line in some)


def each_line(file: Path, *, is_json: bool) -> Iterator[Row]:
    """JSON objects, or texts, one a line."""
    read = json_record if is_json else plain_record
    return ((n, read(line)) for n, line in enumerate(lines_of(file), 1) if line.strip())


def json_record(line: bytes) -> Record | ValueError:
    try:
        record = json.loads(line_text(line, is_json=False))
    except RecursionError:
        return ValueError("not JSON: nested too deeply; correct the line")
    except json.JSONDecodeError as error:
        return ValueError(f"not JSON: {error.msg} at column {error.colno}; correct the line")
    except ValueError as error:
        return ValueError(f"{error}; {remedy_of(line)}")
    if not isinstance(record, dict):
        return ValueError(f"is no JSON object but {str(record)[:30]!r}; write one a line")
    return record


def plain_record(line: bytes) -> Record | ValueError:
    try:
        return {"text": line_text(line, is_json=False)}
    except ValueError as error:
        return ValueError(f"{error}; {remedy_of(line)}")


def whole(file: Path) -> str:
    """All text of a file.

    Raises:
        InputError: it is no UTF-8.
    """
    data = b"\n".join(lines_of(file))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{file}:{line}", f"not UTF-8; {remedy_of(data)}") from None


def remedy_of(data: bytes) -> str:
    """What to do about text that is no UTF-8: where most high bytes are in pairs, it is GBK."""
    num_paired = sum(map(len, re.findall(rb"(?:[\x81-\xfe][\x80-\xfe])+", data)))
    num_high = len(re.findall(rb"[\x80-\xff]", data))
    code = "GBK" if 2 * num_paired > num_high else "WINDOWS-1252"
    return f"probably {code}; {SAVE} convert it: iconv -f {code} -t UTF-8"


def whole_text(file: Path) -> Iterator[Row]:
    """The file as one text."""
    if text := whole(file):
        yield 1, {"text": text}


def table_rows(
    file: Path, delimiter: str, columns: Sequence[str], *, quoted: bool
) -> Iterator[Row]:
    """The rows of a table, by the names of its columns."""
    csv.field_size_limit(1 << 30)
    text = whole(file)
    first = text.partition("\n")[0]
    if not columns and delimiter not in first:  # else a name may hold another one
        delimiter = max((delimiter, *DELIMITERS), key=first.count)
        if FULL_WIDTH in first and delimiter not in first:
            raise InputError(f"{file}:1", f"columns are separated by {FULL_WIDTH}; write a , there")
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        strict=True,
    )
    try:
        names = columns or [name.strip() for name in next(reader, [])]
    except csv.Error:
        raise InputError(f"{file}:1", OPEN_QUOTE) from None
    if twice := [name for name, number in Counter(filter(None, names)).items() if number > 1]:
        raise InputError(f"{file}:1", f"has several columns {twice[0]!r}; rename all but one")
    where = "the task" if columns else "the first line"
    while True:
        started_at = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield started_at, ValueError(OPEN_QUOTE)
            continue
        if len(row) == len(names):
            yield reader.line_num, dict(zip(names, row, strict=True))
        elif row:
            separated = f"separate them by {DELIMITERS[delimiter]}"
            remedy = "quote the text" if len(row) > len(names) else separated
            problem = f"has {len(row)} columns and {where} {len(names)}; {remedy}"
            yield reader.line_num, ValueError(problem)


def pairs(file: Path) -> Iterator[Row]:
    """Lines of NAME.source with those of NAME.target.

    Raises:
        InputError: one of the two is missing, or is shorter.
    """
    end = file.suffix if file.suffix in COMPRESSED else ""
    stem = file.name.removesuffix(end).removesuffix(".source").removesuffix(".target")
    source, target = (file.with_name(stem + side + end) for side in (".source", ".target"))
    if missing := next((it for it in (source, target) if not it.is_file()), None):
        raise InputError(str(missing), "is missing; lines of a .source need those of a .target")
    both = zip_longest(lines_of(source), lines_of(target))
    for number, (ours, theirs) in enumerate(both, 1):
        if ours is None or theirs is None:
            short = source if ours is None else target
            raise InputError(str(short), f"ends before line {number} of its partner; mend it")
        try:
            texts = (line_text(line, is_json=False).strip() for line in (ours, theirs))
            yield number, dict(zip(("source", "target"), texts, strict=True))
        except ValueError as error:
            yield number, error


def questions(file: Path) -> Iterator[Row]:
    """The questions of a file in the format of SQuAD 1.1 or 2.0, each with its context.

    Raises:
        InputError: it is no such file.
    """
    remedy = 'a file of SQuAD\'s format is one JSON object with "data"'
    try:
        with open_binary(file) as stream:
            articles = json.load(stream)["data"]
        paragraphs = [(it.get("title", ""), part) for it in articles for part in it["paragraphs"]]
        asked = [(title, part, qa) for title, part in paragraphs for qa in part["qas"]]
    except json.JSONDecodeError as error:
        problem = f"not JSON: {error.msg} at line {error.lineno}; {remedy}"
        raise InputError(str(file), problem) from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise InputError(str(file), f"not JSON: {error}; {remedy}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(str(file), f"lacks {error}; {remedy}") from None
    for number, (title, part, qa) in enumerate(asked, 1):
        try:
            yield number, question(title, part, qa)
        except (KeyError, TypeError) as error:
            yield number, ValueError(f"question {number} lacks {error}; mend it")


def question(title: str, part: Record, qa: Record) -> Record:
    """A question with the answers that differ; one that has none is impossible."""
    answers = {it["text"]: {"text": it["text"]} for it in qa.get("answers", ())}
    is_impossible = bool(qa.get("is_impossible", not answers))
    return {
        "id": qa["id"],
        "title": title,
        "context": part["context"],
        "question": qa["question"],
        "answers": [] if is_impossible else [*answers.values()],
        "is_impossible": is_impossible,
    }


def sentences(file: Path) -> Iterator[Row]:
    """Sentences of a file with a token a line, tag last, and an empty line between sentences."""
    rows: list[list[str]] = []
    start = 0
    for number, line in enumerate((*lines_of(file), b""), 1):
        try:
            columns = line_text(line, is_json=False).split()
        except ValueError as error:
            yield number, error
            continue
        if columns and columns[0] != DOCUMENT_START:
            start = start if rows else number
            rows.append(columns)
        elif rows:
            yield start, sentence(rows, start)
            rows = []


def sentence(rows: Sequence[Sequence[str]], start: int) -> Record | ValueError:
    """Tokens, tags and entities of a sentence."""
    if len(rows[0]) < 2 or any(len(row) != len(rows[0]) for row in rows):
        return ValueError("has no tag behind each token; write as many columns in each line")
    tokens, tags = [row[0] for row in rows], [row[-1] for row in rows]
    found = [
        {"type": kind, "text": " ".join(tokens[first:last]), "start": first, "end": last}
        for kind, first, last in entities(tags)
    ]
    text = " ".join(tokens)
    return {"id": start, "text": text, "tokens": tokens, "tags": tags, "entities": found}


def entities(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """Spans of tags in IOB1 or IOB2, as seqeval reads both: type, first token, token behind.

    B- starts an entity, and so does I- behind another type or outside of all.
    """
    found: list[tuple[str, int, int]] = []
    before: str | None = None
    for place, tag in enumerate(tags):
        mark, _, kind = tag.partition("-")
        if mark == "O":
            before = None
            continue
        if mark == "B" or kind != before:
            found.append((kind, place, place + 1))
        else:
            found[-1] = (kind, found[-1][1], place + 1)
        before = kind
    return found
