"""Scores classes of texts by the head of a model, from one hidden state of each text.

That is the first token's, as released (`GLMForSequenceClassification`); of a causal model, whose
first token sees nothing else, the last one's.

Shapes: T packed tokens, R texts, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from glmctl.core.decode.score import Candidate, groups
from glmctl.core.model.glm import GLM
from glmctl.core.model.sight import Segments


@dataclass(frozen=True)
class Texts:
    """Texts as one forward pass takes them, without a Part B."""

    input_ids: Tensor  # [T]
    position_ids: Tensor  # [2, T]
    segments: Segments
    wanted: Tensor
    """The token of each whose hidden state its head reads, [R]."""


def pack_texts(rows: Sequence[Candidate], *, is_causal: bool) -> Texts:
    """Lay texts out for one forward pass, each the Part A of a candidate without targets."""
    lengths = tuple(len(row.part_a) for row in rows)
    segments = Segments(lengths, lengths)
    ids = torch.tensor([token for row in rows for token in row.part_a])
    places = torch.cat([torch.arange(length) for length in lengths])
    starts = torch.tensor(segments.starts)
    wanted = starts + torch.tensor(lengths) - 1 if is_causal else starts
    return Texts(ids, torch.stack([places, torch.zeros_like(places)]), segments, wanted)


@torch.inference_mode()
def class_scores(model: GLM, rows: Sequence[Candidate], *, is_causal: bool) -> Tensor:
    """Scores of the classes of each text, [R, C], on the CPU.

    Args:
        model: in evaluation mode, with a head.
        rows: as of `pack_texts`.
        is_causal: the model reads from left to right.
    """
    assert model.head is not None
    scores = []
    for group in groups(rows):
        packed = pack_texts(group, is_causal=is_causal)
        device = model.word_embedding.weight.device
        parts = (packed.input_ids, packed.position_ids, packed.wanted)
        ids, places, wanted = (part.to(device) for part in parts)
        hidden = model.hidden(ids, places, packed.segments, wanted)
        scores.append(model.head(hidden).double().cpu())
    return torch.cat(scores)
