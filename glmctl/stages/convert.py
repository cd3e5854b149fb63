"""Converting: from any model to a released format or ours, compared before it takes its place."""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from glmctl.core.agreement import refuse_difference
from glmctl.core.checkpoint import durable
from glmctl.core.checkpoint.dialects.dialect import Format
from glmctl.core.checkpoint.find import PROVENANCE_FILE, find_lazily, place_of
from glmctl.core.checkpoint.folder import write_model_folder
from glmctl.core.checkpoint.release import CONFIG_FILE
from glmctl.core.checkpoint.write import refuse_misfits, write_release
from glmctl.core.open import build
from glmctl.core.tokenizer.base import Tokenizer
from glmctl.core.tokenizer.family import answer_ends
from glmctl.core.tokenizer.special import FAMILY
from glmctl.errors import UsageError

TOKEN_KEYS = ("bos_token_id", "eos_token_id", "pad_token_id")
LICENSE_FILES = ("*LICENSE*", "*NOTICE*")
TOKENIZER_SETTINGS = (
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("chat_template.jinja", "generation_config.json"),
)


@dataclass(frozen=True)
class ConvertResult:
    """What was written, and found to compute what the source does."""

    model: str
    to: str
    out: str
    num_tensors: int
    stored_bytes: int
    license: str | None
    num_layers_compared: int
    elapsed_seconds: float


def run(
    source: str,
    out: Path,
    *,
    to: Format,
    model_parallel: int | None,
    model_config: str | None,
    note: Callable[[str], None],
) -> ConvertResult:
    """Write a model in another format; nothing is written unless both give the same logits."""
    started_at = time.monotonic()
    if model_parallel is not None and to != "original":
        raise UsageError("--model-parallel", f"belongs to --to original, not {to}; leave it out")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(str(out), "is there and not empty; name another folder")
    place = place_of(source)
    found = find_lazily(place, model_config)
    build(replace(found, tensors=durable.sizes_of(found.tensors)), source)  # refuses misfits
    refuse_misfits(to, found, f"{source} to {to}")
    if found.unread_tokenizer:
        note(
            "its tokenizer files are of a family that is not read with a release, and are left "
            f"behind: {', '.join(found.unread_tokenizer)}"
        )
    origin = {"source": found.source or source, **found.provenance, "converted_from": source}

    def finish(scratch: Path) -> None:
        copy_files(place, scratch, LICENSE_FILES)
        refuse_difference(found, find_lazily(scratch, None), f"{source} to {to}")

    if to == "glmctl":
        write_model_folder(out, replace(found, provenance=origin), finish)
    else:
        with durable.publish(out) as scratch:
            ids = token_ids(place, found.tokenizer)
            write_release(scratch, to, found, model_parallel or 1, ids)
            if found.tokenizer is not None and to == "original":
                note("the original format holds no tokenizer, so it is left out")
            elif found.tokenizer is not None:
                found.tokenizer.save(scratch)
                copy_files(place, scratch, TOKENIZER_SETTINGS)
            carried = {"format": 1, "license": found.license, "provenance": origin}
            durable.write_json(scratch / PROVENANCE_FILE, carried)
            finish(scratch)
    return ConvertResult(
        model=source,
        to=to,
        out=str(out),
        num_tensors=len(found.tensors) + len(found.heads),
        stored_bytes=sum(file.stat().st_size for file in out.rglob("*") if file.is_file()),
        license=found.license,
        num_layers_compared=found.config.num_layers,
        elapsed_seconds=time.monotonic() - started_at,
    )


def token_ids(place: Path, tokenizer: Tokenizer | None) -> dict[str, Any]:
    """The ids that a config.json states: those of the source, else of its tokenizer, else none."""
    ids: Mapping[str, Any] = {}
    if (place / CONFIG_FILE).is_file():
        ids = durable.read_json(place / CONFIG_FILE, "fetch the folder again")
    elif tokenizer is not None:
        special = tokenizer.special
        ends = answer_ends(tokenizer) if tokenizer.config.special in FAMILY else (special.eop,)
        ids = {"eos_token_id": [*ends], "pad_token_id": special.pad}
    return {key: ids.get(key) for key in TOKEN_KEYS}


def copy_files(place: Path, scratch: Path, patterns: tuple[str, ...]) -> None:
    for pattern in patterns:
        for file in place.glob(pattern):
            if file.is_file():
                shutil.copyfile(file, scratch / file.name)
