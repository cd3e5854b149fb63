"""Source tokens a second through the span sampler, on one core.

With --original it takes turns with the released sampler of a checkout of THUDM/GLM, round by
round, so that whoever else uses the machine slows both alike. Nothing of the checkout is copied;
what it imports and does not need here is replaced by empty stand-ins.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import platform
import statistics
import sys
import time
import types
from collections.abc import Callable

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

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
Work = Callable[[], int]


def make_rows(num_rows: int) -> np.ndarray:
    """Stretches of long documents with a sentence end every twenty tokens."""
    rng = np.random.default_rng(0)
    rows = rng.integers(20, VOCABULARY, (num_rows, LENGTH), dtype=np.int32)
    rows[rng.random(rows.shape) < 1 / 20] = SENTENCE_END
    rows[:, 0] = IDS["ENC"]
    return rows


def ours(weights: tuple[float, float, float], batch_size: int, num_batches: int) -> Work:
    """So many batches through our sampler; returns the source tokens."""
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

    def work() -> int:
        for batch in range(num_batches):
            keys = sample_keys(0, 0, np.arange(batch * batch_size, (batch + 1) * batch_size))
            corruption(tokens, lengths, keys)
        return num_batches * len(tokens)

    return work


def original(checkout: str, weights: tuple[float, float, float], num_batches: int) -> Work:
    """So many batches of 16 rows through the released sampler; returns the source tokens."""
    strategy = import_original(checkout)

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

    def work() -> int:
        with contextlib.redirect_stdout(io.StringIO()):
            for _ in range(num_batches):
                samples = [{"text": row, "loss_mask": np.ones(LENGTH, int)} for row in rows]
                sampler.construct_blocks(samples)
        return num_batches * rows.size

    return work


def import_original(checkout: str) -> Callable[..., types.SimpleNamespace]:
    """The class of the released sampler, with stand-ins for the packages it does not use here."""
    for name in ("apex", "deepspeed", "mpu", "utils"):
        sys.modules.setdefault(name, types.ModuleType(name))
    alone = {"get_data_parallel_rank": lambda: 0, "get_data_parallel_world_size": lambda: 1}
    sys.modules["mpu"].__dict__.update(alone)
    sys.modules["utils"].__dict__.update(print_rank_0=print)
    np.__dict__.setdefault("long", np.int64)  # the name that numpy dropped
    sys.path.insert(0, checkout)
    return importlib.import_module("blocklm_utils").ConstructBlockStrategy


def speed(work: Work) -> float:
    """Source tokens a second of CPU time, which others on the machine disturb least."""
    started_at = time.process_time()
    num_tokens = work()
    return num_tokens / (time.process_time() - started_at)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--original", metavar="DIR", help="a checkout of THUDM/GLM")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    results: dict[str, object] = {
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "numpy": np.__version__,
        "batch_size": args.batch_size,
    }
    for name, weights in WEIGHTS.items():
        pair = [ours(weights, args.batch_size, 20)]
        if args.original:
            pair.append(original(args.original, weights, 10))
        for work in pair:
            work()
        rounds = [[speed(work) for work in pair] for _ in range(args.rounds)]
        result = {"tokens_per_second": statistics.median(each[0] for each in rounds)}
        if args.original:
            result["original"] = statistics.median(each[1] for each in rounds)
            result["ratio"] = statistics.median(each[0] / each[1] for each in rounds)
        results[name] = result
    if args.json:
        print(json.dumps(results))
        return
    for key, value in results.items():
        if isinstance(value, dict):
            shown = "  ".join(f"{label} {number:,.1f}" for label, number in value.items())
            print(f"{key:10s} {shown}")
        else:
            print(f"{key:10s} {value}")


if __name__ == "__main__":
    main()
