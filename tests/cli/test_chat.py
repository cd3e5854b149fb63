import json
from collections.abc import Callable
from pathlib import Path

import pytest

from glmctl.cli.app import run

FAMILIES = ["chatglm", "chatglm2", "chatglm3", "glm-4", "glm-4-0414"]
SHORT = ("--max-new-tokens", "5")


@pytest.fixture
def chat(chat_models: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple]:
    """Runs `infill --chat` with a small model; gives exit code, stdout and stderr."""

    def answer(name: str, *args: str) -> tuple[int, str, str]:
        code = run(["infill", "--chat", "--model", str(chat_models / name), *args])
        return code, *capsys.readouterr()

    return answer


@pytest.mark.parametrize("name", FAMILIES)
def test_each_line_is_a_message_and_has_a_line_of_answer(chat, name):
    code, out, err = chat(name, "The oven is hot", "bread", *SHORT)
    assert code == 0
    assert out.count("\n") == 2
    assert out.strip()
    for line in err.splitlines():
        assert "is cut off after 5 tokens; raise --max-new-tokens to read on" in line


def test_json_gives_the_messages_and_how_the_answer_came_about(chat):
    code, out, _ = chat("glm-4", "bread", *SHORT, "--json")
    record = json.loads(out)
    assert code == 0
    assert list(record) == [
        *("schema", "line", "messages", "text", "ids", "log_prob", "finish", "n_best")
    ]
    assert record["schema"] == "glmctl.Answer/1"
    assert record["messages"] == [
        {"role": "user", "content": "bread"},
        {"role": "assistant", "content": record["text"]},
    ]
    assert (len(record["ids"]), record["finish"]) == (5, "length")
    assert record["log_prob"] < 0


def test_turns_of_json_lines_change_the_answer_and_keep_their_id(chat):
    turns = [
        {"role": "user", "content": "The oven"},
        {"role": "assistant", "content": "is hot"},
        {"role": "user", "content": "bread"},
    ]
    lines = [{"id": number, "messages": turns[-number:]} for number in (1, 3)]
    lines.append({"id": "t", "text": "bread"})
    code, out, _ = chat("chatglm3", *map(json.dumps, lines), *SHORT, "--json")
    one, three, text = map(json.loads, out.splitlines())
    assert code == 0
    assert [one["id"], three["id"], text["id"]] == [1, 3, "t"]
    assert one["ids"] == text["ids"] != three["ids"]
    assert three["messages"][:3] == turns


def test_an_answer_ends_at_the_end_of_its_family(chat, monkeypatch):
    code, out, _ = chat("glm-4", "bread", *SHORT, "--json")
    ids = json.loads(out)["ids"]
    end = ids[1]
    assert end != ids[0]
    monkeypatch.setattr("glmctl.stages.infill.answer_ends", lambda tokenizer: (end,))
    code, out, err = chat("glm-4", "bread", *SHORT, "--json")
    record = json.loads(out)
    assert (code, record["ids"], record["finish"], err) == (0, ids[:1], "end", "")


@pytest.mark.parametrize("batch_size", ["1", "16"])
def test_draws_depend_on_the_seed_and_the_line_alone(chat, batch_size):
    settings = ("--temperature", "0.9", "--top-p", "0.95", "--seed", "4", *SHORT, "--json")
    _, out, _ = chat("chatglm", "bread", "hot", "bread", *settings, "--batch-size", batch_size)
    _, again, _ = chat("chatglm", "bread", "hot", "bread", *settings)
    first, again = (
        [json.loads(line)["ids"] for line in text.splitlines()] for text in (out, again)
    )
    assert first == again
    assert first[0] != first[2]


def test_the_tokens_of_a_streamed_answer_make_it_up(chat):
    code, out, _ = chat("glm-4", "bread", "--stream", *SHORT, "--json")
    *tokens, record = map(json.loads, out.splitlines())
    assert code == 0
    assert [token["token_id"] for token in tokens] == record["ids"]
    assert "".join(token["text"] for token in tokens).strip() == record["text"]


def test_several_answers_come_with_their_score(chat):
    code, out, _ = chat("chatglm2", "bread", "--n-best", "2", "--num-beams", "3", *SHORT)
    scores = [float(line.split("\t")[0]) for line in out.splitlines()]
    assert code == 0
    assert len(scores) == 2
    assert scores == sorted(scores, reverse=True)


BAD = [
    ("", "is empty; write a message"),
    ('{"messages": []}', '"messages" is not a list of messages'),
    ('{"messages": [{"role": "king", "content": "x"}]}', "has the roles king; glm-4 knows system"),
    ("hot " * 400, "tokens long and the model has 200 positions; shorten it"),
]


def test_a_line_that_cannot_be_answered_spoils_no_other(chat):
    code, out, _ = chat("glm-4", "bread", *(line for line, _ in BAD), "hot", *SHORT, "--json")
    records = [*map(json.loads, out.splitlines())]
    assert code == 1
    assert ["text" in record for record in records] == [True, *[False] * len(BAD), True]
    for record, (_, problem) in zip(records[1:-1], BAD, strict=True):
        assert problem in record["error"]


@pytest.mark.parametrize(
    "option", [["--explain"], ["--choices", "a,b"]], ids=["explain", "choices"]
)
def test_options_for_blanks_do_not_go_with_chat(chat, option):
    code, _, err = chat("glm-4", "bread", *option)
    assert code == 2
    assert f"--chat: answers messages; leave out {option[0]}, which is for blanks" in err


def test_a_model_without_a_chat_format_is_refused(capsys):
    assert run(["infill", "--chat", "hello"]) == 3
    assert "has no chat format, and its tokenizer is of layout 'glmctl'" in capsys.readouterr().err


def test_a_causal_model_fills_no_blanks_and_says_what_it_does(chat_models, capsys):
    assert run(["infill", "The [MASK]", "--model", str(chat_models / "glm-4")]) == 3
    assert "`glmctl infill --chat` answers messages with it" in capsys.readouterr().err


def test_chatglm_fills_a_blank(chat_models, capsys):
    model = str(chat_models / "chatglm")
    assert run(["infill", "The oven [MASK] hot", "--model", model, *SHORT, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["text"].startswith("The oven ")
    assert record["text"].endswith(" hot")
    assert len(record["blanks"]) == 1
