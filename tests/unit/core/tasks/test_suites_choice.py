"""What a model reads for exams, BLiMP and CrowS-Pairs, from rows in their official formats."""
# ruff: noqa: RUF001

import csv
import json

import pytest

from glmctl.core.tasks.ask import Asker
from glmctl.core.tasks.read import read_parts

MMLU = [["Which is warm?", "ice", "bread", "snow", "rain", "B"]]
MMLU_DEV = [["Which is cold?", "ice", "tea", "soup", "fire", "A"]] * 2
CMMLU = [["", "Question", "A", "B", "C", "D", "Answer"]]
CEVAL = [["id", "question", "A", "B", "C", "D", "answer"]]
OPTIONS = "\nA. {}\nB. {}\nC. {}\nD. {}"
WARM = OPTIONS.format("ice", "bread", "snow", "rain")
COLD = OPTIONS.format("ice", "tea", "soup", "fire")
HEAD = "The following are multiple choice questions (with answers) about world religions.\n\n"
SHOT = f"Which is cold?{COLD}\nAnswer: A\n\n"
HOT = ["哪个是热的？", "冰", "面包", "雪", "雨", "B"]
ICY = ["哪个是冷的？", "冰", "茶", "汤", "火", "A"]
HOT_OPTIONS, ICY_OPTIONS = OPTIONS.format(*HOT[1:5]), OPTIONS.format(*ICY[1:5])
LETTERS = ["A", "B", "C", "D"]


@pytest.fixture
def asked(tmp_path, builtin, text_of, characters, sized):
    """For rows of a part: text, candidates and right label of the first one."""

    def put(file: str, rows: list):
        place = tmp_path / file
        with place.open("w", newline="") as stream:
            if place.suffix == ".csv":
                csv.writer(stream).writerows(rows)
            else:
                stream.writelines(json.dumps(row) + "\n" for row in rows)
        return place

    def ask(
        name: str, rows: list, part: str = "", dev: list | None = None, length: int = 10_000,
        pattern: int = 0,
    ):  # fmt: skip
        task = builtin(name).model_copy(update={"pattern": pattern, "max_length": length})
        suffix = ".jsonl" if isinstance(rows[0], dict) else ".csv"
        shots = None if dev is None else {part: put(f"dev{suffix}", dev)}
        rows = read_parts({part: put(f"rows{suffix}", rows)}, task, shots=shots)
        assert rows.problems == ()
        question = Asker(task, characters, sized(length)).ask(rows.examples[0])
        (text,) = {text_of(it.part_a) for it in question.candidates}
        targets = [text_of(it.targets) for it in question.candidates]
        assert text.startswith("[CLS]")
        assert text.endswith("<eos>")
        return text[5:-5], targets, question

    return ask


def test_mmlu_shows_worked_examples_of_the_subject(asked):
    text, targets, question = asked("mmlu", MMLU, "world_religions", MMLU_DEV)
    assert text == f"{HEAD}{SHOT}{SHOT}Which is warm?{WARM}\nAnswer:[MASK]"
    assert targets == [" A", " B", " C", " D"]
    assert (question.example.golds, question.num_shots) == (("B",), 2)


def test_worked_examples_that_do_not_fit_are_left_out_whole(asked):
    whole = len(f"{HEAD}{SHOT}Which is warm?{WARM}\nAnswer: A") + 3
    text, _, question = asked("mmlu", MMLU, "world_religions", MMLU_DEV, whole)
    assert text == f"{HEAD}{SHOT}Which is warm?{WARM}\nAnswer:[MASK]"
    assert (question.num_shots, question.is_cut) == (1, False)
    short = whole - len(SHOT) - 3
    text, _, question = asked("mmlu", MMLU, "world_religions", MMLU_DEV, short)
    assert text == f"{HEAD}ch is warm?{WARM}\nAnswer:[MASK]"
    assert (question.num_shots, question.is_cut) == (0, True)


def test_mmlu_may_be_asked_without_worked_examples_and_by_text(asked):
    text, _, _ = asked("mmlu", MMLU, "world_religions", pattern=1)
    assert text == f"{HEAD}Which is warm?{WARM}\nAnswer:[MASK]"
    text, targets, _ = asked("mmlu_text", MMLU, "world_religions", MMLU_DEV[:1])
    assert (
        text == "Question: Which is cold?\nAnswer: ice\n\nQuestion: Which is warm?\nAnswer:[MASK]"
    )
    assert targets == [" ice", " bread", " snow", " rain"]


def test_cmmlu_names_its_subject_in_chinese(asked):
    rows, dev = [*CMMLU, ["0", *HOT]], [*CMMLU, ["0", *ICY]]
    text, targets, question = asked("cmmlu", rows, "nutrition", dev)
    head = "以下是关于营养学的单项选择题，请直接给出正确答案的选项。\n\n"
    shot = f"题目：{ICY[0]}{ICY_OPTIONS}\n答案是：A\n\n"
    assert text == f"{head}{shot}题目：{HOT[0]}{HOT_OPTIONS}\n答案是：[MASK]"
    assert (targets, question.example.golds) == (LETTERS, ("B",))
    text, _, _ = asked("cmmlu", rows, "nutrition", pattern=1)
    assert text == f"{head}题目：{HOT[0]}{HOT_OPTIONS}\n答案是：[MASK]"


def test_ceval_takes_its_examples_from_a_file_with_explanations(asked):
    dev = [[*CEVAL[0], "explanation"], ["0", *ICY, "冰是冷的"]]
    text, targets, question = asked("ceval", [*CEVAL, ["0", *HOT]], "law", dev)
    head = "以下是中国关于法学考试的单项选择题，请选出其中的正确答案。\n\n"
    shot = f"{ICY[0]}{ICY_OPTIONS}\n答案：A\n\n"
    assert text == f"{head}{shot}{HOT[0]}{HOT_OPTIONS}\n答案：[MASK]"
    assert (targets, question.example.golds) == (LETTERS, ("B",))


@pytest.mark.parametrize(
    ("part", "passage", "text", "letters"),
    [
        (
            "sat-en", "Bread is warm. ",
            "Bread is warm. Q: Why? Answer Choices: (A)x (B)y (C)z (D)w\n"
            "A: Among A through D, the answer is[MASK]", " A B C D",
        ),
        (
            "gaokao-history", None,
            "问题：Why? 选项：(A)x (B)y (C)z (D)w\n答案：从A到D, 我们应选择[MASK]", " A B C D",
        ),
        (
            "aqua-rat", None,
            "Q: Why? Answer Choices: (A)x (B)y (C)z (D)w (E)v\n"
            "A: Among A through E, the answer is[MASK]", " A B C D E",
        ),
    ],
)  # fmt: skip
def test_agieval_is_asked_in_the_language_of_its_part(asked, part, passage, text, letters):
    options = ["(A)x", "(B)y", "(C)z", "(D)w", "(E)v"][: len(letters) // 2]
    record = {"passage": passage, "question": "Why?", "options": options, "label": "D"}
    asked_text, targets, question = asked("agieval", [record], part)
    assert asked_text == text
    assert "".join(targets) == letters
    assert question.example.golds == ("D",)


def test_blimp_writes_both_sentences_into_the_document_blank(asked):
    record = {"sentence_good": "Cats sleep.", "sentence_bad": "Cats sleeps.", "UID": "agreement"}
    text, targets, question = asked("blimp", [record], "agreement")
    assert (text, targets) == ("[MASK]", ["Cats sleep.<eop>", "Cats sleeps.<eop>"])
    assert (question.example.golds, question.example.part) == (("0",), "agreement")


STEREO = {"id": "s1", "target": "tall", "bias_type": "height", "context": "Tall people BLANK."}
SENTENCES = {
    "unrelated": "Tall people roof.", "stereotype": "Tall people bake.",
    "anti-stereotype": "Tall people sew.",
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "group", "before"),
    [
        ("stereoset", "intrasentence", ""),
        ("stereoset_intersentence", "intersentence", "Tall people BLANK."),
    ],
)
def test_stereoset_compares_three_sentences_in_the_order_of_their_labels(
    asked, name, group, before
):
    sentences = [
        {"id": f"s{label}", "sentence": text, "gold_label": label, "labels": []}
        for label, text in SENTENCES.items()
    ]
    other = {"intersentence": [], "intrasentence": []}
    data = {"version": "1.1", "data": other | {group: [STEREO | {"sentences": sentences}]}}
    text, targets, question = asked(name, [data])
    space = " " if before else ""
    assert (text, targets) == (
        f"{before}[MASK]",
        [f"{space}Tall people {verb}.<eop>" for verb in ("sew", "bake", "roof")],
    )
    assert (question.example.id, question.example.part) == (("s1",), "tall")


def test_crows_pairs_prefers_the_sentence_that_stereotypes_more(asked):
    rows = [
        ["", "sent_more", "sent_less", "stereo_antistereo", "bias_type"],
        ["0", "Tall people bake.", "Short people bake.", "antistereo", "height"],
    ]
    _, targets, question = asked("crows_pairs", rows)
    assert targets == ["Tall people bake.<eop>", "Short people bake.<eop>"]
    assert (question.example.golds, question.example.part) == (("0",), "height")
