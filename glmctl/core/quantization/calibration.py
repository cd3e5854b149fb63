"""How well a model fills the blanks of a text: measured before and after it is quantized.

A model that fills no blanks, or one of a text, is measured on the tokens of the text instead.

Shapes: M rows with a loss, V vocabulary rows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from glmctl.core.data.batch import Batch, make_batch
from glmctl.core.data.documents import open_sources, read_documents
from glmctl.core.data.text import BrokenRows
from glmctl.core.model.glm import GLM
from glmctl.core.objective.corruption import Corruption
from glmctl.core.objective.draws import sample_keys
from glmctl.core.tokenizer.base import IntArray, Tokenizer
from glmctl.errors import InputError
from glmctl.recipe.schema import CorpusConfig, ObjectiveConfig

MAX_TEXTS = 256
ROWS_PER_FORWARD = 16
SEED = 0


@dataclass(frozen=True)
class Quality:
    """Of the blanks of a text, or of its tokens."""

    perplexity: float
    """Of a hidden token, end tokens included; or of the next one."""
    exact_match_share: float
    """Blanks of which each token is the likeliest one after the true tokens before it; or tokens
    that are."""
    num_targets: int
    num_blanks: int
    """Each token is one, where tokens are measured."""


@dataclass(frozen=True)
class Calibration:
    """A text with blanks, which stay the same before and after."""

    batches: Sequence[Batch]
    end: int
    """The token that ends a blank."""
    unit = "blanks"

    def measure(self, module: GLM) -> Quality:
        """Fill every blank; the module is not training."""
        nll, num_targets, num_blanks, num_wrong = 0.0, 0, 0, 0
        with torch.inference_mode():
            for one in self.batches:
                batch = one.to(module.word_embedding.weight.device)
                targets = batch.target_ids
                hidden = module.hidden(
                    batch.input_ids, batch.position_ids, batch.segments, batch.wanted
                )
                log_probs = module.logits(hidden).log_softmax(1)  # [M, V]
                nll -= log_probs.gather(1, targets[:, None]).double().sum().item()
                num_targets += batch.num_targets
                is_end = targets == self.end
                blank = is_end.cumsum(0)  # so many blanks have ended before
                is_wrong = (log_probs.argmax(1) != targets) & ~is_end
                num_blanks += len(blank[~is_end].unique())
                num_wrong += len(blank[is_wrong].unique())
        share = 1 - num_wrong / num_blanks
        return Quality(math.exp(nll / num_targets), share, num_targets, num_blanks)


def calibrate(
    path: str, tokenizer: Tokenizer, trained_on: ObjectiveConfig | None, max_positions: int
) -> Calibration:
    """Corrupt the first texts of a source once, with short spans as a model was trained on.

    Texts longer than its positions are cut.
    """
    names = {"mask_ratio", "mean_span_length", "max_span_length"}
    known = {} if trained_on is None else trained_on.model_dump(include=names)
    special = tokenizer.special
    corruption = Corruption(
        ObjectiveConfig(**known), special, tokenizer.sentence_ends(), max_positions
    )
    rows = [
        np.concatenate([[special.cls], ids, [special.eos]])
        for ids in pieces_of(path, tokenizer, max_positions - 2)
    ]
    keys = sample_keys(SEED, 0, np.arange(len(rows)))
    batches = []
    for first in range(0, len(rows), ROWS_PER_FORWARD):
        some = rows[first : first + ROWS_PER_FORWARD]
        lengths = np.array([len(row) for row in some])
        examples = corruption(np.concatenate(some), lengths, keys[first : first + len(some)])
        if examples.loss_mask.any():
            batches.append(make_batch(examples))
    if not batches:
        raise InputError(path, "has no text in which a blank could be made; name another")
    return Calibration(batches, special.eop)


def pieces_of(path: str, tokenizer: Tokenizer, length: int) -> list[IntArray]:
    """The tokens of the first texts of a source, cut into pieces of at most this length."""
    sources = open_sources([CorpusConfig(name="calibration", path=path)])
    texts = (text for source in sources for text in read_documents(source, BrokenRows("stop")))
    return [
        ids[start : start + length]
        for ids in tokenizer.encode_batch([*islice(texts, MAX_TEXTS)], special=False)
        for start in range(0, len(ids), length)
    ]
