"""What a model reads for FewCLUE and CLUE, from rows in their official formats."""
# ruff: noqa: RUF001

import json

import pytest

from glmctl.core.tasks.ask import Asker
from glmctl.core.tasks.read import read_examples

PAIR = {"id": 1, "sentence1": "面包热吗", "sentence2": "面包是热的吗", "label": "1"}
WSC = {
    "idx": 3, "label": "true", "text": "小猫饿了，所以它叫。",
    "target": {"span1_index": 0, "span1_text": "小猫", "span2_index": 7, "span2_text": "它"},
}  # fmt: skip
NEWS = {
    "id": 2,
    "label": 115,
    "label_desc": "news",
    "sentence": "小麦熟了",
    "keywords": "小麦,收割",
}
NLI = {"id": 0, "sentence1": "猫坐着。", "sentence2": "猫在跑", "label": "contradiction"}
MARKED = "#小猫#饿了，所以*它*叫。"


@pytest.fixture
def asked(tmp_path, builtin, text_of, characters, sized):
    """For a task and pattern: text, the right answer and how many there are."""

    def ask(name: str, pattern: int, record: dict):
        file = tmp_path / "rows.json"
        file.write_text(json.dumps(record) + "\n")
        task = builtin(name).model_copy(update={"pattern": pattern})
        asker = Asker(task, characters, sized(10_000))
        (example,) = read_examples(file, task).examples
        question = asker.ask(example)
        (text,) = {text_of(it.part_a) for it in question.candidates}
        words = [text_of(it.targets) for it in question.candidates]
        (gold,) = example.golds
        names = question.answers if task.kind == "cloze" else asker.names(len(words))
        return text, words[names.index(gold)], len(words)

    return ask


@pytest.mark.parametrize(
    ("name", "pattern", "record", "text", "right", "number"),
    [
        ("bustm", 0, PAIR, "面包热吗？你是说面包是热的吗？[MASK]。", "是", 2),
        ("bustm", 1, PAIR, "面包热吗？[MASK]，面包是热的吗", "是", 2),
        ("afqmc", 0, PAIR | {"label": "0"}, "面包热吗？你是说面包是热的吗？[MASK]。", "不是", 2),
        ("afqmc", 1, PAIR, "面包热吗？[MASK]，面包是热的吗", "是", 2),
        (
            "chid", 0,
            {"id": 0, "content": "他#idiom#地走了。", "candidates": ["一心一意", "三心二意"],
             "answer": 1},
            "他[MASK]地走了。", "三心二意<eop>", 2,
        ),
        ("fewclue/cluewsc", 0, WSC, MARKED + "代词'*它*'[MASK]指#小猫#.", "是", 2),
        (
            "clue/cluewsc", 1, WSC | {"label": "false"},
            f"在如下的句子中：{MARKED}代词'*它*'[MASK]指'#小猫#'.", "不是", 2,
        ),
        (
            "csl", 0,
            {"id": 1, "abst": "本文研究面包。", "keyword": ["面包", "烤箱"], "label": "0"},
            "摘要：本文研究面包。关键词：面包、烤箱。以上关键词[MASK]。", "错误", 2,
        ),
        (
            "csldcp", 0, {"id": 1, "content": "本文研究果树。", "label": "园艺学"},
            "本文研究果树。以上论文属于的学科是[MASK]。", "园艺学<eop>", 67,
        ),
        (
            "eprstmt", 0, {"id": 1, "sentence": "面包很香", "label": "Positive"},
            "面包很香。总的来说很[MASK]。", "好", 2,
        ),
        (
            "iflytek", 0, {"id": 1, "label": 88, "label_des": "菜谱", "sentence": "教你做面包"},
            "教你做面包以上应用属于的类别是[MASK]。", "菜谱<eop>", 119,
        ),
        ("ocnli", 0, NLI, "猫坐着。？[MASK]，猫在跑", "不", 3),
        ("fewclue/tnews", 0, NEWS, "标题：小麦熟了关键词：小麦,收割类别：[MASK]", "农业", 15),
        (
            "clue/tnews", 0, NEWS | {"label": "104"},
            "标题：小麦熟了关键词：小麦,收割类别：[MASK]", "金融", 15,
        ),
    ],
)  # fmt: skip
def test_the_question_and_the_right_answer(asked, name, pattern, record, text, right, number):
    assert asked(name, pattern, record) == (f"[CLS]{text}<eos>", right, number)
