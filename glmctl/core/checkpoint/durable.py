"""Folders of tensors that are whole or absent, and whose bytes are proved when they are read."""

from __future__ import annotations

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
from safetensors.torch import load_file, save_file
from torch import Tensor

from glmctl.errors import InputError, MachineError

SCRATCH_SUFFIX = ".partial"


def digest(tensor: Tensor) -> str:
    """The xxh3-128 of a tensor's type, shape and bytes; sha256 would slow a save by a quarter."""
    state = xxhash.xxh3_128(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
    raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    state.update(raw.numpy().data)
    return state.hexdigest()


def digest_all(digests: Mapping[str, str]) -> str:
    """One digest for a set of named tensors; their order does not count."""
    lines = "".join(f"{name} {digests[name]}\n" for name in sorted(digests))
    return xxhash.xxh3_128(lines.encode()).hexdigest()


@contextmanager
def publish(final: Path) -> Iterator[Path]:
    """Give a folder to write into, which takes the place of `final` once it is durable.

    Raises:
        MachineError: the disk is full or not writable; `final` is what it was before.
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
    except (OSError, SafetensorError) as error:
        shutil.rmtree(scratch, ignore_errors=True)
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
    """Read an object.

    Raises:
        InputError: the file is missing or is not a JSON object.
    """
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(str(path), f"is missing; {remedy}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(str(path), f"is damaged: {error}; {remedy}") from error
    if not isinstance(values, dict):
        raise InputError(str(path), f"holds a {type(values).__name__}, not an object; {remedy}")
    return values


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Write a safetensors file and return the digest of each tensor."""
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(on_cpu, path)
    return {name: digest(tensor) for name, tensor in on_cpu.items()}


def read_tensors(path: Path, digests: Mapping[str, str], remedy: str) -> dict[str, Tensor]:
    """Read a safetensors file and prove every tensor.

    Args:
        path: the file.
        digests: expected digest of each tensor.
        remedy: what the user can do when the file is damaged.

    Raises:
        InputError: the file is missing, damaged, or holds other tensors.
    """
    try:
        tensors = load_file(path)
    except FileNotFoundError as error:
        raise InputError(str(path), f"is missing; {remedy}") from error
    except SafetensorError as error:
        raise InputError(str(path), f"is damaged: {error}; {remedy}") from error
    problems = [f"tensor {name} is missing" for name in sorted(digests.keys() - tensors.keys())]
    problems += [f"tensor {name} is unknown" for name in sorted(tensors.keys() - digests.keys())]
    for name in sorted(digests.keys() & tensors.keys()):
        found = digest(tensors[name])
        if found != digests[name]:
            problems.append(f"tensor {name}: expected digest {digests[name]}, found {found}")
    if problems:
        raise InputError(str(path), *problems, remedy)
    return tensors
