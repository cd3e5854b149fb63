"""Questions -> lessons, of which one candidate is right; and the questions that are held out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from glmctl.core.objective.draws import sample_keys
from glmctl.core.tasks.ask import Asker, Question


@dataclass(frozen=True)
class Lesson:
    """A question of which one candidate is right."""

    question: Question
    right: int


def lessons_of(asker: Asker, question: Question) -> Iterator[Lesson]:
    """One lesson for each right answer; the other right ones are no candidates then.

    Raises:
        ValueError: none of the candidates is right.
    """
    answers, places = question.answers, right_places(asker, question)
    if not places:
        golds = ", ".join(question.example.golds)
        raise ValueError(f"none of its candidates is right ({golds}); correct the row")
    for right in places:
        kept = [i for i in range(len(answers)) if i == right or i not in places]
        left = replace(
            question,
            answers=tuple(answers[i] for i in kept),
            candidates=tuple(question.candidates[i] for i in kept),
        )
        yield Lesson(left, kept.index(right))


def right_places(asker: Asker, question: Question) -> list[int]:
    """Places of the right ones among the answers of a question."""
    answers = question.answers
    names = asker.names(len(answers)) if asker.has_index else answers
    return [place for place, name in enumerate(names) if name in question.example.golds]


def hold_out(
    questions: Sequence[Question], share: float, seed: int
) -> tuple[list[Question], list[Question]]:
    """Split questions in two, the second one with this share of each label, at least one.

    Examples of one group stay together.
    """
    by_label: dict[tuple[str, ...], dict[Hashable, None]] = defaultdict(dict)
    for question in questions:
        by_label[question.example.golds[:1]].setdefault(question.example.group)
    held: set[Hashable] = set()
    for place, groups in enumerate(by_label.values()):
        keys = np.argsort(sample_keys(seed, place, np.arange(len(groups))))
        number = min(max(1, round(share * len(groups))), len(groups) - 1)
        names = [*groups]
        held.update(names[i] for i in keys[:number])
    parts: tuple[list[Question], list[Question]] = ([], [])
    for question in questions:
        parts[question.example.group in held].append(question)
    return parts
