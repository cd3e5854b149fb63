"""How well the model fills the blanks of text it was never trained on.

Every held text is corrupted once, with short spans and a fixed seed. A blank counts as filled
when each of its tokens is the likeliest one, given the true tokens before it in the blank; the
end token is left out. Beside it stands what the emptiest guess reaches on the same blanks: the
token that is most often hidden in training, everywhere.

Shapes: M rows with a loss, V vocabulary rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass

import numpy as np
import torch
from torch import Tensor

from glmctl.core.data.batch import Batch, TrainingData, make_batch
from glmctl.core.data.order import RowOrder
from glmctl.core.data.shards import TokenStore
from glmctl.core.model.glm import GLM
from glmctl.core.objective.corruption import Corruption
from glmctl.core.tokenizer.base import Tokenizer
from glmctl.core.train.precision import arithmetic
from glmctl.errors import InputError
from glmctl.recipe.schema import TrainConfig

MAX_DOCUMENTS = 256
ROWS_PER_FORWARD = 16
NUM_TRAINING_ROWS = 256  # looked at for the most frequent hidden token
SEED = 0
HAN = re.compile("[\u3400-\u9fff]")


@dataclass(frozen=True)
class Tally:
    """What became of some blanks."""

    num_blanks: int = 0
    num_filled: int = 0
    num_guessed: int = 0  # by the most frequent token
    nll: float = 0.0  # of all of them, in nats

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def shares(self, ending: str) -> dict[str, float]:
        """Keys of a record of `metrics.jsonl`."""
        return {
            f"probe_exact_match_share{ending}": self.num_filled / self.num_blanks,
            f"probe_baseline_share{ending}": self.num_guessed / self.num_blanks,
            f"probe_nll{ending}": self.nll / self.num_blanks,
            f"probe_blanks{ending}": self.num_blanks,
        }


@dataclass(frozen=True)
class ProbeResult:
    """How the held blanks of each language were filled."""

    tallies: Mapping[str, Tally]

    def record(self) -> dict[str, float]:
        """Keys of `metrics.jsonl`: of all blanks, then of each language when there are several."""
        record = sum(self.tallies.values(), Tally()).shares("")
        if len(self.tallies) > 1:
            for language, tally in self.tallies.items():
                record |= tally.shares(f"_{language}")
        return record

    def __str__(self) -> str:
        record = self.record()
        share, baseline = record["probe_exact_match_share"], record["probe_baseline_share"]
        return f"probe {100 * share:.1f} % (most frequent token {100 * baseline:.1f} %)"


class Probe:
    """Held blanks, which stay the same during a run.

    Args:
        batches: the held text of each language, corrupted.
        end: the token that ends a blank; None when a blank is one token (masked LM).
        frequent: the token most often hidden in training.
    """

    def __init__(
        self, batches: Mapping[str, Sequence[Batch]], end: int | None, frequent: int
    ) -> None:
        self.batches = batches
        self.end = end
        self.frequent = frequent

    def run(self, model: GLM, config: TrainConfig) -> ProbeResult:
        """Score every blank."""
        model.eval()
        with torch.inference_mode(), arithmetic(config, model.word_embedding.weight.device):
            return ProbeResult(
                {
                    language: sum((self.count(model, batch) for batch in batches), Tally())
                    for language, batches in self.batches.items()
                }
            )

    def count(self, model: GLM, batch: Batch) -> Tally:
        b = batch.to(model.word_embedding.weight.device)
        hidden = model.hidden(b.input_ids, b.position_ids, b.segments, b.wanted)
        log_probs = model.logits(hidden).log_softmax(1)  # [M, V]
        blank, is_text = split_blanks(b.target_ids, self.end)
        targets, best = b.target_ids[is_text], log_probs.argmax(1)[is_text]
        gold = log_probs.gather(1, b.target_ids[:, None])[:, 0][is_text]
        return Tally(
            num_distinct(blank),
            count_whole(blank, best == targets),
            count_whole(blank, targets == self.frequent),
            -gold.double().sum().item(),
        )


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
    held: TokenStore,
    data: TrainingData,
    corruption: Corruption,
    tokenizer: Tokenizer,
    end: int | None,
) -> Probe:
    """Corrupt the held text and look up the training's most frequent hidden token.

    Args:
        held: text that is not trained on.
        data: the training rows.
        corruption: hides short spans, one draw a sample.
        tokenizer: of the held text, whose language is seen from its letters.
        end: the token that ends a blank; None for masked LM.

    Raises:
        InputError: the held text has no blank.
    """
    lengths = held.lengths[:MAX_DOCUMENTS]
    texts = [tokenizer.decode(held.tokens(i, 0, n).tolist()) for i, n in enumerate(lengths)]
    is_chinese = np.array([len(HAN.findall(text)) > len(text) / 4 for text in texts])
    batches = {}
    for language, of_language in (("en", ~is_chinese), ("zh", is_chinese)):
        room = data.order.room + 1
        order = RowOrder(lengths, room, False, SEED, weights=of_language.astype(np.float64))
        found = [*corrupted(TrainingData([held], order, corruption, data.special, 1, 1))]
        if found:
            batches[language] = found
    if not batches:
        raise InputError("data.probe", "has no text in which a blank could be made; name another")
    examples = corruption(*data.samples(0, min(NUM_TRAINING_ROWS, data.order.num_rows)))
    hidden = examples.target_ids[(examples.loss_mask == 1) & (examples.target_ids != end)]
    return Probe(batches, end, int(np.bincount(hidden).argmax()))


def corrupted(source: TrainingData) -> Iterator[Batch]:
    """All rows of the source, a few at a time."""
    num_rows = source.order.num_rows
    for first in range(0, num_rows, ROWS_PER_FORWARD):
        rows = source.samples(first, min(ROWS_PER_FORWARD, num_rows - first))
        batch = make_batch(source.corruption(*rows))
        if batch.num_targets:
            yield batch
