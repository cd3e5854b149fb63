"""Lessons -> the batches of every step.

As released, the loss of a question is the cross-entropy over the scores of its candidates
(`finetune_glm.py`): the logits of the words, where each is one token, else the scores that
evaluation compares.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from glmctl.core.data.batch import SPAN_BUCKETS, Batch, StepData
from glmctl.core.decode.score import pack
from glmctl.core.model.heads import Choices
from glmctl.core.objective.blank_infilling import CHOICE
from glmctl.core.objective.draws import sample_keys
from glmctl.core.tasks.answer import shape_of
from glmctl.core.tasks.ask import Asker
from glmctl.core.tasks.lessons import Lesson


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
    candidates = [it for lesson in lessons for it in lesson.question.candidates]
    packed = pack(candidates, asker.special.sop)
    sizes = torch.tensor([len(lesson.question.candidates) for lesson in lessons])
    lengths = torch.tensor([len(candidate.targets) for candidate in candidates])
    choices = Choices(
        asker.by_logit,
        packed.rows,
        torch.arange(len(candidates)).repeat_interleave(lengths),
        torch.arange(len(lessons)).repeat_interleave(sizes),
        torch.cat([torch.arange(size) for size in sizes.tolist()]),
        lengths.double() ** asker.penalty,
        torch.tensor([lesson.right for lesson in lessons]),
    )
    kinds = torch.full((len(lessons),), CHOICE * len(SPAN_BUCKETS))
    return Batch(
        packed.input_ids,
        packed.position_ids,
        packed.segments,
        packed.wanted,
        packed.target_ids,
        kinds,
        len(lessons),
        choices,
    )
