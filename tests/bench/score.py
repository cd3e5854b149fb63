"""Scoring what could stand in a blank, 335M parameters, float32.

Words of one token for four texts, against BERT-large with a classifier head; and four candidates
of eight tokens behind one text, against the four of them behind a text each.
"""

from __future__ import annotations

import contextlib

import peers
import torch
from transformers import BertConfig, BertForSequenceClassification
from transformers.utils import logging

from glmctl.core.decode.score import Candidate, score_candidates
from glmctl.core.model.glm import GLM
from glmctl.recipe.model import ModelConfig

CONFIG = ModelConfig(
    num_layers=24, hidden_size=1024, num_attention_heads=16, max_positions=512, vocab_rows=30_592
)
NUM_TEXTS = 4
SOP = 5
CONTEXT, NUM_CHOICES, CHOICE = 256, 4, 8  # tokens, candidates, tokens of each


def random_ids(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(peers.FIRST_WORD, CONFIG.vocab_rows or 0, shape, generator=generator)


def glm() -> GLM:
    model = GLM(CONFIG).eval()
    model.init_weights(0)
    return model


def words(length: int) -> peers.Work:
    """Yes or no in a blank of each text; the text and its sop are so many tokens."""
    model = glm()
    texts = [tuple(row) for row in random_ids(NUM_TEXTS, length - 1).tolist()]
    candidates = [Candidate(text, (), 3, (word,)) for text in texts for word in (10, 20)]
    return peers.timed(lambda: score_candidates(model, candidates, SOP), NUM_TEXTS * length)


def bert(length: int) -> peers.Work:
    config = BertConfig(
        vocab_size=CONFIG.vocab_rows,
        hidden_size=CONFIG.hidden_size,
        num_hidden_layers=CONFIG.num_layers,
        num_attention_heads=CONFIG.num_attention_heads,
        intermediate_size=4 * CONFIG.hidden_size,
    )
    model = BertForSequenceClassification(config).eval()
    ids = random_ids(NUM_TEXTS, length)
    return peers.timed(torch.inference_mode()(lambda: model(ids)), NUM_TEXTS * length)


def choices(*, is_shared: bool) -> peers.Work:
    """One text with its candidates, or each of them with the text alone."""
    model = glm()
    text = tuple(random_ids(CONTEXT).tolist())
    candidates = [
        Candidate(text, (), 3, tuple(it)) for it in random_ids(NUM_CHOICES, CHOICE).tolist()
    ]
    groups = [candidates] if is_shared else [[it] for it in candidates]

    def act() -> None:
        for group in groups:
            score_candidates(model, group, SOP)

    return peers.timed(act, NUM_CHOICES * (CONTEXT + CHOICE))


def main() -> None:
    args = peers.arguments(__doc__, rounds=5).parse_args()
    logging.set_verbosity_error()
    peers.say_machine()
    for length in (128, 256):
        print(f"a word in each of {NUM_TEXTS} texts of {length} tokens")
        with contextlib.ExitStack() as stack:
            systems = {
                "glmctl": stack.enter_context(peers.apart(args.threads, words, length)),
                "transformers BERT": stack.enter_context(peers.apart(args.threads, bert, length)),
            }
            peers.compare(systems, args.rounds)
    print(f"{NUM_CHOICES} candidates of {CHOICE} tokens behind {CONTEXT}")
    torch.set_num_threads(args.threads)
    systems = {"glmctl": choices(is_shared=True), "a text each": choices(is_shared=False)}
    peers.compare(systems, args.rounds)


if __name__ == "__main__":
    main()
