"""Models from the hub, every file proved, and to it, with a card made from their manifest."""

import json
import shutil
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from glmctl.core.checkpoint import durable, hub
from glmctl.core.checkpoint.folder import Found, read_model_folder
from glmctl.core.tokenizer.load import is_offline
from glmctl.errors import MachineError, UsageError

CARD_FILE = "README.md"
# Of the licences that the hub knows by name, those that models of this family carry.
KNOWN_LICENSES = ("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-sa-4.0", "cc0-1.0")
CARD = """\
---
{front}
---

# {title}

A General Language Model: {layers} layers, hidden size {width}, {rows:,} rows of the vocabulary.
A model folder of glmctl; its weights are safetensors.

```console
{command}
```

## Where it comes from

{provenance}

Licence: {license}. Trained on: {abilities}.
"""


@dataclass(frozen=True)
class PullResult:
    """What was fetched, each file of it with the digest that the hub states."""

    source: str
    commit: str
    license: str | None
    num_files: int
    model_bytes: int
    place: str


def pull(name: str, *, out: Path | None, offline: bool) -> PullResult:
    """Fetch a model and prove every file of it; a copy in `out` has its source recorded beside."""
    if out is not None and out.exists() and hub.read_record(out) is None and any(out.iterdir()):
        raise UsageError(str(out), "holds files that no pull put there; name another folder")
    place = hub.fetch(name, offline=offline, proves=True)
    record = hub.read_record(place)
    assert record is not None
    files = [*record["digests"]]
    if out is not None:
        with durable.publish(out) as scratch:
            for file in [*files, hub.RECORD_FILE]:
                shutil.copyfile(place / file, scratch / file)
        place = out
    return PullResult(
        source=record["source"],
        commit=record["commit"],
        license=record["license"],
        num_files=len(files),
        model_bytes=sum((place / file).stat().st_size for file in files),
        place=str(place),
    )


@dataclass(frozen=True)
class PushResult:
    name: str
    revision: str
    commit: str
    license: str | None
    num_files: int
    model_bytes: int
    page: str


def push(
    folder: Path, name: str, *, private: bool, revision: str | None, message: str | None
) -> PushResult:
    """Prove a model folder and put it on the hub, in a repository and branch made when new."""
    from huggingface_hub import CommitOperationAdd, get_token

    content = read_model_folder(folder)
    name = name.removeprefix(hub.PREFIX)
    if is_offline():
        raise MachineError(name, "GLMCTL_OFFLINE or HF_HUB_OFFLINE forbids the network; unset it")
    if get_token() is None:
        raise MachineError(
            "HF_TOKEN", "is not set; make a token that may write in the settings of the hub, set it"
        )
    patterns = (*hub.OTHER_FILES, *hub.SAFE_WEIGHTS)
    files = {
        path.name: path
        for path in sorted(folder.iterdir())
        if any(fnmatch(path.name, pattern) for pattern in patterns)
    }
    additions = [CommitOperationAdd(file, path) for file, path in files.items()]
    if CARD_FILE not in files:
        additions.append(CommitOperationAdd(CARD_FILE, card(content, name).encode()))
    with hub.hub_errors(name):
        api = hub.open_hub()
        page = api.create_repo(name, private=private or None, exist_ok=True)
        if private and not api.model_info(name).private:
            raise UsageError("--private", f"{page} is there and public; name another, or change it")
        if revision is not None:
            api.create_branch(name, branch=revision, exist_ok=True)
        message = message or "Add a model folder of glmctl"
        try:
            commit = api.create_commit(name, additions, commit_message=message, revision=revision)
        except RuntimeError as problem:  # of a large file, whatever the reason
            reason = str(problem.__cause__).partition("\n")[0]
            raise MachineError(
                name, f"{problem} ({reason}); run the same command again"
            ) from problem
    return PushResult(
        name=hub.PREFIX + name,
        revision=revision or "main",
        commit=commit.oid,
        license=content.license,
        num_files=len(additions),
        model_bytes=sum(path.stat().st_size for path in files.values()),
        page=str(page),
    )


def card(content: Found, name: str) -> str:
    license = content.license
    front: dict[str, Any] = {"library_name": "glmctl", "tags": ["glm"]}
    if license is not None and license.lower() in KNOWN_LICENSES:
        front["license"] = license.lower()
    elif license is not None:
        front |= {"license": "other", "license_name": license}
    rows = [f"- {key}: {value}" for key, value in content.provenance.items()]
    fills_blanks = content.tokenizer is not None and content.config.position == "learned_2d"
    return CARD.format(
        front="\n".join(f"{key}: {json.dumps(value)}" for key, value in front.items()),
        title=name.rpartition("/")[2],
        name=name,
        layers=content.config.num_layers,
        width=content.config.hidden_size,
        rows=content.config.vocab_rows,
        command=f'glmctl infill --model hf:{name} "A text with a [MASK] in it."'
        if fills_blanks
        else f"glmctl pull hf:{name}",
        provenance="\n".join(rows),
        license=license or "not stated",
        abilities=", ".join(content.abilities) or "not stated",
    )
