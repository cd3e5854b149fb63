"""Tokens a second into shards, against `datasets.map` with the same tokenizer and processes.

The corpus is the demo text, shuffled until it is large enough. Both take turns, and what counts is
the time on the clock, as several processes work. `datasets.map` starts from a table that is loaded
already; the last line adds what loading takes.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmctl.core.data.sharding import plan_shards, write_shards
from glmctl.core.data.text import BUILTIN
from glmctl.core.tokenizer.base import Tokenizer
from glmctl.core.tokenizer.load import find_tokenizer
from glmctl.recipe.schema import CorpusConfig

if TYPE_CHECKING:
    import datasets
    import peers


def make_corpus(file: Path, megabytes: int) -> None:
    """Documents of about a thousand characters, no two alike."""
    rng = random.Random(0)
    lines = BUILTIN["glmctl-demo"].read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    with file.open("w", encoding="utf-8") as stream:
        while stream.tell() < megabytes * 1_000_000:
            record = {"text": "\n".join(rng.sample(texts, 5))}
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")


def clocked(act: Callable[[Path], object], scratch: Path, num_tokens: int) -> peers.Work:
    """Seconds on the clock a token, each time in a folder of its own."""

    def work() -> float:
        scratch.mkdir()
        started_at = time.perf_counter()
        act(scratch)
        elapsed_seconds = time.perf_counter() - started_at
        shutil.rmtree(scratch)
        return elapsed_seconds / num_tokens

    return work


class Rows:
    """What `datasets.map` calls for each batch; it travels to its processes."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        return {"ids": self.tokenizer.encode_batch(batch["text"], special=False)}


def main() -> None:
    # Our processes import this file again, and they need neither.
    import datasets
    import peers

    parser = peers.arguments(__doc__, rounds=3)
    parser.add_argument("--megabytes", type=int, default=60)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--tokenizer", default="glmctl-default")
    args = parser.parse_args()
    peers.say_machine()
    datasets.disable_progress_bars()
    tokenizer = find_tokenizer(args.tokenizer)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = folder / "corpus.jsonl"
        make_corpus(corpus, args.megabytes)
        config = CorpusConfig(name="corpus", path=str(corpus))

        def ours(scratch: Path) -> int:
            plan = plan_shards([config], tokenizer)
            return write_shards(plan, scratch, args.processes, lambda _: None)["num_tokens"]

        def load(scratch: Path) -> datasets.Dataset:
            loaded = datasets.load_dataset(
                "json", data_files=str(corpus), split="train", cache_dir=str(scratch)
            )
            assert isinstance(loaded, datasets.Dataset)
            return loaded

        def theirs(table: datasets.Dataset, scratch: Path) -> datasets.Dataset:
            return table.map(
                Rows(tokenizer),
                batched=True,
                num_proc=args.processes,
                remove_columns=["text"],
                cache_file_name=str(scratch / "ids.arrow"),
                load_from_cache_file=False,
            )

        num_tokens = ours(folder / "first")
        table = load(folder / "table")
        rows = theirs(table, folder)
        assert sum(map(len, rows.with_format("numpy")["ids"])) == num_tokens
        print(f"{args.megabytes} MB, {num_tokens:,} tokens, {args.processes} processes")
        systems = {
            "glmctl": clocked(ours, folder / "ours", num_tokens),
            "datasets.map": clocked(lambda at: theirs(table, at), folder / "map", num_tokens),
            "with loading": clocked(lambda at: theirs(load(at), at), folder / "both", num_tokens),
        }
        peers.compare(systems, args.rounds)


if __name__ == "__main__":
    main()
