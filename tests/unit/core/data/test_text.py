import gzip
import io
import json
import lzma

import pytest

from glmctl.core.data.text import (
    BATCH_BYTES,
    BUILTIN,
    Part,
    find_files,
    read_batches,
    read_documents,
    stream_lines,
)
from glmctl.errors import InputError


def write(file, data: bytes) -> str:
    file.write_bytes(data)
    return str(file)


def test_a_line_of_text_is_a_document_and_empty_lines_are_none(tmp_path):
    source = write(tmp_path / "a.txt", "one\n\ntwo\u2028still two\r\n three \n\nfour".encode())
    assert [*read_documents(source)] == ["one", "two\u2028still two", " three ", "four"]


def test_json_lines_give_their_text(tmp_path):
    rows = [{"text": "a\nb", "title": "x"}, {"text": ""}, {"text": "\u70e4\u7bb1 \U0001f600"}]
    source = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)).encode() + b"\n\n")
    assert [*read_documents(source)] == ["a\nb", "\u70e4\u7bb1 \U0001f600"]


@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".xz", lzma.compress)])
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
    parts = [Part(file, 0, cut), Part(file, cut, len(data))]
    found = [text for part in parts for texts in read_batches(part) for text in texts]
    assert found == ["one", "", "two", "three", "4"]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "a.txt",
            b"one\n\xe7\x83\nthree\n",
            r"a.txt:2: not UTF-8: byte 0xe7 at byte 0 of the line \(the line starts at byte 4\)",
        ),
        (
            "a.jsonl",
            b'{"text": "a"}\n\n{"text": "b"\n',
            r"a.jsonl:3: not JSON: .* at column 13 \(the line starts at byte 15\)",
        ),
        ("a.jsonl", b'{"text": 7}\n', r'a.jsonl:1: not an object with a string "text"'),
        ("a.jsonl", b"[1]\n", r'a.jsonl:1: not an object with a string "text"'),
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


@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".xz", lzma.compress)])
def test_a_damaged_compressed_file_is_refused(tmp_path, suffix, compress):
    source = write(tmp_path / f"a.txt{suffix}", compress(b"one\n" * 100)[:-9])
    with pytest.raises(InputError, match=rf"a.txt{suffix}: damaged {suffix} file"):
        [*read_documents(source)]


def test_what_is_not_there_or_not_text_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such text; name a file, a folder or one of glmctl-"):
        find_files(tmp_path / "gone.txt")
    with pytest.raises(InputError, match=r"holds no text; files named .txt .text .jsonl"):
        find_files(tmp_path)
    with pytest.raises(InputError, match=r"a.parquet: .parquet is not read"):
        find_files(write(tmp_path / "a.parquet", b"PAR1"))


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
