"""Metrics of written texts against values computed by hand, and against known packages.

ROUGE: Lin (2004), as rouge-score computes it. BLEU: Papineni et al. (2002), as multi-bleu.perl.
SQuAD: evaluate-v2.0.py. CMRC: cmrc2018_evaluate.py. Spans: seqeval.
"""

import sys

import numpy as np
import pytest
import sacrebleu

from glmctl.core.tasks.formats import sentence
from glmctl.core.tasks.metrics import Judged, measure
from glmctl.core.tasks.text_metrics import lines_kept, rouge_scorer
from glmctl.errors import UsageError


def judged(*pairs):
    return [Judged(number, it, golds) for number, (it, golds) in enumerate(pairs)]


def value_of(name, *pairs):
    return measure(name, judged(*pairs), ()).value


def test_rouge_of_many_is_their_mean():
    assert value_of("rouge1", ("a b", ("a b",)), ("c", ("d",))) == pytest.approx(50.0, abs=1e-12)


@pytest.mark.parametrize(
    ("summary", "kept"),
    [
        ("one two three four", []),  # four words are too few
        ("one two three four five", ["one two three four five"]),
        ("a b c d e[SEP]A b c d x", ["a b c d e"]),  # 4 of 5 were seen
        ("a b c d e f g h i j[SEP]a b c d e f g x y z",
         ["a b c d e f g h i j", "a b c d e f g x y z"]),  # 7 of 10 are not too many
        ("", []),
    ],
)  # fmt: skip
def test_the_post_processing_leaves_out_short_and_repeated_lines(summary, kept):
    assert lines_kept(summary) == kept


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    rouge_scorer.cache_clear()
    monkeypatch.setitem(sys.modules, "rouge_score.rouge_scorer", None)
    with pytest.raises(UsageError, match=r"needs rouge-score; pip install 'glmctl\[eval\]'"):
        value_of("rouge1", ("a", ("a",)))


def test_bleu_is_that_of_sacrebleu():
    generator = np.random.default_rng(0)
    words = np.array(["the", "oven", "is", "hot", "."])
    texts = [" ".join(generator.choice(words, 12)) for _ in range(60)]
    ours, golds = texts[:30], texts[30:]
    theirs = sacrebleu.corpus_bleu(ours, [golds], tokenize="none", smooth_method="none").score
    found = measure("bleu", judged(*zip(ours, ((it,) for it in golds), strict=True)), ())
    assert found.value == pytest.approx(theirs, abs=1e-12)
    assert found.interval[0] < found.value < found.interval[1]


def test_bleu_of_chinese_is_that_of_its_characters():
    ours, gold = "猫在炉10点睡了。", "猫在炭炉边10点睡了。"
    theirs = sacrebleu.corpus_bleu([ours], [[gold]], tokenize="zh", smooth_method="none").score
    assert value_of("bleu", (ours, (gold,))) == pytest.approx(theirs, abs=1e-12)


def test_span_f1_counts_entities_of_all_types_together():
    text = "Ann Lee sees Bob in Rome".split()
    gold = ["B-PER", "I-PER", "O", "B-PER", "O", "B-LOC"]
    ours = ["B-PER", "O", "O", "B-PER", "O", "B-PER"]
    answers = {}
    for name, tags in (("gold", gold), ("ours", ours)):
        found = sentence([*zip(text, tags, strict=True)], 1)["entities"]
        for kind in ("PER", "LOC"):
            answers[name, kind] = "; ".join(it["text"] for it in found if it["type"] == kind)
    pairs = [(answers["ours", it] or "none", (answers["gold", it] or "none",))
             for it in ("PER", "LOC")]  # fmt: skip
    # Bob alone is right, of three found and three there.
    assert value_of("span_f1", *pairs) == pytest.approx(100 / 3, abs=1e-12)
