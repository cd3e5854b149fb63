"""Data sets of the hub, laid out as their pages describe them, read by the built-in tasks."""

from types import SimpleNamespace

import pytest

from glmctl.core.tasks import hub
from glmctl.core.tasks.read import read_parts
from glmctl.core.tasks.schema import HubConfig, TaskConfig
from glmctl.errors import InputError, MachineError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GLUE = {"label": 1, "idx": 7}
SPANS = {"span1_index": 1, "span1_text": "cat", "span2_index": 4, "span2_text": "it"}
ANSWERS = {"text": ["six", "at six"], "answer_start": [9, 6]}
EXAM = {"subject": "world_religions", "choices": ["ice", "tea", "soup", "rain"], "answer": 1}
ROWS = {
    # task: a row of the hub, a field that is read, and the right answers
    "sst2": (GLUE | {"sentence": "Warm."}, ("sentence", "Warm."), ("1",)),
    "cola": (GLUE | {"sentence": "Warm."}, ("sentence", "Warm."), ("1",)),
    "mrpc": (GLUE | {"sentence1": "A.", "sentence2": "B."}, ("second", "B."), ("1",)),
    "qqp": (GLUE | {"question1": "A?", "question2": "B?"}, ("second", "B?"), ("1",)),
    "qnli": (
        GLUE | {"question": "A?", "sentence": "B."}, ("question", "A?"), ("not_entailment",)
    ),
    "mnli": (GLUE | {"premise": "A.", "hypothesis": "B."}, ("premise", "A."), ("neutral",)),
    "mnli_mm": (GLUE | {"premise": "A.", "hypothesis": "B."}, ("premise", "A."), ("neutral",)),
    "glue_rte": (
        GLUE | {"sentence1": "A.", "sentence2": "B."}, ("premise", "A."), ("not_entailment",)
    ),
    "wnli": (GLUE | {"sentence1": "A.", "sentence2": "B."}, ("premise", "A."), ("1",)),
    "boolq": (GLUE | {"passage": "A.", "question": "B"}, ("question", "B"), ("true",)),
    "cb": (GLUE | {"premise": "A.", "hypothesis": "B."}, ("premise", "A."), ("contradiction",)),
    "rte": (GLUE | {"premise": "A.", "hypothesis": "B."}, ("premise", "A."), ("not_entailment",)),
    "axb": (
        GLUE | {"sentence1": "A.", "sentence2": "B."}, ("premise", "A."), ("not_entailment",)
    ),
    "wic": (
        GLUE | {"word": "hot", "sentence1": "A.", "sentence2": "B."}, ("word", "hot"), ("true",)
    ),
    "copa": (
        GLUE | {"premise": "A.", "choice1": "B.", "choice2": "C.", "question": "cause"},
        ("joiner", " because"), ("1",),
    ),
    "wsc": (
        GLUE | SPANS | {"text": "The cat sat where it was"},
        ("text", "The cat sat where *it* was"), ("true",),
    ),
    "squad_v1": (
        {"id": "a", "context": "It opens at six.", "question": "When?", "answers": ANSWERS},
        ("question", "When?"), ("six", "at six"),
    ),
    "squad_v2": (
        {"id": "a", "context": "A.", "question": "When?",
         "answers": {"text": [], "answer_start": []}},
        ("question", "When?"), ("N/A",),
    ),
    "cmrc": (
        {"id": "a", "context": "A.", "question": "When?", "answers": ANSWERS},
        ("context", "A."), ("six", "at six"),
    ),
    "xsum": ({"document": "A.", "summary": "B.", "id": "1"}, ("source", "A."), ("B.",)),
    "cnn_dm": ({"article": "A.", "highlights": "B.", "id": "1"}, ("source", "A."), ("B.",)),
    "lambada": ({"text": "The oven is hot"}, ("word", "hot"), ("true",)),
    "blimp": (
        {"sentence_good": "A cat.", "sentence_bad": "A cats.", "UID": "x", "pair_id": 0},
        ("good", "A cat."), ("0",),
    ),
    "mmlu": (EXAM | {"question": "Which is warm?"}, ("B", "tea"), ("B",)),
}  # fmt: skip


class Table(list):
    @property
    def column_names(self):
        return [*self[0]]


@pytest.fixture
def stub(monkeypatch):
    """A hub of one row; gives what was asked for."""
    asked = []

    def serve(row):
        def fetch(path, config, split, revision, name, otherwise):
            asked.append((path, config, split, revision))
            return Table([row])

        def info(path, revision, timeout):
            asked.append((path, revision))
            return SimpleNamespace(sha=COMMIT)

        monkeypatch.setattr(hub, "fetch_dataset", fetch)
        monkeypatch.setattr(hub, "open_hub", lambda: SimpleNamespace(dataset_info=info))
        monkeypatch.setattr(hub, "is_offline", lambda: False)
        monkeypatch.setattr("datasets.get_dataset_config_names", lambda path, revision: ["x"])
        return asked

    return serve


@pytest.mark.parametrize("name", ROWS)
def test_a_built_in_task_reads_rows_as_the_hub_has_them(builtin, stub, tmp_path, name):
    row, (field, text), golds = ROWS[name]
    stub(row)
    task = builtin(name).model_copy(update={"format": None, "columns": ()})
    files = hub.fetched(task, task.hub, task.scored_on, tmp_path, "get it")
    (example,) = read_parts(files, task).examples
    assert (example.fields[field], example.golds) == (text, golds)
    expected = {"blimp": "x", "mmlu": "world_religions"}.get(name, "")
    assert example.part == expected


def test_the_commit_of_the_first_fetch_is_kept(builtin, stub, tmp_path):
    asked = stub(ROWS["sst2"][0])
    task = builtin("sst2")
    first = hub.fetched(task, task.hub, "val", tmp_path, "get it")
    assert first == {"": tmp_path / f"nyu-mll--glue/{COMMIT}/sst2/validation/validation.jsonl"}
    hub.fetched(task, task.hub, "train", tmp_path, "get it")
    assert hub.fetched(task, task.hub, "val", tmp_path, "get it") == first
    sst2 = "nyu-mll/glue", "sst2"
    assert asked == [
        ("nyu-mll/glue", "main"), (*sst2, "validation", COMMIT), (*sst2, "train", COMMIT)
    ]  # fmt: skip


def test_unlabelled_rows_keep_the_number_of_no_label(stub, tmp_path):
    stub({"text": "A.", "label": -1})
    task = TaskConfig(name="own", patterns=["{text} [MASK]"], verbalizer={"a": "x", "b": "y"})
    (file,) = hub.fetched(
        task, HubConfig(path="o/s", labels=("a", "b")), "test", tmp_path, ""
    ).values()
    assert file.read_text() == '{"text": "A.", "label": -1}\n'


def test_without_the_hub_the_task_and_both_remedies_are_named(builtin, monkeypatch, tmp_path):
    monkeypatch.setenv("GLMCTL_OFFLINE", "1")
    task = builtin("cola")
    with pytest.raises(MachineError) as raised:
        hub.fetched(task, task.hub, "val", tmp_path, "get CoLA.zip and name it")
    said = str(raised.value)
    assert said.startswith("cola: nyu-mll/glue of the hub, validation: not on this machine")
    there = tmp_path / "nyu-mll--glue"
    assert f"run this command where there is one and copy {there} from there" in said
    assert said.endswith("; or get CoLA.zip and name it")
    assert not [*tmp_path.iterdir()]


def test_a_column_that_is_not_there_leaves_nothing_behind(builtin, stub, tmp_path):
    stub({"sentence": "A.", "label": 1})
    task = builtin("sst2")
    with pytest.raises(InputError, match="has no column idx; there are sentence, label"):
        hub.fetched(task, task.hub, "val", tmp_path, "get it")
    assert not [*tmp_path.rglob("*.jsonl")]
