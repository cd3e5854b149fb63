"""`glmctl tokenize` on the folders of ChatGLM and GLM-4."""

import json

import pytest

from glmctl.cli.app import run

FAMILIES = ["chatglm", "chatglm-150528", "chatglm2", "chatglm3", "glm-4", "glm-4-hf", "glm-4-0414"]
TEXT = "The  oven is\thot, \u9762\u5305 \U0001f600"


@pytest.fixture
def tokenize(vocabularies, tmp_path, capsys):
    """Runs the command on a file with one line; gives what it prints."""

    def command(name: str, line: str, *args: str, code: int = 0) -> str:
        file = tmp_path / "line.txt"
        file.write_text(line + "\n", encoding="utf-8")
        assert run(["tokenize", str(file), "--tokenizer", str(vocabularies / name), *args]) == code
        return capsys.readouterr().out

    return command


@pytest.mark.parametrize("name", FAMILIES)
def test_a_line_becomes_ids_and_comes_back(tokenize, name):
    ids = tokenize(name, TEXT)
    assert tokenize(name, ids.strip(), "--decode") == TEXT + "\n"


@pytest.mark.parametrize("name", FAMILIES)
def test_json_shows_the_characters_of_each_piece(tokenize, name):
    record = json.loads(tokenize(name, TEXT, "--json"))
    assert record["ids"] == [*map(int, tokenize(name, TEXT).split())]
    assert len(record["pieces"]) == len(record["offsets"]) == len(record["ids"])
    assert record["offsets"][-1] == [len(TEXT) - 1, len(TEXT)]


@pytest.mark.parametrize("name", FAMILIES)
def test_an_audit_names_the_layout_and_its_status(tokenize, name):
    result = json.loads(tokenize(name, TEXT, "--audit", "--json"))
    (finding,) = result["findings"]
    assert finding["kind"] == "conformance"
    assert finding["where"] == f"layout {result['special']}"
    assert result["special_tokens"]["[gMASK]"] < result["size"]
    assert not result["spoils_training"]


def test_the_layout_can_be_said(tokenize):
    user = json.loads(tokenize("chatglm3", "<|user|>", "--json"))
    assert user["pieces"] == ["<|user|>"]
    plain = json.loads(tokenize("chatglm3", "<|user|>", "--json", "--special", "chatglm2"))
    assert len(plain["pieces"]) > 1
    assert tokenize("chatglm3", "hot", "--special", "glm-4", code=2) == ""
