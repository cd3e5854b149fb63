"""Scores classes of texts by the head of a model, from one hidden state of each text.

That is the first token's, as released (`GLMForSequenceClassification`); of a causal model, whose
first token sees nothing else, the last one's.

Shapes: T packed tokens, R texts, C classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from glmctl.core.decode.score import Candidate, Packed, groups
from glmctl.core.model.glm import GLM
from glmctl.core.model.sight import Segments


def pack_texts(rows: Sequence[Candidate], *, is_causal: bool) -> Packed:
    """Lay texts out for one forward pass, each the Part A of a candidate without targets."""
    lengths = tuple(len(row.part_a) for row in rows)
    segments = Segments(lengths, lengths)
    ids = torch.tensor([token for row in rows for token in row.part_a])
    places = torch.cat([torch.arange(length) for length in lengths])
    places = torch.stack([places, torch.zeros_like(places)])
    wanted = torch.tensor(segments.starts)
    if is_causal:
        wanted += torch.tensor(lengths) - 1
    none = torch.tensor([], dtype=torch.long)
    return Packed(ids, places, segments, wanted, none, none)


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
