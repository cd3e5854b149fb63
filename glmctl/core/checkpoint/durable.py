"""Folders of tensors that are whole or absent, and whose bytes are proved when they are read."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import xxhash
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from glmctl.errors import InputError, MachineError

SCRATCH_SUFFIX = ".partial"
MANIFEST_FILE = "manifest.json"
# As safetensors spells the types; a type that is not here is in no model.
DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
    torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


def digest(tensor: Tensor) -> str:
    """The xxh3-128 of a tensor's type, shape and bytes; sha256 would slow a save by a quarter."""
    state = xxhash.xxh3_128(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
    state.update(bytes_of(tensor))
    return state.hexdigest()


def bytes_of(tensor: Tensor) -> memoryview:
    """The elements as they lie in a file; no copy of a tensor that lies so in memory."""
    raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return raw.numpy().data


def digest_all(digests: Mapping[str, str]) -> str:
    """One digest for a set of named tensors; their order does not count."""
    lines = "".join(f"{name} {digests[name]}\n" for name in sorted(digests))
    return xxhash.xxh3_128(lines.encode()).hexdigest()


@contextmanager
def publish(final: Path) -> Iterator[Path]:
    """Give a folder to write into, which takes the place of `final` once it is durable.

    Whatever goes wrong, `final` is what it was before and nothing is left beside it.
    """
    scratch = final.with_name(final.name + SCRATCH_SUFFIX)
    try:
        if scratch.exists():
            shutil.rmtree(scratch)
        scratch.mkdir(parents=True)
        yield scratch
        for path in [*scratch.rglob("*"), scratch]:
            sync(path)
        aside = set_aside(final)
        scratch.rename(final)
        sync(final.parent)
        shutil.rmtree(aside, ignore_errors=True)
    except BaseException as error:
        shutil.rmtree(scratch, ignore_errors=True)
        if not isinstance(error, OSError | SafetensorError):
            raise
        raise MachineError(
            str(final),
            f"could not be written: {error}; nothing of it is left and what was there before is "
            "untouched; free space, or make the folder writable, and run the same command again",
        ) from error


def sync(path: Path) -> None:
    """Make a file, or the entries of a folder, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def set_aside(folder: Path) -> Path:
    """Take a folder, if it is there, out of its place; return the name under which it waits."""
    aside = folder.with_name(f"{folder.name}.old{SCRATCH_SUFFIX}")
    shutil.rmtree(aside, ignore_errors=True)
    if folder.exists():
        folder.rename(aside)
    return aside


def retire(folder: Path) -> None:
    """Delete a folder so that it is never seen half-deleted under its own name."""
    shutil.rmtree(set_aside(folder))


def sweep(parent: Path) -> None:
    """Remove what a killed process left half-written."""
    for scratch in parent.glob(f"*{SCRATCH_SUFFIX}"):
        shutil.rmtree(scratch) if scratch.is_dir() else scratch.unlink()


def to_json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=1, ensure_ascii=False) + "\n"


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(to_json(values), encoding="utf-8")


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """Read an object; the remedy is for a file that is missing or damaged."""
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(str(path), f"is missing; {remedy}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(str(path), f"is damaged: {error}; {remedy}") from error
    if not isinstance(values, dict):
        raise InputError(str(path), f"holds a {type(values).__name__}, not an object; {remedy}")
    return values


def read_tensors(path: Path, remedy: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file."""
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise InputError(str(path), f"is missing; {remedy}") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(str(path), f"is damaged: {error}; {remedy}") from error


def read_proved(path: Path, manifest: Mapping[str, Any], remedy: str) -> dict[str, Tensor]:
    """Read a safetensors file, which must hold the tensors of its manifest and no others."""
    digests = manifest.get("digests")
    if not isinstance(digests, dict):
        raise InputError(str(path.with_name(MANIFEST_FILE)), f"holds no digests; {remedy}")
    tensors = read_tensors(path, remedy)
    problems = []
    for name in sorted(digests.keys() | tensors.keys()):
        expected = digests.get(name, "none")
        found = digest(tensors[name]) if name in tensors else "none"
        if found != expected:
            problems.append(f"tensor {name}: expected digest {expected}, found {found}")
    if problems:
        raise InputError(str(path), *problems, remedy)
    return tensors


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Write a safetensors file, with one tensor in memory at a time; return the digest of each.

    Tensors are asked for twice, by name, and may be made then.
    """
    places: dict[str, Any] = {}
    offset = 0
    # The widest elements first, so that each tensor starts at a multiple of its own.
    for name, size in sorted(sizes_of(tensors).items(), key=lambda item: -item[1].itemsize):
        place = [offset, offset + size.nbytes]
        places[name] = {"dtype": DTYPES[size.dtype], "shape": size.shape, "data_offsets": place}
        offset += size.nbytes
    header = ({"__metadata__": metadata} if metadata else {}) | places
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    digests = {}
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name in places:
            tensor = tensors[name]
            stream.write(bytes_of(tensor))
            digests[name] = digest(tensor)
    return digests


def sizes_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the same types and shapes without elements, for those that are made when asked."""
    return {name: torch.empty_like(tensors[name], device="meta") for name in tensors}
