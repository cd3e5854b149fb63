"""Examples -> candidates for the scoring engine, and its scores -> predictions.

A word of a verbalizer and a candidate of a choice task are the same to it: tokens that could fill
the blank of a pattern. What is too long is shortened as in the released code: token by token from
the end of what may be shortened, on the longer side of the pattern first.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain

from glmctl.core.decode.score import Candidate, Score
from glmctl.core.tasks.read import Example
from glmctl.core.tasks.schema import BLANK, CHOICE, FIELD, PatternConfig, TaskConfig
from glmctl.core.tokenizer.base import Tokenizer
from glmctl.errors import InputError

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Unit:
    """Tokens of one part of a pattern."""

    ids: Ids
    can_shrink: bool = False
    is_second: bool = False
    """Of the second side of the pattern."""


@dataclass(frozen=True)
class Question:
    """An example as it is put to the model."""

    example: Example
    answers: tuple[str, ...]
    """What could fill the blank: labels, or the texts of choices."""
    candidates: tuple[Candidate, ...]
    is_cut: bool
    """Whether it was too long."""


@dataclass(frozen=True)
class Prediction:
    """What the model says to an example."""

    example: Example
    prediction: str
    scores: dict[str, float]


class Asker:
    """A task and a tokenizer: lays examples out and reads the scores.

    Args:
        task: with the pattern to use.
        tokenizer: of the model.
        max_positions: of the model.

    Raises:
        InputError: the tokenizer has no such blank.
    """

    def __init__(self, task: TaskConfig, tokenizer: Tokenizer, max_positions: int) -> None:
        self.task = task
        self.pattern: PatternConfig = task.patterns[task.pattern]
        self.special = tokenizer.special
        self.max_length = min(task.max_length, max_positions)
        self.encode = cache(lambda text: tuple(tokenizer.encode(text, special=False)))
        (blank,) = BLANK.findall("".join(self.pattern.parts))
        if blank not in self.special.strings:
            raise InputError(task.name, f"the model has no {blank}; write [MASK] in the pattern")
        self.blank = self.special.strings[blank]
        self.lead = " " if any(f" {blank}" in part for part in self.pattern.parts) else ""
        words = task.words(self.pattern) if task.kind == "cloze" else {}
        self.words = {label: self.encode(self.spaced(word)) for label, word in words.items()}
        self.split_words = tuple(it for label, it in words.items() if len(self.words[label]) > 1)
        """Words of the verbalizer that the tokenizer cuts."""
        self.has_index = task.kind == "choice" and task.golds is None and not task.first_is_claim
        """Whether the label says which of the choices is right."""

    @property
    def scored_by(self) -> str:
        """What the best answer has the most of."""
        if self.task.kind == "cloze":
            return f"{'log-probability' if self.split_words else 'logit'} of the word"
        end = " and its end" if self.task.include_end else ""
        return f"log-probability of the choice{end} / tokens^{self.task.length_penalty:g}"

    @property
    def by_logit(self) -> bool:
        """Each answer is one word of one token, and its logit is its score."""
        return self.task.kind == "cloze" and not self.split_words

    @property
    def penalty(self) -> float:
        """Scores are divided by the number of tokens to this power."""
        return 0.0 if self.task.kind == "cloze" else self.task.length_penalty

    def names(self, number: int) -> Sequence[str]:
        """Labels of so many choices."""
        return self.task.labels or tuple(map(str, range(number)))

    def spaced(self, answer: str) -> str:
        """An answer with the space that its blank has taken along."""
        return answer if answer.startswith(" ") else self.lead + answer

    def ask(self, example: Example) -> Question:
        """Lay an example out.

        Raises:
            ValueError: it is too long, or has no candidates.
        """
        if self.task.kind == "cloze":
            longest = max(map(len, self.words.values()))
            room = longest if self.split_words else 1
            part_a, place, is_cut = self.part_a(example.fields, room)
            of_words = tuple(Candidate(part_a, (), place, ids) for ids in self.words.values())
            return Question(example, (*self.words,), of_words, is_cut)
        offered = (
            *(fill(choice, example.fields) for choice in self.task.choices),
            *example.choices,
        )
        if not offered:
            raise ValueError("has no candidates; each row needs one at least")
        answers = offered if self.has_index else tuple(dict.fromkeys(offered))
        for gold in example.golds if self.has_index else ():
            if gold not in self.names(len(answers)):
                raise ValueError(f"label {gold!r} is no number of its choices")
        laid_out = [self.candidate(example, answer) for answer in answers]
        candidates = tuple(candidate for candidate, _ in laid_out)
        return Question(example, answers, candidates, any(is_cut for _, is_cut in laid_out))

    def candidate(self, example: Example, choice: str) -> tuple[Candidate, bool]:
        """One choice; and whether the text is cut for it."""
        fields = {**example.fields, CHOICE: choice}
        targets = self.encode(self.spaced(fill(self.pattern.answer or self.task.answer, fields)))
        if not choice.strip() or not targets:
            raise ValueError("has an empty choice; write something or leave it out")
        if self.task.include_end:
            targets = (*targets, self.special.eop)
        part_a, place, is_cut = self.part_a(fields, len(targets))
        return Candidate(part_a, (), place, targets), is_cut

    def units(self, fields: Mapping[str, str]) -> list[Unit]:
        """The parts of the pattern with the fields of an example."""
        units: list[Unit] = []
        is_second = False
        for part in self.pattern.parts:
            if part == "|":
                is_second = True
                continue
            for number, piece in enumerate(BLANK.split(part)):
                if number % 2:  # the blank itself
                    units.append(Unit((self.blank,), is_second=is_second))
                elif piece:
                    before_blank = number == 0 and BLANK.search(part) is not None
                    text = piece.removeprefix("~")
                    text = text.removesuffix(self.lead) if before_blank else text
                    ids = self.encode(fill(text, fields))
                    units.append(Unit(ids, piece.startswith("~"), is_second))
        return units

    def part_a(self, fields: Mapping[str, str], room: int) -> tuple[Ids, int, bool]:
        """Part A, the place of the blank, and whether it was cut, when Part B has so many tokens.

        Raises:
            ValueError: it is too long without what may be shortened.
        """
        units = self.units(fields)
        excess = 2 + sum(len(unit.ids) for unit in units) + room - self.max_length
        kept = shorten(units, excess) if excess > 0 else [unit.ids for unit in units]
        before = kept[: next(n for n, unit in enumerate(units) if unit.ids == (self.blank,))]
        part_a = (self.special.cls, *chain.from_iterable(kept), self.special.eos)
        return part_a, 1 + sum(map(len, before)), excess > 0

    def read(self, question: Question, scores: Sequence[Score]) -> Prediction:
        """What the scores of an example's candidates say."""
        task = self.task
        lengths = [len(it.targets) ** self.penalty for it in question.candidates]
        points = [score.logit if self.by_logit else score.log_prob for score in scores]
        values = [score / length for score, length in zip(points, lengths, strict=True)]
        best = values.index(max(values))
        if task.first_is_claim:
            wins = best == 0 if len(values) > 1 else scores[0].is_greedy
            prediction = task.labels[wins]
        elif self.has_index:
            prediction = self.names(len(values))[best]
        else:
            prediction = question.answers[best]
        return Prediction(
            question.example, prediction, dict(zip(question.answers, values, strict=True))
        )


def shorten(units: Sequence[Unit], excess: int) -> list[Ids]:
    """Take so many tokens off what may be shortened.

    Raises:
        ValueError: there is not so much.
    """
    kept = [len(unit.ids) for unit in units]
    open_units = {
        side: [n for n, unit in enumerate(units) if unit.can_shrink and unit.is_second == side]
        for side in (False, True)
    }
    room = {side: sum(kept[n] for n in numbers) for side, numbers in open_units.items()}
    if excess > sum(room.values()):
        over = excess - sum(room.values())
        raise ValueError(
            f"is {over:,} tokens too long even without what may be shortened; shorten the row"
        )
    for _ in range(excess):
        side = room[True] >= room[False]
        last = next(n for n in reversed(open_units[side]) if kept[n])
        kept[last] -= 1
        room[side] -= 1
    return [unit.ids[:length] for unit, length in zip(units, kept, strict=True)]


def fill(text: str, fields: Mapping[str, str]) -> str:
    """A part of a pattern with its fields.

    Raises:
        ValueError: the row has no such field.
    """
    parts = FIELD.split(text)  # text, name, changes, text, ...
    filled = parts[0]
    for name, changes, following in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        if name not in fields:
            raise ValueError(f"has no {name!r}; there are {', '.join(fields)}; correct the pattern")
        filled += changed(fields[name], changes or "") + following
    return filled


def changed(text: str, changes: str) -> str:
    """The text after the changes that a pattern names."""
    for change in changes.split(","):
        if change == "strip":
            text = text.rstrip(string.punctuation)
        elif change == "lowerfirst":
            text = text[:1].lower() + text[1:]
    return text
