import json
from pathlib import Path

import pytest

WORDPIECE = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"the oven is hot . o ##ven".split()]


@pytest.fixture
def bert(tmp_path: Path) -> str:
    (tmp_path / "vocab.txt").write_text("\n".join(WORDPIECE))
    return "vocab.txt"


def test_the_default_tokenizer_copes_with_the_demo_text(glmctl):
    done = glmctl("tokenize", "--audit", "glmctl-demo", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["schema"] == "glmctl.AuditResult/1"
    assert (report["tokenizer"], report["is_lossless"]) == ("glmctl-default", True)
    assert (report["findings"], report["unknown"]) == ([], [])
    assert [script["script"] for script in report["scripts"]] == ["Latin", "Han", "all"]
    assert report["special_tokens"]["<|endofpiece|>"] == report["size"] - 1


def test_without_text_the_vocabulary_alone_is_audited(glmctl, bert):
    done = glmctl("tokenize", "--audit", "--tokenizer", bert)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split() for line in lines[:4]] == [
        ["tokenizer", "vocab.txt"], ["kind", "wordpiece"], ["special", "glm-english"],
        ["size", "14"],
    ]  # fmt: skip
    assert "[MASK] 4" in lines[6]
    assert lines[-2].startswith("note: special tokens: no [sMASK] and no [gMASK]")
    assert lines[-1] == "  choose a --special that has them, as glm-english-task"
    assert "characters" not in done.stdout


def test_what_would_spoil_training_is_exit_code_1(glmctl, bert):
    text = "the oven\n\u70e4\u7bb1 \U0001f600\n"
    done = glmctl("tokenize", "--audit", "--tokenizer", bert, stdin=text)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert [line.split() for line in lines if line.startswith(("Han", "symbols"))] == [
        ["Han", "1", "4", "3", "1.3333", "3"],
        ["Han", "2", "\u70e4", "U+70E4", "line", "2,", "\u7bb1", "U+7BB1", "line", "2"],
        ["symbols", "1", "\U0001f600", "U+1F600", "line", "2"],
    ]  # fmt: skip
    assert "spoils training: text: 3 of 5 tokens are unknown (60.0%): Han 2, sy" in done.stdout


def test_a_line_that_cannot_be_read_would_stop_training(glmctl, bert, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "the oven"}\n{"txt": 1}\n{\n')
    done = glmctl("tokenize", "--audit", "--tokenizer", bert, "a.jsonl", "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["spoils_training"]
    assert report["scripts"][-1]["num_lines"] == 1
    (finding,) = [entry for entry in report["findings"] if entry["kind"] == "unreadable_lines"]
    assert finding["where"] == "a.jsonl:2"
    assert finding["what"].startswith(
        'lines that cannot be read: 2; the first is not an object with a string "text"'
    )
    assert "--on-error skip" in finding["remedy"]
    assert finding["spoils_training"]


def test_a_model_with_too_few_rows_is_found(glmctl, tiny_model, tmp_path):
    assert glmctl("tokenize", "--audit", "--tokenizer", str(tiny_model)).returncode == 0
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("tiny.model", "config.toml"):
        (folder / name).write_bytes((tiny_model / name).read_bytes())
    section = folder / "config.toml"
    section.write_text(section.read_text().replace("vocab_rows = 384", "vocab_rows = 320"))
    done = glmctl("tokenize", "--audit", "--tokenizer", "model")
    assert done.returncode == 1
    assert "ids must be below 320, and the tokenizer has 328; out of range are" in done.stdout


def test_lines_that_two_tokenizers_cut_differently_are_shown(glmctl, bert, tmp_path):
    (tmp_path / "other.txt").write_text("\n".join(line for line in WORDPIECE if line != "oven"))
    (tmp_path / "a.txt").write_text("is hot\nThe oven is hot.\n\u70e4\nhot oven\n")
    done = glmctl("tokenize", "--diff", bert, "other.txt", "a.txt", "--limit", "1")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:3] == ["a.txt:2", "  A  the|oven|is|hot|.", "  B  the|o|##ven|is|hot|."]
    assert [line.split() for line in lines[4:6]] == [["lines", "4"], ["different", "2"]]
    assert [line.split() for line in lines[7:12]] == [
        ["a"],
        ["tokenizer", "vocab.txt"],
        ["tokens", "10"],
        ["characters", "per", "token", "3.1000"],
        ["unknown", "1"],
    ]
    assert lines[15].split() == ["tokens", "12"]


def test_differences_are_a_stream_in_json(glmctl, bert):
    done = glmctl("tokenize", "--diff", bert, "glmctl-default", "--json", stdin="the\n\n. .\n")
    assert done.returncode == 0, done.stderr
    different, total = map(json.loads, done.stdout.splitlines())
    assert different["schema"] == "glmctl.DifferentLine/1"
    assert (different["file"], different["line"], different["text"]) == (None, 3, ". .")
    assert different["at"] == 1
    assert different["a"] == {"ids": [9, 9], "pieces": [".", "."], "offsets": [[0, 1], [2, 3]]}
    assert different["b"]["offsets"] == [[0, 1], [1, 2], [2, 3]]
    assert total["schema"] == "glmctl.DiffResult/1"
    assert (total["num_lines"], total["num_different"]) == (2, 1)
    assert (total["a"]["num_tokens"], total["b"]["num_tokens"]) == (3, 4)


def test_a_line_that_cannot_be_compared_is_an_error_record(glmctl, bert, tmp_path):
    (tmp_path / "a.jsonl").write_text('{\n{"text": "the"}\n')
    done = glmctl("tokenize", "--diff", bert, bert, "a.jsonl", "--json")
    assert done.returncode == 1
    record, total = map(json.loads, done.stdout.splitlines())
    assert record["line"] == 1
    assert record["error"].startswith("not JSON")
    assert total["num_lines"] == 1
    plain = glmctl("tokenize", "--diff", bert, bert, "a.jsonl")
    assert plain.returncode == 1
    assert "error: a.jsonl:1: not JSON" in plain.stderr


def test_a_long_line_is_shown_around_the_difference(glmctl, bert, tmp_path):
    (tmp_path / "other.txt").write_text("\n".join(line for line in WORDPIECE if line != "oven"))
    text = "is " * 30 + "oven" + " is" * 30
    done = glmctl("tokenize", "--diff", bert, "other.txt", stdin=text)
    first, second = done.stdout.splitlines()[1:3]
    assert first == "  A  ... " + "is|" * 10 + "oven|" + "|".join(["is"] * 15) + " ..."
    assert second == first.replace("A", "B").replace("oven", "o|##ven")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--audit", "--out", "x"], "--out does not go with --audit"),
        (["--audit", "--limit", "2"], "--limit does not go with --audit"),
        (["--diff", "a", "b", "--special", "glmctl"], "--special does not go with --diff"),
        (["--limit", "0"], "--limit does not go with encoding"),
    ],
)
def test_options_that_would_do_nothing_are_refused(glmctl, args, message):
    done = glmctl("tokenize", *args)
    assert done.returncode == 2
    assert message in done.stderr
