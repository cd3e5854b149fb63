"""Models of the Hugging Face hub: fetched when asked for, proved, and recorded where they lie.

They live in the hub's own cache, which names each blob by its digest. A blob is fetched here, so
that it continues where another process was stopped (the library would start the file over) and
enters the cache only with the right digest; the library then lays out the snapshot.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmctl.core.checkpoint import durable
from glmctl.core.tokenizer.load import REMOTE_FILES, is_offline
from glmctl.errors import GlmctlError, InputError, MachineError, UsageError

if TYPE_CHECKING:
    from huggingface_hub import HfApi, ModelInfo

PREFIX = "hf:"
RECORD_FILE = "glmctl-source.json"
"""Stands beside the files of a model of the hub: its name, commit, licence and digests."""
# What our readers use, and the licence; never code.
SAFE_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
PICKLED_WEIGHTS = ("pytorch_model*.bin", "pytorch_model.bin.index.json")
OTHER_FILES = (
    *("config.json", "config.toml", "manifest.json", "README.md", "*LICENSE*"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    "chat_template.jinja",
    *REMOTE_FILES,
)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}|git-sha1:[0-9a-f]{40}")
TIMEOUT_SECONDS = 30.0
REMEDY = "run glmctl pull where there is a network, without --offline and GLMCTL_OFFLINE"


@dataclass(frozen=True)
class HubFile:
    """A file as the hub describes it, and its place in the cache."""

    name: str
    size: int
    digest: str
    blob: Path

    @property
    def partial(self) -> Path:
        return self.blob.with_name(f"{self.blob.name}.glmctl.incomplete")

    @property
    def bytes_to_come(self) -> int:
        here = self.partial.stat().st_size if self.partial.is_file() else 0
        return 0 if self.blob.is_file() else self.size - here


def fetch(name: str, *, offline: bool = False, proves: bool = False) -> Path:
    """The folder of a model of the hub, fetched unless it is here already.

    Args:
        name: ORG/NAME or ORG/NAME@REVISION, with or without hf: before it.
        offline: use only what is here; the environment may say so too.
        proves: read again what was proved when it came.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    repository, _, revision = name.removeprefix(PREFIX).partition("@")
    revision = revision or "main"
    folder = None
    with hub_errors(name):
        if not (offline or is_offline()):
            return fetch_online(name, repository, revision, proves=proves)
        with suppress(LocalEntryNotFoundError):
            found = snapshot_download(
                repository, revision=revision, allow_patterns=[], local_files_only=True
            )
            folder = Path(found)  # whole or not
    record = None if folder is None else read_record(folder)
    if folder is None or (proves and record is None):
        lacks = "is not on this machine" if folder is None else "has no record of its digests"
        raise MachineError(name, f"{lacks}, and the network is switched off; {REMEDY}")
    refuse_damage(folder, record["digests"] if record else {}, proves=proves)
    return folder


def fetch_online(name: str, repository: str, revision: str, *, proves: bool) -> Path:
    """Ask the hub what a model holds now, fetch what is not here, and record it."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import hf_hub_url, repo_folder_name

    info = open_hub().model_info(
        repository, revision=revision, files_metadata=True, timeout=TIMEOUT_SECONDS
    )
    cache = Path(HF_HUB_CACHE, repo_folder_name(repo_id=repository, repo_type="model"))
    is_recorded = (cache / "snapshots" / str(info.sha) / RECORD_FILE).is_file()
    files = files_of(info, name, cache / "blobs")
    digests = {file.name: file.digest for file in files}
    make_room(name, cache / "blobs", files, proves=proves or not is_recorded)
    for file in files:
        if not file.blob.is_file():
            download(hf_hub_url(repository, file.name, revision=info.sha), file)
    folder = Path(snapshot_download(repository, revision=revision, allow_patterns=[*digests]))
    if folder.name != info.sha:
        raise MachineError(name, "was changed on the hub meanwhile; run the same command again")
    if proves or not is_recorded:
        # A disk without links has copies, and the library fetches again under a mirror's own ETag.
        for file in files:
            if (folder / file.name).resolve().name != file.blob.name:
                keep_proved(folder / file.name, file.digest, str(folder / file.name))
    if not is_recorded:
        record = {"format": 1, "source": PREFIX + repository, "commit": info.sha}
        record |= {"license": None, "digests": digests}
        if (card := info.card_data) is not None:  # a licence of its own has a name beside it
            own = card.license_name if card.license == "other" else None
            record["license"] = own or card.license
        durable.write_json(folder / RECORD_FILE, record)
    return folder


def make_room(name: str, blobs: Path, files: Sequence[HubFile], *, proves: bool) -> None:
    """Delete the files that are to be fetched again, and refuse what the disk has no room for."""
    blobs.mkdir(parents=True, exist_ok=True)
    for file in files:
        if proves and file.blob.is_file() and digest_of(file.blob, file.digest) != file.digest:
            file.blob.unlink()
    needed, free = sum(file.bytes_to_come for file in files), shutil.disk_usage(blobs).free
    if needed > free:
        text = f"needs {needed / 2**30:,.2f} GiB and {blobs} has {free / 2**30:,.2f} GiB; free "
        raise MachineError(name, text + "some space, or set HF_HOME to a folder on another disk")


def open_hub() -> HfApi:
    """The hub that HF_ENDPOINT names; progress is shown on terminals only."""
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    return HfApi()


def files_of(info: ModelInfo, name: str, blobs: Path) -> list[HubFile]:
    """The files that we use; of weights in two formats, those that are no pickles."""
    entries = {it.rfilename: it for it in info.siblings or () if "/" not in it.rfilename}
    is_safe = any(fnmatch(file, SAFE_WEIGHTS[0]) for file in entries)
    weights = SAFE_WEIGHTS if is_safe else PICKLED_WEIGHTS
    if not any(fnmatch(file, weights[0]) for file in entries):
        raise InputError(
            name,
            f"has neither {SAFE_WEIGHTS[0]} nor {PICKLED_WEIGHTS[0]}, but "
            f"{', '.join(sorted(entries)[:8])}; name the repository of the original weights",
        )
    files = []
    for file, entry in entries.items():
        if not any(fnmatch(file, pattern) for pattern in (*OTHER_FILES, *weights)):
            continue
        digest = f"sha256:{entry.lfs.sha256}" if entry.lfs else f"git-sha1:{entry.blob_id}"
        if not DIGEST.fullmatch(digest):
            raise InputError(name, f"the hub states no digest of {file}; name another HF_ENDPOINT")
        files.append(HubFile(file, entry.size or 0, digest, blobs / digest.partition(":")[2]))
    return files


def download(url: str, file: HubFile) -> None:
    """Put a file among the blobs, from where an earlier download of it was stopped."""
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    with file.partial.open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # of two processes, one waits and finds the blob
        if file.blob.is_file():
            return
        http_get(
            url,
            stream,
            resume_size=stream.tell(),
            headers=build_hf_headers(),
            expected_size=file.size,
            displayed_filename=file.name,
        )
        stream.flush()
        keep_proved(file.partial, file.digest, url)
        file.partial.rename(file.blob)


def keep_proved(path: Path, expected: str, place: str) -> None:
    """Delete and refuse a file that came with another digest."""
    if (found := digest_of(path, expected)) != expected:
        path.unlink()
        raise InputError(
            place,
            f"expected digest {expected}, received {found}; nothing of it is kept; run the same "
            "command again, or name another HF_ENDPOINT",
        )


def refuse_damage(folder: Path, digests: Mapping[str, str], *, proves: bool) -> None:
    """Name every file that is not there or, when they are to be proved, not as it should be."""
    problems = []
    for file, expected in digests.items():
        if not (folder / file).is_file():
            problems.append(f"{file} is missing")
        elif proves and (found := digest_of(folder / file, expected)) != expected:
            problems.append(f"{file}: expected digest {expected}, found {found}")
    if problems:
        raise InputError(str(folder), *problems, REMEDY)


def digest_of(path: Path, like: str) -> str:
    """The digest of a file, of the kind of another: sha256, or that of a blob of git."""
    kind = like.partition(":")[0]
    state = hashlib.sha256()
    if kind == "git-sha1":
        state = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as stream:
        return f"{kind}:{hashlib.file_digest(stream, lambda: state).hexdigest()}"


def read_record(folder: Path) -> dict[str, Any] | None:
    """Where the files of a folder come from, when they come from the hub."""
    if not (folder / RECORD_FILE).is_file():
        return None
    return durable.read_json(folder / RECORD_FILE, REMEDY)


@contextmanager
def hub_errors(name: str) -> Iterator[None]:
    """One message for each thing that the hub or the way to it can refuse."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import httpx

    try:
        yield
    except (HFValidationError, httpx.HTTPError, OSError) as problem:
        raise explain(problem, name) from problem


def explain(problem: Exception, name: str) -> GlmctlError:
    from huggingface_hub import constants, errors
    from huggingface_hub.utils import httpx

    hub, again = constants.ENDPOINT, "run the same command again, which continues"
    match problem:
        case errors.HFValidationError():
            return UsageError(name, "is no name of a model; write ORG/NAME or ORG/NAME@REVISION")
        case errors.GatedRepoError():
            text = f"is open to those who accepted its terms; accept them on its page at {hub} and "
            return MachineError(name, text + "set HF_TOKEN to a token of that account")
        case errors.RepositoryNotFoundError():
            text = f"{hub} has no such model, or it is private; check the name, or set HF_TOKEN to "
            return InputError(name, text + "a token that may read it")
        case errors.RevisionNotFoundError():
            text = f"{hub} has the model, but no such branch, tag or commit; check it there"
            return InputError(name, text)
        case errors.HfHubHTTPError():
            status = problem.response.status_code
            reason = problem.server_message or problem.response.reason_phrase
            remedy = "set HF_TOKEN to a token that may do this" if status in (401, 403) else again
            return MachineError(name, f"{hub} answers {status} ({reason}); {remedy}")
        case httpx.HTTPError():
            text = f"{hub} does not answer ({problem}); check the network and HF_ENDPOINT, then "
            return MachineError(name, f"{text}{again}; GLMCTL_OFFLINE=1 uses what is here")
    text = f"could not be stored in {constants.HF_HUB_CACHE}: {problem}; free some space or set "
    return MachineError(name, f"{text}HF_HOME to another folder, then {again}")
