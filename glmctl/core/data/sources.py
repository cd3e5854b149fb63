"""Opens the texts of a recipe: shards where they lie, anything else tokenized into a folder."""

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import xxhash

from glmctl.core.data.sharding import plan_shards, write_shards
from glmctl.core.data.shards import MANIFEST, TokenStore
from glmctl.core.tokenizer.base import Tokenizer
from glmctl.errors import UsageError
from glmctl.recipe.load import expand_path
from glmctl.recipe.schema import CorpusConfig, DataConfig

HELD_OUT = "held-out"


@dataclass(frozen=True)
class DataSources:
    """The corpora and the held text of a run."""

    config: DataConfig
    tokenizer: Tokenizer
    folder: Path  # where text that is tokenized goes and stays, one folder a source
    verify: bool  # compare the digests of shards that are used in place
    note: Callable[[str], None]  # told what takes a while

    def corpora(self) -> list[TokenStore]:
        """The sources to train on, in the order of the recipe."""
        taken = {HELD_OUT}
        for name in (corpus.name for corpus in self.config.corpus):
            if name in taken or not re.fullmatch(r"\w[\w.-]*", name):
                raise UsageError(
                    "data.corpus",
                    f"the name {name!r} cannot be that of a folder of its own; give each corpus "
                    f"another name of letters, digits, '.', '_' and '-', and not {HELD_OUT!r}",
                )
            taken.add(name)
        return [self.open(corpus, f"data.corpus {corpus.name}") for corpus in self.config.corpus]

    def held_out(self) -> TokenStore:
        return self.open(CorpusConfig(name=HELD_OUT, path=self.config.probe), "data.probe")

    def open(self, corpus: CorpusConfig, key: str) -> TokenStore:
        """Open one source, which stands under a key of the recipe."""
        out = self.folder / corpus.name
        if (out / MANIFEST).is_file():
            return TokenStore.open(out)
        kind, place = ("path", corpus.path) if corpus.path else ("dataset", corpus.dataset)
        assert place is not None
        source = expand_path(place, key)
        if (source / MANIFEST).is_file():
            store = TokenStore.open(source)
            store.require_tokenizer(self.tokenizer.fingerprint)
            if self.verify:
                store.verify()
            return store
        self.note(f"tokenizing {place}")
        text = corpus.model_copy(update={kind: str(source)})
        plan = plan_shards([text], self.tokenizer, on_error=self.config.on_error)
        write_shards(plan, out, len(os.sched_getaffinity(0)), advance=lambda _: None)
        return TokenStore.open(out)


def data_fingerprint(config: DataConfig, stores: Sequence[TokenStore], seed: int) -> str:
    """One digest of all that decides what the rows of a run hold, before corruption."""
    corpora = [
        {
            "tokenizer": store.manifest["tokenizer"],
            "shards": [(s["digest"], s["index_digest"]) for s in store.manifest["shards"]],
            "weight": corpus.weight,
        }
        for corpus, store in zip(config.corpus, stores, strict=True)
    ]
    content = {
        "corpora": corpora,
        "sequence_length": config.sequence_length,
        "pack": config.pack,
        "seed": seed,
    }
    return xxhash.xxh3_128_hexdigest(json.dumps(content, sort_keys=True).encode())
