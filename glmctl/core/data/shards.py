"""Token shards: documents as ids in memory-mapped files. Imports no torch.

A folder holds, for each shard, the ids of its documents one after another (``shard-N.tokens``,
little endian) and the place after the last token of each (``shard-N.index``, uint64), and one
``manifest.json`` with counts and digests. There are no special tokens inside: what begins and
ends a sample is the recipe's business.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from glmctl.errors import InputError

FORMAT = 1
MANIFEST = "manifest.json"
INDEX_DTYPE = np.dtype("<u8")
REMEDY = "remove the folder and make the shards again with glmctl tokenize"

Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]


class TokenStore:
    """The documents of a folder of shards, in order."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.num_tokens: int = manifest["num_tokens"]
        shards, dtype = manifest["shards"], np.dtype(manifest["dtype"])
        self._tokens = [map_file(folder / s["file"], dtype, s["num_tokens"]) for s in shards]
        ends = [
            map_file(folder / s["index"], INDEX_DTYPE, s["num_documents"]).astype(np.int64)
            for s in shards
        ]
        self.lengths: Int64Array = joined([np.diff(end, prepend=0) for end in ends])
        self._starts = joined(ends) - self.lengths
        self._first_documents = [0, *np.cumsum([len(end) for end in ends])[:-1].tolist()]

    @classmethod
    def open(cls, folder: Path | str) -> TokenStore:
        """Open a folder of shards; sizes are checked, digests are not."""
        return cls(Path(folder), read_manifest(Path(folder)))

    def tokens(self, document: int, start: int, stop: int) -> Int32Array:
        """Ids of a part of a document; start and stop count from its beginning."""
        shard = bisect_right(self._first_documents, document) - 1
        first = int(self._starts[document])
        return self._tokens[shard][first + start : first + stop].astype(np.int32)

    def verify(self) -> None:
        """Read everything and compare the digests."""
        for shard in self.manifest["shards"]:
            for name, key in (("file", "digest"), ("index", "index_digest")):
                file, expected = self.folder / shard[name], shard[key]
                found = digest_of(file)
                if found != expected:
                    problem = f"damaged: its digest is {found}, expected {expected}; {REMEDY}"
                    raise InputError(str(file), problem)

    def require_tokenizer(self, fingerprint: str) -> None:
        """Refuse to be read with another tokenizer than the shards were made with."""
        made_with = self.manifest["tokenizer"]
        if made_with != fingerprint:
            path = self.manifest["tokenizer_section"]["path"]
            raise InputError(
                str(self.folder),
                f"made with the tokenizer {made_with} ({path}), but {fingerprint} is asked for; "
                "make the shards again, or name that tokenizer in the recipe",
            )


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a folder says about its shards, in a format that this version understands."""
    file = folder / MANIFEST
    if not file.is_file():
        raise InputError(
            str(folder), f"no token shards: it has no {MANIFEST}; glmctl tokenize --out makes them"
        )
    try:
        manifest = json.loads(file.read_bytes())
    except ValueError as problem:
        raise InputError(str(file), f"damaged: not JSON ({problem}); {REMEDY}") from problem
    is_ours = isinstance(manifest, dict) and manifest.get("format") == FORMAT
    if not is_ours or "shards" not in manifest:
        raise InputError(str(file), f"not the manifest of token shards of format {FORMAT}")
    return dict(manifest)


def map_file(file: Path, dtype: np.dtype[Any], num_items: int) -> NDArray[Any]:
    """A file of so many items as an array that is read when it is looked at."""
    found, expected = file.stat().st_size if file.is_file() else "no", num_items * dtype.itemsize
    if found != expected:
        raise InputError(str(file), f"damaged: {found} bytes, expected {expected}; {REMEDY}")
    with file.open("rb") as stream:
        return np.frombuffer(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ), dtype)


def joined(parts: Sequence[Int64Array]) -> Int64Array:
    return np.concatenate([np.zeros(0, np.int64), *parts])


def digest_of(file: Path) -> str:
    """xxh3-128 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, xxhash.xxh3_128).hexdigest()
