"""What is wrong with data, task or model is named with its place, and the other rows are done."""

import json
from pathlib import Path

import pytest

TASK = """[task]
patterns = ["{review} It was [MASK]."]
verbalizer = { 1 = "good", 0 = "bad" }
label = "stars"
fields = { review = "review" }
"""
GOOD = '{"review": "Warm.", "stars": 1}\n{"review": "Cold.", "stars": 0}\n'


@pytest.fixture
def ask(glmctl, tiny_model, tmp_path: Path):
    """Evaluates these rows."""

    def run(rows: str, *args: str, task: str = TASK, model: Path = tiny_model):
        (tmp_path / "own.toml").write_text(task, encoding="utf-8")
        (tmp_path / "rows.jsonl").write_text(rows, encoding="utf-8")
        base = ("eval", "own.toml", str(model), "--data", "rows.jsonl", "--json")
        return glmctl(*base, *args)

    return run


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"stars": 1}', "rows.jsonl:3: has no 'review'; keys there: stars; name the right one"),
        ('{"text": "Warm.", "stars": 1}', "has no 'review'; keys there: text, stars; name the"),
        ('{"review": "Warm."}', "rows.jsonl:3: has no 'stars'; keys there: review; name the"),
        ('{"review": "Warm.", "stars": 5}', "label '5' is none of 1, 0; correct it or the task"),
        ('{"review": ["Warm."], "stars": 1}', "its 'review' is no text but"),
        ('["Warm.", 1]', "rows.jsonl:3: is no JSON object but"),
    ],
)
def test_a_row_that_cannot_be_read_spoils_no_other(ask, row, message):
    done = ask(f"{GOOD}{row}\n")
    assert done.returncode == 1
    task = json.loads(done.stdout)["tasks"]["own"]
    assert (task["num_examples"], task["num_failed"]) == (2, 1)
    assert message in done.stderr


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", "rows.jsonl: is empty; it should hold examples"),
        (GOOD.replace("review", "text"), "rows.jsonl:1 and 1 more: has no 'review'; keys there"),
        (GOOD.replace("stars", "label"), "rows.jsonl:1 and 1 more: has no 'stars'; keys there"),
    ],
)
def test_a_file_without_a_row_that_can_be_read_is_an_error(ask, rows, message):
    done = ask(rows)
    assert (done.returncode, done.stdout) == (3, "")
    assert message in done.stderr


def test_a_row_of_a_million_tokens_is_cut_and_counted(ask):
    done = ask(GOOD + json.dumps({"review": "hot! " * 500_000, "stars": 1}) + "\n")
    assert done.returncode == 0, done.stderr
    task = json.loads(done.stdout)["tasks"]["own"]
    assert (task["num_examples"], task["num_cut"]) == (3, 1)
    assert "1 of 3 texts are cut to 64 tokens" in task["notes"]


def test_empty_texts_are_counted(ask):
    done = ask(GOOD + '{"review": " ", "stars": 1}\n{"review": "", "stars": 0}\n')
    assert done.returncode == 0, done.stderr
    notes = json.loads(done.stdout)["tasks"]["own"]["notes"]
    assert "2 of 4 texts are empty, as in rows.jsonl:3" in notes


def test_a_row_that_may_not_be_shortened_is_named(ask):
    long = json.dumps({"review": "hot! " * 500_000, "stars": 1})
    task = TASK.replace('["{review} It', '[{ parts = ["{review}", " It').replace('."]', '."] }]')
    done = ask(f"{GOOD}{long}\n", task=task)
    assert done.returncode == 1
    assert json.loads(done.stdout)["tasks"]["own"]["num_examples"] == 2
    assert "rows.jsonl:3: is " in done.stderr
    assert "tokens too long even without what may be shortened; shorten the row" in done.stderr


def test_a_split_that_the_task_has_not_is_named(ask):
    files = '\nfiles = { train = "rows.jsonl", val = "rows.jsonl" }\n'
    done = ask(GOOD, "--split", "validation", task=TASK + files)
    assert done.returncode == 2
    assert "--split: own has train, val, not validation" in done.stderr


def test_a_text_that_the_tokenizer_cannot_spell_is_said(ask, letters):
    task = TASK.replace('{ 1 = "good", 0 = "bad" }', '{ 1 = "a", 0 = "b" }')
    rows = '{"review": "a b \u70e4\u7bb1 \u5f88\u70ed", "stars": 1}\n'
    done = ask(rows, task=task, model=letters)
    assert done.returncode == 0, done.stderr
    (note,) = (it for it in json.loads(done.stdout)["tasks"]["own"]["notes"] if "unknown" in it)
    assert "% of the tokens are unknown: the tokenizer cannot spell these texts; take a" in note


def test_words_that_the_tokenizer_cannot_spell_are_refused(ask, letters):
    task = TASK.replace('{ 1 = "good", 0 = "bad" }', '{ 1 = "\u597d", 0 = "\u574f" }')
    done = ask(GOOD, task=task, model=letters)
    assert done.returncode == 3
    assert "verbalizer: the tokenizer cannot spell the word of '1'; choose" in done.stderr
    assert "verbalizer: '0' and '1' have words of the same tokens; change one" in done.stderr


@pytest.fixture(scope="session")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose tokenizer knows letters only."""
    from glmctl.core.checkpoint.folder import Found, write_model_folder
    from glmctl.core.model.glm import GLM
    from glmctl.core.tokenizer.load import load_tokenizer
    from glmctl.recipe.model import ModelConfig, TokenizerConfig

    folder = tmp_path_factory.mktemp("letters")
    alphabet = "abcdefghijklmnopqrstuvwxyz."
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *alphabet,
        *(f"##{it}" for it in alphabet),
    ]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    tokenizer = load_tokenizer(
        TokenizerConfig(kind="wordpiece", path=str(folder / "vocab.txt"), special="glm-english")
    )
    config = ModelConfig(
        num_layers=1, hidden_size=16, num_attention_heads=2, max_positions=64, vocab_rows=128
    )
    module = GLM(config)
    module.init_weights(seed=1)
    return write_model_folder(folder / "model", Found(config, module.state_dict(), tokenizer))


def test_a_model_without_the_blank_of_the_pattern_is_asked_with_another_one(ask, letters):
    task = TASK.replace('{ 1 = "good", 0 = "bad" }', '{ 1 = "a", 0 = "b" }')
    done = ask(GOOD, task=task.replace("[MASK]", "[sMASK]"), model=letters)
    assert done.returncode == 0, done.stderr
    notes = json.loads(done.stdout)["tasks"]["own"]["notes"]
    assert "the model has no [sMASK]; asked with [MASK]" in notes


def test_fine_tuning_says_what_the_tokenizer_lacks(glmctl, tmp_path, letters):
    task = TASK.replace('{ 1 = "good", 0 = "bad" }', '{ 1 = "a", 0 = "b" }')
    (tmp_path / "own.toml").write_text(task.replace("[MASK]", "[sMASK]"))
    rows = "".join(f"a \u70e4\u7bb1 {letter},{n % 2}\n" for n, letter in enumerate("abcdef"))
    (tmp_path / "rows.csv").write_text(f"review,stars\n{rows}", encoding="utf-8")
    args = ("--model", str(letters), "--data", "rows.csv", "--set", "train.steps=1")
    done = glmctl("finetune", "own.toml", *args)
    assert done.returncode == 0, done.stderr
    assert "\nthe model has no [sMASK]; asked with [MASK]\n" in done.stderr
    assert "% of the tokens are unknown: the tokenizer cannot spell these texts" in done.stderr
