"""How well the model fills the blanks of text it was never trained on.

Every held text is corrupted once, with short spans and a fixed seed. A blank counts as filled
when each of its tokens is the likeliest one, given the true tokens before it in the blank; the
end token is left out. Beside it stands what the emptiest guess reaches on the same blanks: the
token that is most often hidden in training, everywhere.

Shapes: M rows with a loss, V vocabulary rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from glmctl.core.data.batch import Batch, TrainingData, make_batch
from glmctl.core.data.order import RowOrder
from glmctl.core.data.shards import TokenStore
from glmctl.core.model.glm import GLM
from glmctl.core.objective.corruption import Corruption
from glmctl.core.train.precision import arithmetic
from glmctl.errors import InputError
from glmctl.recipe.schema import TrainConfig

MAX_DOCUMENTS = 256
ROWS_PER_FORWARD = 16
NUM_TRAINING_ROWS = 256  # looked at for the most frequent hidden token
SEED = 0


@dataclass(frozen=True)
class ProbeResult:
    """Shares of the held blanks that are filled."""

    probe_exact_match_share: float
    probe_baseline_share: float
    probe_nll: float  # of a blank, in nats
    probe_blanks: int

    def __str__(self) -> str:
        return (
            f"probe {100 * self.probe_exact_match_share:.1f} % "
            f"(most frequent token {100 * self.probe_baseline_share:.1f} %)"
        )


class Probe:
    """Held blanks, which stay the same during a run.

    Args:
        batches: the held text, corrupted.
        end: the token that ends a blank; None when a blank is one token (masked LM).
        frequent: the token most often hidden in training.
    """

    def __init__(self, batches: Sequence[Batch], end: int | None, frequent: int) -> None:
        self.batches = batches
        self.end = end
        self.frequent = frequent

    def run(self, model: GLM, config: TrainConfig) -> ProbeResult:
        """Score every blank."""
        device = model.word_embedding.weight.device
        num_blanks = filled = guessed = 0
        nll = 0.0
        model.eval()
        with torch.inference_mode(), arithmetic(config, device):
            for batch in self.batches:
                b = batch.to(device)
                hidden = model.hidden(b.input_ids, b.position_ids, b.segments, b.wanted)
                log_probs = model.logits(hidden).log_softmax(1)  # [M, V]
                blank, is_text = split_blanks(b.target_ids, self.end)
                targets, best = b.target_ids[is_text], log_probs.argmax(1)[is_text]
                gold = log_probs.gather(1, b.target_ids[:, None])[:, 0][is_text]
                num_blanks += num_distinct(blank)
                filled += count_whole(blank, best == targets)
                guessed += count_whole(blank, targets == self.frequent)
                nll -= gold.double().sum().item()
        return ProbeResult(filled / num_blanks, guessed / num_blanks, nll / num_blanks, num_blanks)


def split_blanks(targets: Tensor, end: int | None) -> tuple[Tensor, Tensor]:
    """Which blank each target that is not an end token belongs to, and which targets those are.

    Args:
        targets: the blanks of a batch one after another, [M].
        end: the token after each blank; None when each target is a blank.
    """
    if end is None:
        return torch.arange(len(targets), device=targets.device), torch.ones_like(targets).bool()
    is_end = targets == end
    return (is_end.cumsum(0))[~is_end], ~is_end


def count_whole(blank: Tensor, is_right: Tensor) -> int:
    """How many blanks have no token that is wrong."""
    return num_distinct(blank) - num_distinct(blank[~is_right])


def num_distinct(values: Tensor) -> int:
    return int(torch.unique(values).numel())


def make_probe(
    held: TokenStore, data: TrainingData, corruption: Corruption, end: int | None
) -> Probe:
    """Corrupt the held text and look up the training's most frequent hidden token.

    Args:
        held: text that is not trained on.
        data: the training rows.
        corruption: hides short spans, one draw a sample.
        end: the token that ends a blank; None for masked LM.

    Raises:
        InputError: the held text has no blank.
    """
    num_documents = min(len(held.lengths), MAX_DOCUMENTS)
    order = RowOrder(held.lengths[:num_documents], data.order.room + 1, False, SEED)
    source = TrainingData([held], order, corruption, data.special, 1, 1)
    batches = []
    for first in range(0, order.num_rows, ROWS_PER_FORWARD):
        num_rows = min(ROWS_PER_FORWARD, order.num_rows - first)
        batch = make_batch(corruption(*source.samples(first, num_rows)))
        if batch.num_targets:
            batches.append(batch)
    if not batches:
        raise InputError("data.probe", "has no text in which a blank could be made; name another")
    examples = corruption(*data.samples(0, min(NUM_TRAINING_ROWS, data.order.num_rows)))
    hidden = examples.target_ids[(examples.loss_mask == 1) & (examples.target_ids != end)]
    return Probe(batches, end, int(np.bincount(hidden).argmax()))
