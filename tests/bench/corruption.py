"""Source tokens a second through the span sampler, on one core.

With --original it takes turns with the released sampler of a checkout of THUDM/GLM, round by
round, so that whoever else uses the machine slows both alike.
"""

from __future__ import annotations

import contextlib
import io
import types

import numpy as np
import peers
import torch

from glmctl.core.objective.corruption import Corruption
from glmctl.core.objective.draws import sample_keys
from glmctl.core.tokenizer.special import SpecialTokens
from glmctl.recipe.schema import ObjectiveConfig

LENGTH = 512
VOCABULARY = 30_000
IDS = {"pad": 0, "eos": 0, "ENC": 1, "MASK": 2, "unk": 3, "sep": 4, "sop": 5, "eop": 6}
IDS |= {"gMASK": 7, "sMASK": 8, "dBLOCK": 9}
SENTENCE_END = 10
WEIGHTS = {
    "token": (1.0, 0.0, 0.0),
    "sentence": (0.0, 1.0, 0.0),
    "document": (0.0, 0.0, 1.0),
    "mix": (0.5, 0.3, 0.2),
}


def make_rows(num_rows: int) -> np.ndarray:
    """Stretches of long documents with a sentence end every twenty tokens."""
    rng = np.random.default_rng(0)
    rows = rng.integers(20, VOCABULARY, (num_rows, LENGTH), dtype=np.int32)
    rows[rng.random(rows.shape) < 1 / 20] = SENTENCE_END
    rows[:, 0] = IDS["ENC"]
    return rows


def ours(weights: tuple[float, float, float], batch_size: int, num_batches: int) -> peers.Work:
    """So many batches through our sampler."""
    token, sentence, document = weights
    config = ObjectiveConfig(
        token_weight=token,
        sentence_weight=sentence,
        document_weight=document,
        document_min_ratio=0.25,
    )
    special = SpecialTokens(
        pad=IDS["pad"],
        eos=IDS["eos"],
        sep=IDS["sep"],
        cls=IDS["ENC"],
        mask=IDS["MASK"],
        unk=IDS["unk"],
        sop=IDS["sop"],
        eop=IDS["eop"],
        smask=IDS["sMASK"],
        gmask=IDS["gMASK"],
        noise=IDS["dBLOCK"],
        sentinel_masks=(),
        sentinel_starts=(),
        strings={},
    )
    corruption = Corruption(config, special, np.arange(VOCABULARY) == SENTENCE_END, LENGTH)
    tokens = make_rows(batch_size).ravel()
    lengths = np.full(batch_size, LENGTH)

    def act() -> None:
        for batch in range(num_batches):
            keys = sample_keys(0, 0, np.arange(batch * batch_size, (batch + 1) * batch_size))
            corruption(tokens, lengths, keys)

    return peers.timed(act, num_batches * len(tokens))


def original(checkout: str, weights: tuple[float, float, float], num_batches: int) -> peers.Work:
    """So many batches of 16 rows through the released sampler."""
    strategy = peers.import_original(checkout, "blocklm_utils").ConstructBlockStrategy

    class Tokenizer:
        def get_command(self, name: str) -> types.SimpleNamespace:
            return types.SimpleNamespace(Id=IDS[name])

        def IdToToken(self, token_id: int) -> str:  # noqa: N802  (their name)
            return "." if token_id == SENTENCE_END else "word"

    token, sentence, _ = weights
    with contextlib.redirect_stdout(io.StringIO()):
        sampler = strategy(
            types.SimpleNamespace(eod_token=IDS["eos"]),
            Tokenizer(),
            LENGTH,
            bert_prob=token,
            gap_sentence_prob=sentence,
            gpt_min_ratio=0.25,
            task_mask=True,
        )
    rows = make_rows(16).astype(np.int64)

    def act() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            for _ in range(num_batches):
                samples = [{"text": row, "loss_mask": np.ones(LENGTH, int)} for row in rows]
                sampler.construct_blocks(samples)

    return peers.timed(act, num_batches * rows.size)


def main() -> None:
    parser = peers.arguments(__doc__, rounds=7)
    parser.add_argument("--batch-size", type=int, default=128)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    peers.say_machine()
    for name, weights in WEIGHTS.items():
        print(name)
        systems = {"glmctl": ours(weights, args.batch_size, 20)}
        if args.original:
            systems["THUDM/GLM"] = original(args.original, weights, 10)
        peers.compare(systems, args.rounds)


if __name__ == "__main__":
    main()
