"""How near a text that was written comes to right ones: answers, summaries, entities."""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glmctl.errors import UsageError

FloatArray = NDArray[np.float64]
ARTICLES = re.compile(r"\b(a|an|the)\b")
NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
NO_ANSWER = "N/A"
"""What is written where a text does not hold the answer."""
HAN_OR_RUN = re.compile(r"[\u4e00-\u9fa5]|[^\W\u4e00-\u9fa5]+|[^\w\s]")
HAN = "\u3001-\u303f\u3400-\u9fff\uff00-\uffef"
WORD = re.compile(rf"[{HAN}]|[^\s{HAN}]+")
"""What stands between spaces; of Chinese a character."""
BREAK = "[SEP]"
"""Stands between the sentences of a summary."""
MIN_WORDS, MAX_SEEN = 5, 0.7
"""Lines of a summary are kept that have so many words, of which no greater share came before."""
LISTED = "; "
"""Between the entities of an answer."""
NONE = "none"
"""The answer where there is no entity."""
MAX_ORDER = 4


def same_text(prediction: str, gold: str) -> float:
    return float(normalised(prediction) == normalised(gold))


def token_f1(prediction: str, gold: str) -> float:
    """F1 of the words that two answers share; of two without words, 1."""
    ours, theirs = normalised(prediction).split(), normalised(gold).split()
    if not ours or not theirs:
        return float(ours == theirs)
    return 2 * (Counter(ours) & Counter(theirs)).total() / (len(ours) + len(theirs))


def normalised(text: str) -> str:
    """An answer in small letters, without punctuation and articles, as SQuAD's script does."""
    if text == NO_ANSWER:
        return ""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(NO_PUNCTUATION)).split())


def char_units(text: str) -> list[str]:
    """Chinese characters and other words, in small letters and without punctuation."""
    units = HAN_OR_RUN.findall(text.lower())
    return [unit for unit in units if not unicodedata.category(unit[0]).startswith(("P", "S"))]


def same_chars(prediction: str, gold: str) -> float:
    return float("".join(char_units(prediction)) == "".join(char_units(gold)))


def char_f1(prediction: str, gold: str) -> float:
    """F1 of the longest run of units that two answers share, as CMRC's script does."""
    ours, theirs = char_units(prediction), char_units(gold)
    if not ours or not theirs:
        return float(ours == theirs)
    common = SequenceMatcher(None, ours, theirs, autojunk=False).find_longest_match().size
    return 2 * common / (len(ours) + len(theirs))


def rouge(name: str, *, is_paper: bool = False) -> Callable[[str, str], float]:
    """F-measure of ROUGE with stemming, of summaries with a sentence a line.

    Args:
        name: rouge1, rouge2 or rougeLsum.
        is_paper: short and repeated lines of the prediction are left out before, as the released
            code does.
    """

    def compare(prediction: str, gold: str) -> float:
        ours = lines_kept(prediction) if is_paper else sentence_lines(prediction)
        scores = rouge_scorer(name)("\n".join(sentence_lines(gold)), "\n".join(ours))
        return float(scores[name].fmeasure)

    return compare


@cache
def rouge_scorer(name: str) -> Callable[[str, str], dict[str, Any]]:
    try:
        from rouge_score.rouge_scorer import RougeScorer  # takes a second to load
    except ImportError:
        raise UsageError(name, "needs rouge-score; pip install 'glmctl[eval]'") from None
    return RougeScorer([name], use_stemmer=True).score  # type: ignore[no-any-return]


def sentence_lines(summary: str) -> list[str]:
    """The sentences of a summary, where they are told apart."""
    return summary.replace(BREAK, "\n").split("\n")


def lines_kept(summary: str) -> list[str]:
    """Its sentences but those that are short, or say little that is new."""
    kept: list[str] = []
    seen: set[str] = set()
    for line in sentence_lines(summary):
        words = line.lower().split()
        distinct = {*words}
        if len(words) >= MIN_WORDS and len(distinct & seen) <= MAX_SEEN * len(distinct):
            kept.append(line)
        seen |= distinct
    return kept


def bleu_counts(prediction: str, golds: Sequence[str]) -> list[int]:
    """What BLEU of many texts is made of: its sums over the texts are those of all.

    Words stand between spaces; of Chinese each character is one, as for sacreBLEU's `zh`.

    Returns:
        Words of the prediction and of the gold nearest in length (of two as near, the shorter);
        then for 1 to 4 words in a row, how many are right; then how many there are.
    """
    ours, theirs = WORD.findall(prediction), [WORD.findall(gold) for gold in golds]
    nearest = min(map(len, theirs), key=lambda length: (abs(length - len(ours)), length), default=0)
    right, given = [], []
    for order in range(1, MAX_ORDER + 1):
        found = Counter(ngrams(ours, order))
        allowed: Counter[tuple[str, ...]] = Counter()
        for gold in theirs:
            allowed |= Counter(ngrams(gold, order))
        right.append((found & allowed).total())
        given.append(found.total())
    return [len(ours), nearest, *right, *given]


def ngrams(words: Sequence[str], order: int) -> Iterator[tuple[str, ...]]:
    return zip(*(words[start:] for start in range(order)), strict=False)


def bleu(totals: FloatArray) -> FloatArray:
    """Corpus BLEU-4 without smoothing, as multi-bleu.perl, [R, 10] -> [R]."""
    length, gold_length = totals[:, 0], totals[:, 1]
    right, given = totals[:, 2 : 2 + MAX_ORDER], totals[:, 2 + MAX_ORDER :]
    is_defined = (right > 0).all(1)
    logs = np.log(np.where(right > 0, right, 1) / given.clip(1)).mean(1)
    brevity = np.minimum(0.0, 1 - gold_length / length.clip(1))
    value: FloatArray = np.where(is_defined, np.exp(logs + brevity), 0.0)
    return value


def span_counts(prediction: str, gold: str) -> list[int]:
    """Entities that are right, that are predicted and that there are.

    An entity that is written stands for one mention of its text, and no other.
    """
    ours, theirs = listed(prediction), listed(gold)
    return [(ours & theirs).total(), ours.total(), theirs.total()]


def listed(answer: str) -> Counter[str]:
    """The entities that an answer lists, each as often as it does."""
    texts = (" ".join(text.split()) for text in answer.split(LISTED.strip()))
    return Counter(text for text in texts if text and text != NONE)
