"""Every kind of task from end to end, on tasks and texts of our own."""

import json
import math
from pathlib import Path

import pytest

TASKS = {
    "cloze": (
        'patterns = ["{text} It was [sMASK]."]\nverbalizer = { 1 = "good", 0 = "bad" }\n',
        [{"text": "Warm bread.", "label": 1}, {"text": "Cold bread.", "label": 0}],
    ),
    "choice": (
        'patterns = ["The {text} is [MASK]."]\nchoices = ["{a}", "{b}"]\n',
        [{"text": "oven", "a": "hot", "b": "a cat", "label": 0}],
    ),
    "generate": (
        'patterns = ["{text}: [gMASK]"]\ngolds = { path = "answers" }\n'
        'metrics = ["token_f1"]\ndecode = { max_new_tokens = 8 }\n',
        [{"text": "Who sleeps?", "answers": ["the cat", "a cat"]}],
    ),
    "infill": (
        'metrics = ["token_f1"]\ndecode = { max_new_tokens = 4 }\n',
        [{"text": "The grey cat sleeps beside the oven."}],
    ),
    "association": (
        'metrics = ["effect_size"]\n',
        [{"x": "An oven.\nA loaf.", "y": "A cat.\nA mouse.", "a": "hot\nwarm", "b": "grey"}],
    ),
    "text": (
        'metrics = ["perplexity", "word_perplexity"]\n',
        [{"text": "The bakery opens at six. " * 4}, {"text": "The cat sleeps."}],
    ),
}


def write_task(folder: Path, kind: str, more: str = "") -> None:
    table, rows = TASKS[kind]
    (folder / "own.toml").write_text(f'[task]\nkind = "{kind}"\n{table}{more}')
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(params=TASKS)
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    write_task(tmp_path, request.param)
    return request.param


def test_a_kind_is_scored_shown_and_written_down(glmctl, tiny_model, tmp_path, kind):
    done = glmctl("eval", "own.toml", str(tiny_model), "--data", "rows.jsonl", "--out", "out")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out/results.json").read_text())["tasks"]["own"]
    assert result["num_questions"] == len(TASKS[kind][1])
    assert (result["pattern"] is None) == (kind in ("infill", "text", "association"))
    assert (result["majority"] is None) == (kind not in ("cloze", "choice"))
    assert (result["blind"] is None) == (kind != "infill")
    lines = (tmp_path / "out/own/predictions.jsonl").read_text().splitlines()
    assert [json.loads(line)["number"] for line in lines] == [*range(len(TASKS[kind][1]))]
    assert result["protocol"] == {
        "cloze": "zero-shot cloze",
        "choice": "zero-shot cloze",
        "generate": "zero-shot generation",
        "infill": "zero-shot infilling of words, and of Chinese characters",
        "text": "zero-shot language modelling",
        "association": "zero-shot means of hidden states",
    }[kind]  # fmt: skip
    is_plain = ": less is better; not in per cent" in done.stdout
    assert is_plain == (kind in ("text", "association"))


def test_a_perplexity_is_that_of_the_tokens_and_words_of_all_texts(glmctl, tiny_model, tmp_path):
    write_task(tmp_path, "text")
    done = glmctl("eval", "own.toml", str(tiny_model), "--data", "rows.jsonl", "--out", "out")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out/results.json").read_text())
    lines = (tmp_path / "out/own/predictions.jsonl").read_text().splitlines()
    evidence = [json.loads(line)["evidence"] for line in lines]
    total = -sum(it["log_prob"] for it in evidence)
    task = result["tasks"]["own"]
    assert task["score"] == pytest.approx(
        math.exp(total / sum(it["num_tokens"] for it in evidence))
    )
    words = sum(it["num_words"] for it in evidence)
    assert task["metrics"]["word_perplexity"]["value"] == pytest.approx(
        math.exp(min(total / words, 20))
    )
    assert f"{task['score']:.2f}/" in done.stdout


def test_perplexities_are_in_no_average(glmctl, tiny_model, tmp_path):
    tables = [
        f'[[task]]\nname = "{name}"\nkind = "text"\nfiles = {{ val = "rows.jsonl" }}\n'
        'metrics = ["perplexity"]\n'
        for name in ("one", "two")
    ]
    (tmp_path / "own.toml").write_text("\n".join(tables))
    (tmp_path / "rows.jsonl").write_text('{"text": "The cat sleeps."}\n')
    done = glmctl("eval", "own.toml", str(tiny_model), "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [*result["tasks"]] == ["one", "two"]
    assert result["average"] is None


def test_a_causal_model_reads_from_left_to_right(glmctl, chat_models, tmp_path, kind):
    model = str(chat_models / "glm-4")
    done = glmctl("eval", "own.toml", model, "--data", "rows.jsonl", "--json")
    if kind in ("generate", "infill"):
        assert done.returncode == 3
        assert "which a causal model has not; choose a task of listed answers" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    task = json.loads(done.stdout)["tasks"]["own"]
    assert task["protocol"] == "zero-shot, left to right"
    assert not any("asked with [MASK]" in note for note in task["notes"])


@pytest.mark.parametrize("name", ["text", "association"])
def test_what_has_no_right_answers_is_not_learned(glmctl, tiny_model, tmp_path, name):
    write_task(tmp_path, name)
    done = glmctl("finetune", "own.toml", "--model", str(tiny_model), "--data", "rows.jsonl")
    assert done.returncode == 3
    assert f"own: kind {name} has no right answers to learn; it is for glmctl eval" in done.stderr


def test_a_causal_model_of_another_family_is_a_baseline_and_says_so(glmctl, tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    alphabet = ["<|endoftext|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({text: i for i, text in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    end = {"bos_token": alphabet[0], "eos_token": alphabet[0]}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **end).save_pretrained(tmp_path / "gpt")
    sizes = {"n_positions": 64, "n_embd": 16, "n_layer": 1, "n_head": 2}
    config = GPT2Config(vocab_size=len(alphabet), bos_token_id=0, eos_token_id=0, **sizes)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt")
    write_task(tmp_path, "cloze")
    done = glmctl("eval", "own.toml", "gpt", "--data", "rows.jsonl", "--json")
    assert done.returncode == 0, done.stderr
    task = json.loads(done.stdout)["tasks"]["own"]
    assert task["protocol"] == "zero-shot, left to right, a gpt2 by transformers"
    assert task["max_length"] == 64


@pytest.mark.parametrize(
    ("args", "scored_by", "protocol"),
    [
        ((), "log-probability of the choice and its end / tokens^0", "zero-shot cloze"),
        (("--policy", "encode"), "log-probability of the choice", "zero-shot cloze"),
        (
            ("--policy", "decode"),
            "what the model writes (1 beams), matched with the listed answers",
            "zero-shot generation",
        ),
    ],
)
def test_listed_answers_are_scored_or_written_as_one_asks(
    glmctl, tiny_model, tmp_path, args, scored_by, protocol
):
    write_task(tmp_path, "choice")
    done = glmctl("eval", "own.toml", str(tiny_model), "--data", "rows.jsonl", "--json", *args)
    assert done.returncode == 0, done.stderr
    task = json.loads(done.stdout)["tasks"]["own"]
    assert task["scored_by"].startswith(scored_by)
    assert task["protocol"] == protocol
    strange = any("1 of 1 answers are none of those listed" in note for note in task["notes"])
    assert strange == ("decode" in args)  # random weights write no answer


def test_the_policy_of_a_task_is_its_own(glmctl, tiny_model, tmp_path):
    write_task(tmp_path, "cloze", 'decode = { policy = "decode", max_new_tokens = 4 }\n')
    done = glmctl("eval", "own.toml", str(tiny_model), "--data", "rows.jsonl", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tasks"]["own"]["protocol"] == "zero-shot generation"


@pytest.mark.parametrize(("name", "policy"), [("generate", "encode"), ("text", "decode")])
def test_what_has_no_listed_answers_cannot_be_asked_otherwise(
    glmctl, tiny_model, tmp_path, name, policy
):
    write_task(tmp_path, name)
    args = ("own.toml", str(tiny_model), "--data", "rows.jsonl", "--policy", policy)
    done = glmctl("eval", *args)
    assert done.returncode == 2
    assert f"own: decode.policy: is {policy}, but kind {name} has no listed" in done.stderr
