"""Built-in suites and a user's own file of tasks."""

import re

import pytest
from pydantic import ValidationError

from glmctl.core.tasks.find import builtin_suites, find_suite, parts_at, places_of
from glmctl.core.tasks.schema import TaskConfig
from glmctl.errors import UsageError


def test_superglue_has_its_eight_tasks_and_both_diagnostics():
    (suite,) = (it for it in builtin_suites() if it.name == "superglue")
    assert {*suite.main} == {*"boolq cb copa multirc rte record wsc wic".split()}
    assert {it.name for it in suite.tasks} == {*suite.main, "axb", "axg"}


@pytest.mark.parametrize(
    ("name", "patterns", "default", "metrics"),
    [
        ("boolq", 6, 4, ("accuracy",)),
        ("cb", 5, 3, ("accuracy", "f1_macro")),
        ("copa", 4, 0, ("accuracy",)),
        ("multirc", 5, 0, ("f1", "exact_groups")),
        ("rte", 5, 0, ("accuracy",)),
        ("record", 1, 0, ("exact_match", "token_f1")),
        ("wsc", 3, 2, ("accuracy",)),
        ("wic", 3, 1, ("accuracy",)),
    ],
)
def test_patterns_and_metrics_are_those_of_the_released_code(
    builtin, name, patterns, default, metrics
):
    task = builtin(name)
    assert (len(task.patterns), task.pattern, task.metrics) == (patterns, default, metrics)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("superglu", "superglu: no such task; did you mean 'superglue'? glmctl eval"),
        ("xsume", "did you mean 'xsum'"),
        ("nothing-like-it", "nothing-like-it: no such task; glmctl eval --list shows all; a file"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest_ones(name, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        find_suite(name)


def test_a_model_in_the_place_of_a_task_is_answered_with_the_order(tmp_path):
    with pytest.raises(UsageError, match=f"name a task before it: glmctl eval TASK {tmp_path}"):
        find_suite(str(tmp_path))


def test_an_unknown_task_of_a_suite_is_answered_with_the_nearest_ones():
    suite, _ = find_suite("superglue")
    with pytest.raises(UsageError) as problem:
        suite.choose(("rte", "boolk", "nothing"))
    assert problem.value.problems == (
        "boolk: no such task of superglue; did you mean 'boolq'? glmctl eval --list shows all",
        "nothing: no such task of superglue; glmctl eval --list shows all",
    )


OWN = """
[task]
patterns = ["{review} It was [MASK]."]
verbalizer = { 1 = "good", 0 = "bad" }
"""


def test_a_file_of_ones_own_is_a_suite_of_its_name(tmp_path):
    (tmp_path / "reviews.toml").write_text(OWN)
    suite, names = find_suite(str(tmp_path / "reviews.toml"))
    assert (names, suite.root) == (("reviews",), tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[MASK]", "nice"), "reviews: patterns.0: holds 0 blanks; write \\[MASK\\] once"),
        (("{review}", "{review:upper}"), "{review:upper} is not known; there are strip, lower"),
        (('0 = "bad"', '0 = "good"'), "verbalizer: two labels share a word"),
        ((', 0 = "bad"', ""), "needs a verbalizer with a word for each of two labels or more"),
        (("patterns", "paterns"), "paterns: unknown key; did you mean 'patterns'"),
        (("[task]", "[tasks]"), "has no table \\[task\\]; write one, as .* verbalizer"),
        (("[task]", "[task"), "not TOML: .* correct the file there"),
        (("[task]", '[task]\nmetrics = ["blue"]'), 'metrics.0: .* found "blue"$'),
        (("[task]", "[task]\nmetrics = []"), "metrics: should have at least 1 item; found none"),
        (("[task]", "[task]\nmax_tokens = 5"), "did you mean 'decode.max_new_tokens'"),
        (
            ("[task]", '[task]\ngolds = { column = "a" }'),
            "golds.column: unknown key; known keys: pa",
        ),
        (
            ("[task]", "[task]\nfields.a.paht = 1"),
            "fields.a.paht: unknown key; did you mean 'path'",
        ),
        (("[task]", "[task]\nfields.a = 1"), "reviews: fields.a: should be a valid dictionary"),
        (('s = ["{review} It was [MASK]."]', ' = "It"'), "found \"It\"; did you mean 'patterns'"),
        (("[task]", '[task]\nlabels = ["1", "2"]'), "words for 1, 0, labels are 1, 2"),
        (("[task]", "[task]\npattern = 3"), "pattern: 3, but they are 0 to 0"),
        (("[task]", '[task]\nkind = "choice"'), "choices: missing; a choice task needs them"),
        (("[task]", "[task]\nfirst_is_claim = true"), "first_is_claim needs two"),
        (("[task]", '[task]\nfields = { text = "t" }'), "{review} is no field; there are text"),
        (
            ("[task]\n", '[task]\nmetrics = ["f1"]\nlabels = ["0", "1", "2"]\n'),
            "f1 is of two labels; use f1_macro for more",
        ),
    ],
    ids=lambda value: value[1].strip().replace("\n", " ") if isinstance(value, tuple) else "",
)
def test_mistakes_in_a_file_are_named_with_a_remedy(tmp_path, change, message):
    (tmp_path / "reviews.toml").write_text(OWN.replace(*change))
    with pytest.raises(UsageError, match=message):
        find_suite(str(tmp_path / "reviews.toml"))


def test_a_task_may_lie_in_a_compressed_file(tmp_path):
    suite, names = find_suite("superglue/rte")
    (task,) = suite.choose(names)
    (tmp_path / "RTE").mkdir()
    packed = tmp_path / "RTE" / "val.jsonl.gz"
    packed.touch()
    assert next(places_of(suite, task, "val", tmp_path, is_single=False)) == packed
    (tmp_path / "RTE" / "val.jsonl").touch()
    plain = next(places_of(suite, task, "val", tmp_path, is_single=False))
    assert plain == tmp_path / "RTE" / "val.jsonl"


def test_a_star_stands_for_the_parts_of_a_task(tmp_path):
    for name in ("law_test.csv", "art_test.csv.gz", "law_dev.csv"):
        (tmp_path / name).touch()
    named = "test/*_test.csv"
    assert parts_at(tmp_path / "*_test.csv", named) == {"law": tmp_path / "law_test.csv"}
    assert parts_at(tmp_path / "art_test.csv.gz", named) == {"art": tmp_path / "art_test.csv.gz"}
    assert parts_at(tmp_path / "none_test.csv", named) == {}


def test_a_name_in_two_suites_is_asked_for_with_its_suite():
    with pytest.raises(UsageError, match="name clue/tnews or fewclue/tnews"):
        find_suite("tnews")
    suite, names = find_suite("fewclue/tnews")
    assert (suite.name, names) == ("fewclue", ("tnews",))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ('[adapter]\nkind = "lora"', "adapter: is read in a recipe only; make the file one"),
        ("[trian]\nepochs = 1", "trian: unknown table; did you mean 'train'?"),
    ],
)
def test_a_table_that_nobody_reads_is_refused(tmp_path, more, message):
    table = '[task]\npatterns = ["{a} [MASK]"]\nverbalizer = { 0 = "no", 1 = "yes" }\n'
    (tmp_path / "own.toml").write_text(table + more)
    with pytest.raises(UsageError, match=re.escape(message)):
        find_suite(str(tmp_path / "own.toml"))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"patterns": ["It was [MASK]."], "verbalizer": {"0": "no", "1": "yes"}}, "names no {f"),
        ({"patterns": ["{a} [MASK]"], "verbalizer": {"0": " ", "1": "yes"}}, "a word is empty"),
        (
            {"kind": "choice", "patterns": ["{a} [MASK]"], "choices": ["{b}", "{c}", "{d}"],
             "labels": ["A", "B"]},
            "labels: 2 for 3 choices",
        ),
        (
            {"kind": "choice", "patterns": ["It is [MASK]."], "choices": ["a", "b"]},
            "names no {field}",
        ),
    ],
)  # fmt: skip
def test_a_task_that_asks_nothing_is_refused(table, message):
    with pytest.raises(ValidationError, match=re.escape(message)):
        TaskConfig(name="own", **table)


def test_a_column_may_have_any_name(ask, text_of):
    task = TaskConfig(
        name="own", patterns=["{the-text now:strip} [MASK]"], verbalizer={"0": "no", "1": "yes"}
    )
    (question,) = ask(task, {"the-text now": "Warm.", "label": "1"})
    assert text_of(question.part_a) == "[CLS]Warm[MASK]<eos>"


def test_the_place_of_right_answers_may_be_a_path_alone(ask):
    task = TaskConfig(name="own", kind="generate", patterns=["{a} [MASK]"], golds="b")
    for answers in ("warm", ["warm"]):
        (question,) = ask(task, {"a": "It is", "b": answers})
        assert question.example.golds == ("warm",)


def test_spaces_around_a_label_are_not_part_of_it(ask):
    task = TaskConfig(name="own", patterns=["{a} [MASK]"], verbalizer={"0": "no", "1": "yes"})
    (question,) = ask(task, {"a": "It is", "label": " 1 "})
    assert question.example.golds == ("1",)
