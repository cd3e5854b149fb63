"""How well the model fills the blanks of text it was never trained on.

Every held text is corrupted once, with short spans and a fixed seed. A blank counts as filled
when each of its tokens is the likeliest one, given the true tokens before it in the blank; the
end token is left out. Beside it stands what the emptiest guess reaches on the same blanks: the
token that is most often hidden in training, everywhere.

Shapes: M rows with a loss, V vocabulary rows.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from glmctl.core.data.batch import Batch, TrainingData, make_batch
from glmctl.core.data.order import RowOrder
from glmctl.core.data.shards import TokenStore
from glmctl.core.model.glm import GLM
from glmctl.core.objective.arrays import FloatArray
from glmctl.core.objective.corruption import Corruption
from glmctl.core.tokenizer.base import Tokenizer
from glmctl.core.train.precision import arithmetic
from glmctl.errors import InputError
from glmctl.recipe.schema import ObjectiveConfig, TrainConfig

MAX_DOCUMENTS = 256
ROWS_PER_FORWARD = 16
NUM_TRAINING_ROWS = 256  # looked at for the most frequent hidden token
SEED = 0
HAN = re.compile("[\u3400-\u9fff]")


class Probe:
    """Held blanks, which stay the same during a run.

    Args:
        batches: the held text of each language, corrupted.
        end: the token that ends a blank; None when a blank is one token (masked LM).
        frequent: the token most often hidden in training.
    """

    is_satisfied = False
    """It never ends a run."""

    def __init__(
        self, batches: Mapping[str, Sequence[Batch]], end: int | None, frequent: int
    ) -> None:
        self.batches = batches
        self.end = end
        self.frequent = frequent

    def run(self, model: GLM, config: TrainConfig) -> dict[str, float]:
        """Score every blank.

        Returns:
            Keys of `metrics.jsonl`: of all blanks, then of each language when there are several.
        """
        model.eval()
        device = model.word_embedding.weight.device
        with torch.inference_mode(), arithmetic(config, device):
            counts = {
                language: np.sum([self.count(model, batch.to(device)) for batch in batches], 0)
                for language, batches in self.batches.items()
            }
        return as_record(counts)

    def in_words(self, record: Mapping[str, float]) -> str:
        share, baseline = record["probe_exact_match_share"], record["probe_baseline_share"]
        return f"probe {100 * share:.1f} % (most frequent token {100 * baseline:.1f} %)"

    def count(self, model: GLM, batch: Batch) -> FloatArray:
        """Blanks of a batch, those filled, those of the most frequent token, and their NLL."""
        hidden = model.hidden(batch.input_ids, batch.position_ids, batch.segments, batch.wanted)
        log_probs = model.logits(hidden).log_softmax(1)  # [M, V]
        blank, is_text = split_blanks(batch.target_ids, self.end)
        targets, best = batch.target_ids[is_text], log_probs.argmax(1)[is_text]
        gold = log_probs.gather(1, batch.target_ids[:, None])[:, 0][is_text]
        filled = count_whole(blank, best == targets)
        guessed = count_whole(blank, targets == self.frequent)
        nll = -gold.double().sum().item()
        return np.array([len(blank.unique()), filled, guessed, nll])


def as_record(counts: Mapping[str, FloatArray]) -> dict[str, float]:
    """Keys of `metrics.jsonl` from what :meth:`Probe.count` found in each language."""
    groups = {"": np.sum([*counts.values()], 0)}
    if len(counts) > 1:
        groups |= {f"_{language}": found for language, found in counts.items()}
    record: dict[str, float] = {}
    for ending, (num_blanks, filled, guessed, nll) in groups.items():
        record |= {
            f"probe_exact_match_share{ending}": float(filled / num_blanks),
            f"probe_baseline_share{ending}": float(guessed / num_blanks),
            f"probe_nll{ending}": float(nll / num_blanks),
            f"probe_blanks{ending}": int(num_blanks),
        }
    return record


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
    return len(blank.unique()) - len(blank[~is_right].unique())


def make_probe(held: TokenStore, data: TrainingData, tokenizer: Tokenizer) -> Probe:
    """Corrupt the held text and look up the training's most frequent hidden token.

    Its blanks are short, whatever the run mixes; its language is seen from its letters.
    """
    trained = data.corruption
    names = ("kind", "mask_ratio", "mean_span_length", "max_span_length")
    short = ObjectiveConfig(**trained.config.model_dump(include={*names}))
    corruption = Corruption(short, data.special, trained.sentence_ends, trained.max_positions)
    end = data.special.eop if short.kind == "blank_infilling" else None
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
