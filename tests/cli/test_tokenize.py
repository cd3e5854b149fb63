import json
import os
import subprocess
import sys

import pytest

TEXT = "The oven is hot.\n\n\u9762\u5305\u5e97\u516d\u70b9\u5f00\u95e8\u3002 \U0001f600  x\n"


def raw(tmp_path, *args: str, stdin: bytes) -> subprocess.CompletedProcess[bytes]:
    command = os.path.join(os.path.dirname(sys.executable), "glmctl")
    return subprocess.run(
        [command, *args], input=stdin, capture_output=True, cwd=tmp_path, check=False
    )


def test_text_becomes_ids_and_ids_become_the_same_text(glmctl):
    done = glmctl("tokenize", stdin=TEXT)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert lines[1] == ""
    assert all(word.isdigit() for word in lines[0].split())
    assert glmctl("tokenize", "--decode", stdin=done.stdout).stdout == TEXT


def test_files_are_read_in_order(glmctl, tmp_path):
    (tmp_path / "a.txt").write_text("one\n")
    (tmp_path / "b.jsonl").write_text('{"text": "two"}\n')
    one, two = (glmctl("tokenize", stdin=text).stdout for text in ("one", "two"))
    assert glmctl("tokenize", "a.txt", "b.jsonl").stdout == one + two


def test_json_has_pieces_and_their_characters(glmctl):
    done = glmctl("tokenize", "--json", stdin="An oven [MASK].\n")
    record = json.loads(done.stdout)
    assert record["schema"] == "glmctl.TokenizedLine/1"
    assert (record["line"], record["text"]) == (1, "An oven [MASK].")
    assert len(record["ids"]) == len(record["pieces"]) == len(record["offsets"])
    place = record["pieces"].index("[MASK]")
    assert record["offsets"][place] == [8, 14]


def test_a_line_that_is_not_utf8_keeps_its_place(tmp_path):
    done = raw(tmp_path, "tokenize", stdin=b"one\n\xff\xfe\ntwo\n")
    assert done.returncode == 1
    first, second, third = done.stdout.split(b"\n")[:3]
    assert first
    assert second == b""
    assert third
    assert done.stderr == b"error: line 2: not UTF-8: byte 0xff at byte 0 of the line\n"


def test_a_line_that_is_not_utf8_is_a_record_of_its_own_in_json(tmp_path):
    done = raw(tmp_path, "tokenize", "--json", stdin=b"one\n\xff\n")
    assert done.returncode == 1
    record = json.loads(done.stdout.splitlines()[1])
    assert record["error"].startswith("not UTF-8: byte 0xff")
    assert done.stderr == b""


def test_bad_ids_keep_their_place(glmctl):
    good = glmctl("tokenize", stdin="oven").stdout
    done = glmctl("tokenize", "--decode", stdin=f"{good}999999\nx 1\n-1\n{good}{'9' * 5000}")
    assert done.returncode == 1
    assert done.stdout == "oven\n\n\n\noven\n\n"
    assert "line 2: id 999999: not in the vocabulary, whose ids are 0 to" in done.stderr
    assert "line 3: 'x' is not an id; ids are whole numbers" in done.stderr
    assert "line 4: '-1' is not an id" in done.stderr
    assert "line 6: '999" in done.stderr


def test_a_text_of_several_lines_is_shown_in_json_only(glmctl, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one\\ntwo"}\n')
    ids = glmctl("tokenize", "a.jsonl").stdout
    done = glmctl("tokenize", "--decode", stdin=ids)
    assert (done.returncode, done.stdout) == (1, "\n")
    assert "line 1: the text has several lines; --json shows it" in done.stderr
    assert json.loads(glmctl("tokenize", "--decode", "--json", stdin=ids).stdout)["text"] == (
        "one\ntwo"
    )


def test_a_megabyte_line_is_one_line(glmctl):
    text = "The oven is hot. " * 70_000 + "\n"
    done = glmctl("tokenize", stdin=text)
    assert done.stdout.count("\n") == 1
    assert glmctl("tokenize", "--decode", stdin=done.stdout).stdout == text


def test_head_ends_it_quietly():
    command = os.path.join(os.path.dirname(sys.executable), "glmctl")
    script = f"yes 'The oven is hot.' | head -50000 | ({command} tokenize; echo $? >&2) | head -1"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.count("\n") == 1
    assert done.stderr == "0\n"


def test_a_vocabulary_is_learned_and_used(glmctl, tmp_path):
    done = glmctl(
        "tokenize", "glmctl-demo", "--train", "--vocab-size", "1200", "--out", "new.model", "--json"
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result == {
        "schema": "glmctl.VocabularyResult/1",
        "file": "new.model",
        "vocab_size": 1200,
        "model_type": "unigram",
        "is_lossless": True,
    }
    ids = glmctl("tokenize", "--tokenizer", "new.model", stdin=TEXT).stdout
    assert glmctl("tokenize", "--tokenizer", "new.model", "--decode", stdin=ids).stdout == TEXT


def test_shards_are_written_and_the_same_command_again_is_content(glmctl, tmp_path):
    args = ("tokenize", "glmctl-demo", "--out", "shards", "--processes", "2", "--json")
    done = glmctl(*args)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["schema"] == "glmctl.ShardsResult/1"
    manifest = json.loads((tmp_path / "shards" / "manifest.json").read_text())
    assert result["num_tokens"] == manifest["num_tokens"] > 10_000
    assert json.loads(glmctl(*args).stdout) == result


def test_a_broken_line_stops_and_is_skipped_when_asked(glmctl, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"body": "one"}\n{"body":\n{"body": "two"}\n')
    args = ("tokenize", "a.jsonl", "--out", "shards", "--column", "body", "--json")
    done = glmctl(*args)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: a.jsonl:2: not JSON: Expecting value at column 9, in ")
    assert "--on-error skip" in done.stderr
    done = glmctl(*args, "--on-error", "skip")
    assert done.returncode == 0
    assert done.stderr.startswith("warning: 1 broken row left out: a.jsonl:2: not JSON: ")
    result = json.loads(done.stdout)
    assert (result["num_documents"], result["num_broken"]) == (2, 1)
    (named,) = json.loads((tmp_path / "shards" / "manifest.json").read_text())["broken"]
    assert named.startswith("a.jsonl:2: not JSON: ")


def test_a_vocabulary_is_learned_without_broken_lines_when_asked(glmctl, tmp_path):
    text = "The grey cat sleeps beside the oven of the bakery. " * 20
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": text}) + "\n[]\n")
    args = ("tokenize", "a.jsonl", "--train", "--vocab-size", "300", "--out", "new.model")
    args += ("--model-type", "bpe")
    assert glmctl(*args).returncode == 3
    done = glmctl(*args, "--on-error", "skip")
    assert done.returncode == 0, done.stderr
    assert "warning: 1 broken row left out: a.jsonl:2: not an object with a" in done.stderr


def test_a_data_set_is_named_with_its_revision_and_split(glmctl, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "test.txt").write_text("one\ntwo\n")
    offline = {"GLMCTL_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    args = ("tokenize", "--out", "shards", "--split", "test", "--json")
    done = glmctl(*args, "hf:./set", env=offline)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["num_documents"] == 2
    (source,) = json.loads((tmp_path / "shards" / "manifest.json").read_text())["sources"]
    assert source["file"] == "hf:./set split test"
    done = glmctl(*args, "hf:nobody/nothing@v1", env=offline)
    assert (done.returncode, done.stdout) == (4, "")
    assert "error: hf:nobody/nothing@v1 split test: not on this machine" in done.stderr


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["--tokenizer", "nope"], 3, "nope: no such tokenizer; name a file, a folder, hf:NAME"),
        (["gone.txt"], 3, "gone.txt: no such text"),
        (["--processes", "2"], 2, "--processes does not go with encoding"),
        (["--decode", "--out", "x"], 2, "--out does not go with --decode"),
        (["--train", "glmctl-demo"], 2, "--train needs --vocab-size N and --out FILE"),
        (["--train", "--vocab-size", "9", "--out", "x"], 2, "INPUT: is missing; name files"),
        (["--out", "x"], 2, "INPUT: is missing; name files, folders or hf:NAME to read"),
        (["--on-error", "skip"], 2, "--on-error does not go with encoding"),
        (["glmctl-demo", "--out", "x", "--split", "test"], 2, "--split: goes with a data set only"),
        (["--special", "glm-english"], 2, "'glm-english' does not fit kind 'sentencepiece'"),
        (["--kind", "trie"], 2, "trie"),
    ],
)
def test_what_cannot_be_done_is_said(glmctl, args, code, message):
    done = glmctl("tokenize", *args)
    assert done.returncode == code
    assert done.stdout == ""
    assert message in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


def test_nothing_is_fetched_offline(glmctl):
    done = glmctl(
        "tokenize", "--tokenizer", "hf:nobody/nothing", stdin="x", env={"GLMCTL_OFFLINE": "1"}
    )
    assert done.returncode == 4
    assert "not on this machine, and the network is switched off" in done.stderr


def test_a_full_disk_is_a_fault_of_the_machine():
    command = os.path.join(os.path.dirname(sys.executable), "glmctl")
    script = f"yes oven | head -50000 | {command} tokenize > /dev/full"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "No space left on device; free some space" in done.stderr
    assert "Traceback" not in done.stderr
