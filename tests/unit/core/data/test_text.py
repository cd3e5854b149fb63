import bz2
import gzip
import io
import json
import lzma
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from glmctl.core.data.text import (
    BATCH_BYTES,
    BUILTIN,
    BrokenRows,
    file_lines,
    find_files,
    read_lines,
    read_texts,
    stream_lines,
)
from glmctl.errors import InputError


def write(file, data: bytes) -> str:
    file.write_bytes(data)
    return str(file)


def zstd(data: bytes) -> bytes:
    return pa.Codec("zstd").compress(data, asbytes=True)


COMPRESSIONS = [
    (".gz", gzip.compress),
    (".xz", lzma.compress),
    (".bz2", bz2.compress),
    (".zst", zstd),
]


def read_documents(source, column: str = "text") -> Iterator[str]:
    for file in find_files(source):
        for texts in read_lines(file, column, 0, file.stat().st_size, BrokenRows("stop")):
            yield from filter(None, texts)


def test_a_line_of_text_is_a_document_and_empty_lines_are_none(tmp_path):
    source = write(tmp_path / "a.txt", "one\n\ntwo\u2028still two\r\n three \n\nfour".encode())
    assert [*read_documents(source)] == ["one", "two\u2028still two", " three ", "four"]


def test_json_lines_give_their_text(tmp_path):
    rows = [{"text": "a\nb", "title": "x"}, {"text": ""}, {"text": "\u70e4\u7bb1 \U0001f600"}]
    source = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)).encode() + b"\n\n")
    assert [*read_documents(source)] == ["a\nb", "\u70e4\u7bb1 \U0001f600"]


def test_another_key_may_hold_the_text(tmp_path):
    source = write(tmp_path / "a.jsonl", b'{"text": 1, "body": "one"}\n')
    assert [*read_documents(source, "body")] == ["one"]


@pytest.mark.parametrize(("suffix", "compress"), COMPRESSIONS)
def test_compressed_files_read_as_plain_ones(tmp_path, suffix, compress):
    text = write(tmp_path / f"a.txt{suffix}", compress(b"one\ntwo\n"))
    rows = write(tmp_path / f"a.jsonl{suffix}", compress(b'{"text": "three"}\n'))
    assert [*read_documents(text), *read_documents(rows)] == ["one", "two", "three"]


def test_a_folder_is_searched_through_in_order(tmp_path):
    (tmp_path / "b").mkdir()
    write(tmp_path / "b" / "x.txt", b"third")
    write(tmp_path / "a.txt", b"first")
    write(tmp_path / "a2.jsonl.gz", gzip.compress(b'{"text": "second"}'))
    write(tmp_path / "notes.tsv", b"never")
    assert [*read_documents(tmp_path)] == ["first", "second", "third"]


def test_the_demo_text_is_in_the_package():
    assert len([*read_documents("glmctl-demo")]) > 50
    assert set(BUILTIN) == {"glmctl-demo", "glmctl-demo-held-out"}


def test_a_line_longer_than_a_batch_is_one_document(tmp_path):
    long = "x" * (2 * BATCH_BYTES + 1)
    source = write(tmp_path / "a.txt", f"one\n{long}\ntwo".encode())
    assert [*read_documents(source)] == ["one", long, "two"]


@pytest.mark.parametrize("cut", range(17))
def test_ranges_of_a_file_share_its_lines_out(tmp_path, cut):
    data = b"one\n\ntwo\nthree\n4"
    file = tmp_path / "a.txt"
    write(file, data)
    found: list[str] = []
    for start, stop in ((0, cut), (cut, len(data))):
        for texts in read_lines(file, "text", start, stop, BrokenRows("stop")):
            found += texts
    assert found == ["one", "", "two", "three", "4"]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "a.txt",
            b"one\n\xe7\x83\nthree\n",
            r"a.txt:2: not UTF-8: byte 0xe7 at byte 0 of the line; correct it",
        ),
        (
            "a.jsonl",
            b'{"text": "a"}\n\n{"text": "b"\n',
            r"a.jsonl:3: not JSON: Expecting ',' delimiter at column 13, in '{\"text\": \"b\"'; "
            r"correct it, name another column, or leave such rows out "
            r'\(--on-error skip; in a recipe data.on_error = "skip"\)$',
        ),
        (
            "a.jsonl",
            b'{"text": 7}\n',
            r'a.jsonl:1: not an object with a string "text", but \'{"text": 7}\';',
        ),
        ("a.jsonl", b"[1]\n", r'a.jsonl:1: not an object with a string "text", but \'\[1\]\';'),
        (
            "a.jsonl",
            b'{"title": "a", "body": "b"}\n',
            r'a.jsonl:1: not an object with a string "text", but \'{"title": "a", "body": "b"}\';',
        ),
        ("a.jsonl", b'{"text": "\\ud83d"}', r"a.jsonl:1: half a surrogate pair at character 0"),
    ],
)
def test_a_bad_line_is_named(tmp_path, name, data, message):
    with pytest.raises(InputError, match=message):
        [*read_documents(write(tmp_path / name, data))]


def test_a_bad_line_of_a_compressed_file_is_named(tmp_path):
    source = write(tmp_path / "a.txt.gz", gzip.compress(b"one\ntwo\n\xff\n"))
    with pytest.raises(InputError, match=r"a.txt.gz:3: not UTF-8: byte 0xff"):
        [*read_documents(source)]


@pytest.mark.parametrize(("suffix", "compress"), COMPRESSIONS)
def test_a_damaged_compressed_file_is_refused(tmp_path, suffix, compress):
    source = write(tmp_path / f"a.txt{suffix}", compress(b"one\n" * 100)[:-9])
    with pytest.raises(
        InputError, match=rf"a.txt{suffix}: damaged {suffix} file .*; copy or make it again"
    ):
        [*read_documents(source)]


def test_a_broken_line_in_a_million_is_skipped_and_named(tmp_path):
    lines = [b'{"text": "x"}'] * 1_000_000
    lines[777_777] = b'{"text": "x"'
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"\n".join(lines))
    broken = BrokenRows("skip")
    batches = read_lines(file, "text", 0, file.stat().st_size, broken)
    assert sum(map(len, batches)) == 999_999
    assert broken.count == 1
    assert broken.named()[0].startswith(
        f"{file}:777778: not JSON: Expecting ',' delimiter at column 13"
    )


def test_of_many_broken_lines_all_are_counted_and_five_named(tmp_path):
    file = tmp_path / "a.txt"
    file.write_bytes(b"one\n" + b"\xff\n" * 9 + b"two\n")
    broken = BrokenRows("skip")
    assert [*read_lines(file, "text", 0, file.stat().st_size, broken)] == [["one", "two"]]
    assert broken.count == 9
    assert [row.where() for row in broken.first] == [f"{file}:{n}" for n in range(2, 7)]


def test_what_the_system_says_of_a_file_is_not_called_damage():
    with pytest.raises(FileNotFoundError):
        [*read_lines(Path("gone.txt"), "text", 0, 1, BrokenRows("stop"))]


def test_what_is_not_there_or_not_text_is_refused(tmp_path):
    for place in (tmp_path / "gone.txt", tmp_path):
        with pytest.raises(
            InputError, match=r"no such text; name a file, a folder of .txt .* or one of glmctl-"
        ):
            find_files(place)
    (file,) = find_files(write(tmp_path / "a.parquet", b"PAR1"))
    with pytest.raises(InputError, match=r"a.parquet: holds no lines; tokenize --out and recipes"):
        [*file_lines(file)]


def test_lines_of_a_stream_come_as_they_arrive():
    class Slow(io.RawIOBase):
        blocks = (b"a", b"b\nc\n\nd", b"e", b"", b"never")

        def readable(self):
            return True

        def readinto(self, buffer):
            block, *self.blocks = self.blocks
            buffer[: len(block)] = block
            return len(block)

    lines = stream_lines(io.BufferedReader(Slow()))
    assert [*lines] == [[b"ab", b"c", b""], [b"de"]]


def test_lines_are_numbered_in_their_file_and_a_bad_one_says_why(tmp_path):
    plain = write(tmp_path / "a.txt", b"one\n\xff\n")
    record = write(tmp_path / "b.jsonl", b'{"text": "two"}\n')
    lines = [line.record() for some in read_texts([plain, record]) for line in some]
    assert lines == [
        {"file": plain, "line": 1, "text": "one"},
        {"file": plain, "line": 2, "error": "not UTF-8: byte 0xff at byte 0 of the line"},
        {"file": record, "line": 1, "text": "two"},
    ]
