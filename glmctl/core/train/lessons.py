"""Questions -> lessons, of which one candidate is right -> the batches of every step.

As released, the loss of a question is the cross-entropy over the scores of its candidates
(`finetune_glm.py`): the logits of the words, where each is one token; what a head says; else the
scores that evaluation compares. Where answers are written, it is the cross-entropy of their
tokens; so it is of a true claim that has no rival.
"""

import zlib
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
import xxhash

from glmctl.core.data.batch import SPAN_BUCKETS, Batch, StepData
from glmctl.core.decode.classify import pack_texts
from glmctl.core.decode.score import Packed, pack
from glmctl.core.model.heads import Aim, Choices, Classes, Written
from glmctl.core.objective.blank_infilling import CHOICE
from glmctl.core.objective.draws import sample_keys
from glmctl.core.tasks.answer import shape_of
from glmctl.core.tasks.ask import Asker, Question
from glmctl.core.tasks.repeats import content
from glmctl.core.tasks.schema import WRITTEN


@dataclass(frozen=True)
class Lesson:
    """A question of which one candidate is right, or on a scale what lies between two."""

    question: Question
    right: float
    """Place of the right one."""


def lessons_of(asker: Asker, question: Question) -> Iterator[Lesson]:
    """One lesson for each right answer; the other right ones are no candidates then.

    An answer that is written has no wrong candidates; all blanks of a text are one. A claim that is
    false teaches nothing.

    Raises:
        ValueError: none of the candidates is right.
    """
    if asker.task.kind in WRITTEN:
        rights = [*asker.answers_to(question)]
        for given in [rights] if asker.task.kind == "infill" else [[it] for it in rights]:
            yield Lesson(replace(question, candidates=tuple(given), prompt=None), 0)
        return
    if asker.task.scale:
        yield Lesson(question, place_on_scale(question))
        return
    answers, places = question.answers, right_places(asker, question)
    if not places and not asker.task.first_is_claim:
        golds = ", ".join(question.example.golds)
        raise ValueError(f"none of its candidates is right ({golds}); correct the row")
    wrong = [i for i in range(len(answers)) if i not in places]
    if (most := asker.task.num_negatives) is not None and len(wrong) > most:
        seed = zlib.crc32(str(question.example.id).encode())
        wrong = np.random.default_rng(seed).choice(wrong, most, replace=False).tolist()
    for right in places:
        kept = sorted([right, *wrong])
        left = replace(
            question,
            answers=tuple(answers[i] for i in kept),
            candidates=tuple(question.candidates[i] for i in kept),
        )
        yield Lesson(left, kept.index(right))


def right_places(asker: Asker, question: Question) -> list[int]:
    """Places of the right ones among the answers of a question."""
    answers = question.answers
    if asker.task.first_is_claim:
        return [0] if question.example.golds == asker.task.labels[1:] else []
    names = asker.names(len(answers)) if asker.has_index else answers
    return [place for place, name in enumerate(names) if name in question.example.golds]


def place_on_scale(question: Question) -> float:
    """Where the right answer lies among those of a question, by their places."""
    (gold,) = map(float, question.example.golds)
    labels = [*map(float, question.answers)]
    return float(np.interp(gold, labels, range(len(labels))))


def mirrored(asker: Asker, question: Question) -> Question:
    """The example with two of its fields in the place of each other, and the other label."""
    example, (first, second) = question.example, asker.task.mirror
    fields = {**example.fields, first: example.fields[second], second: example.fields[first]}
    golds = tuple(label for label in asker.task.label_names if label not in example.golds)
    return asker.ask(replace(example, fields=fields, golds=golds))


def hold_out(
    questions: Sequence[Question], share: float, *, by_label: bool
) -> tuple[list[Question], list[Question]]:
    """Split questions in two, the second one with this share of each label, one at least of two.

    Examples of one group stay together, and so do those that ask the same. Which are held out
    follows from what they ask alone, so that runs of other seeds are evaluated on the same ones.
    """
    groups: dict[Hashable, list[Question]] = defaultdict(list)
    for question in questions:
        groups[question.example.group].append(question)
    keys = {
        name: xxhash.xxh3_64_intdigest(repr([*map(content, group)]).encode())
        for name, group in groups.items()
    }
    labels: dict[int, tuple[str, ...]] = {}
    for name, (first, *_) in groups.items():
        labels.setdefault(keys[name], first.example.golds[:1] if by_label else ())
    held: set[int] = set()
    for label in {*labels.values()}:
        units = sorted(key for key, its in labels.items() if its == label)
        number = min(max(1, round(share * len(units))), len(units) - 1)
        held.update(units[:number])
    parts: tuple[list[Question], list[Question]] = ([], [])
    for question in questions:
        parts[keys[question.example.group] in held].append(question)
    return parts


@dataclass(frozen=True)
class LessonData:
    """The lessons of every step; each epoch has an order of its own."""

    lessons: Sequence[Lesson]
    asker: Asker
    seed: int
    global_batch_size: int
    micro_batch_size: int
    end_row: int
    """Row after the last one of the run, which may leave its last step smaller."""

    def step(self, step: int, rank: int, num_replicas: int) -> StepData:
        """What a replica trains on in step number `step`, from 0."""
        first = step * self.global_batch_size
        end = min(first + self.global_batch_size, self.end_row)
        starts = range(first, end, self.micro_batch_size)
        batches = {
            number: self.batch(range(start, min(start + self.micro_batch_size, end)))
            for number, start in enumerate(starts)
            if number % num_replicas == rank
        }
        num_tokens = sum(len(batch.input_ids) for batch in batches.values())
        return StepData(batches, num_tokens, first, end - first)

    def batch(self, rows: Iterable[int]) -> Batch:
        """The lessons of some rows; those of one shape become neighbours."""
        number = len(self.lessons)
        found = [self.lessons[order_of(number, self.seed, r // number)[r % number]] for r in rows]
        return make_batch(sorted(found, key=lambda it: shape_of(it.question)), self.asker)


@lru_cache(maxsize=2)
def order_of(number: int, seed: int, epoch: int) -> Sequence[int]:
    """The lessons of an epoch, shuffled."""
    order: list[int] = np.argsort(sample_keys(seed, epoch, np.arange(number))).tolist()
    return order


def make_batch(lessons: Sequence[Lesson], asker: Asker) -> Batch:
    """The tensors of one forward."""
    sizes = torch.tensor([len(lesson.question.candidates) for lesson in lessons])
    question = torch.arange(len(lessons)).repeat_interleave(sizes)
    place = torch.cat([torch.arange(size) for size in sizes.tolist()])
    right = torch.tensor([float(lesson.right) for lesson in lessons])
    if asker.task.head:
        rows = [it for lesson in lessons for it in asker.texts(lesson.question)]
        texts = pack_texts(rows, is_causal=asker.frame.is_causal)
        return batch_of(texts, Classes(question, place, right), len(lessons))
    candidates = [it for lesson in lessons for it in lesson.question.candidates]
    packed = pack(candidates, asker.special.sop)
    if asker.task.kind in WRITTEN or (
        asker.task.first_is_claim and len(candidates) == len(lessons)
    ):
        written = Written(packed.rows, asker.task.label_smoothing)
        return batch_of(packed, written, len(packed.target_ids))
    lengths = torch.tensor([len(candidate.targets) for candidate in candidates])
    choices = Choices(
        asker.by_logit,
        packed.rows,
        torch.arange(len(candidates)).repeat_interleave(lengths),
        question,
        place,
        lengths.double() ** asker.penalty,
        right,
    )
    return batch_of(packed, choices, len(lessons))


def batch_of(packed: Packed, choices: Aim, num_losses: int) -> Batch:
    return Batch(
        packed.input_ids,
        packed.position_ids,
        packed.segments,
        packed.wanted,
        packed.target_ids,
        torch.full((num_losses,), CHOICE * len(SPAN_BUCKETS)),
        num_losses,
        choices,
    )
