"""What this machine can do, and what it lacks: one finding a check, each problem with its remedy.

A broken installation is what this is for, so packages are imported inside the check that needs
them, and a check that fails does not stop the others. Nothing contacts the network.
"""

import fcntl
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

from glmctl import __version__
from glmctl.errors import GlmctlError

GIB = 2**30
LEAST_BYTES = GIB  # glm-base needs 1.2 GiB for a checkpoint; less than this serves no run
DRIVER = Path("/proc/driver/nvidia/version")
OFF = ("", "0", "false")
MODEL = "glmctl-default"


@dataclass(frozen=True)
class Check:
    status: Literal["ok", "note", "problem"]
    name: str
    found: str
    remedy: str | None = None


def run(folder: Path) -> list[Check]:
    """Look at this machine; the folder is one where runs would be written."""
    hub_cache = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser().absolute()
    return [
        Check("ok", "glmctl", __version__),
        Check("ok", "Python", platform.python_version()),  # pip refuses an older one
        *check_packages(requires("glmctl") or (), version),
        *check_devices(),
        check_disk("working folder", folder),
        check_disk("hub cache", hub_cache),
        check_filesystem(folder),
        check_network(),
        check_model(),
    ]


def check_packages(requirements: Sequence[str], installed: Callable[[str], str]) -> Iterator[Check]:
    """Compare the packages that glmctl declares with the versions that are installed."""
    from packaging.requirements import Requirement

    for requirement in map(Requirement, requirements):
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue  # for an extra, or another system
        name, tested = requirement.name, requirement.specifier
        try:
            found = installed(name)
        except PackageNotFoundError:
            yield Check("problem", name, "not installed", f"pip install '{name}{tested}'")
            continue
        if requirement.specifier.contains(found, prereleases=True):
            yield Check("ok", name, found)
        else:
            problem = f"{found} is not among the tested versions, {tested}"
            yield Check("problem", name, problem, f"pip install '{name}{tested}'")


def check_devices() -> Iterator[Check]:
    """The CPU as torch sees it, and each GPU, or why there is none."""
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library does not fit
        problem = f"cannot be loaded: {str(error).splitlines()[0]}"
        yield Check("problem", "torch", problem, "pip install --force-reinstall torch")
        return
    traits = torch.cpu.get_capabilities()
    name, amx = traits.get("cpu_name"), "AMX" if traits.get("amx_bf16") else "no AMX"
    cores = f"{len(os.sched_getaffinity(0))} usable of {os.cpu_count()} cores"
    kernels = f"kernels for {torch.backends.cpu.get_cpu_capability()}"
    yield Check("ok", "CPU", f"{name or platform.machine()}, {cores}, {kernels}, {amx}")
    if not torch.cuda.is_available():
        yield describe_no_gpu(DRIVER.exists(), torch.version.cuda)
        return
    has_flash = torch.backends.cuda.is_flash_attention_available()
    for number in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(number)
        yield describe_gpu(number, gpu.name, gpu.total_memory, (gpu.major, gpu.minor), has_flash)


def describe_gpu(
    number: int, name: str, memory: int, capability: tuple[int, int], has_flash: bool
) -> Check:
    """A GPU; bfloat16 and flash attention need compute capability 8.0."""
    found = f"{name}, {memory / GIB:,.1f} GiB, compute capability {capability[0]}.{capability[1]}"
    if capability >= (8, 0):
        flash = "flash" if has_flash else "no flash"
        return Check("ok", f"GPU {number}", f"{found}, bf16, {flash} attention")
    remedy = "set train.precision to fp16 or fp32; bf16 is slow on it"
    return Check("note", f"GPU {number}", f"{found}, no bf16, no flash attention", remedy)


def describe_no_gpu(has_driver: bool, cuda: str | None) -> Check:
    """Why torch, built for a version of CUDA or for none, sees no GPU."""
    if not has_driver:
        return Check("note", "GPU", "none; everything runs on the CPU")
    if cuda is None:
        remedy = "pip install --force-reinstall torch, from the index that suits the driver"
        return Check("problem", "GPU", "a driver is loaded, and torch is a build for CPUs", remedy)
    problem = f"a driver is loaded, and torch (built for CUDA {cuda}) cannot use it"
    return Check("problem", "GPU", problem, "update the driver; look at CUDA_VISIBLE_DEVICES")


def check_disk(name: str, folder: Path) -> Check:
    """Space where a folder is, or would be made; it should be enough for one small run."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    space = shutil.disk_usage(there)
    found = f"{space.free / GIB:,.1f} GiB free of {space.total / GIB:,.1f} GiB"
    if space.free >= LEAST_BYTES:
        return Check("ok", name, found)
    return Check("problem", name, found, f"free some of the disk that holds {folder}")


def check_filesystem(folder: Path) -> Check:
    """Do what every checkpoint and run relies on: write, fsync, rename over, lock."""
    try:
        with tempfile.TemporaryDirectory(prefix=".glmctl-doctor-", dir=folder) as scratch:
            rename_over(Path(scratch, "new"), Path(scratch, "old"))
            hold_lock(Path(scratch, "lock"))
    except OSError as error:
        remedy = "work in a folder of a local POSIX filesystem"
        return Check("problem", "filesystem", f"{folder}: {error.strerror or error}", remedy)
    return Check("ok", "filesystem", "write, fsync, atomic rename, fsync of the folder, lock")


def rename_over(new: Path, old: Path) -> None:
    """Replace a durable file by another, as a checkpoint is published."""
    for file in (old, new):
        file.write_text(file.name)
        sync(file)
    new.rename(old)
    sync(old.parent)
    if old.read_text() != "new" or new.exists():
        raise OSError("a renamed file does not take the place of the other")


def sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def hold_lock(file: Path) -> None:
    """Lock a file twice, as two processes on one run would; the second must be refused."""
    with file.open("a") as first, file.open("a") as second, suppress(BlockingIOError):
        fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        raise OSError("a locked file can be locked once more")


def check_network() -> Check:
    """Whether the hub may be asked; it is not asked now."""
    names = ("GLMCTL_OFFLINE", "HF_HUB_OFFLINE")
    switches = [name for name in names if os.environ.get(name, "").lower() not in OFF]
    if not switches:
        return Check("ok", "network", "allowed, and used only for hf: names")
    remedy = f"unset {' and '.join(switches)} to fetch others"
    return Check("note", "network", "forbidden; hf: names are looked up in the cache", remedy)


def check_model() -> Check:
    """Open the default model, which proves its bytes, and fill a blank with it."""
    try:
        from glmctl.core.open import load

        load(MODEL).infill(["[MASK]"], max_new_tokens=1)
    except (ImportError, OSError, GlmctlError) as error:
        problem = f"{MODEL} cannot be used: {error}"
        return Check("problem", "model", problem, "install glmctl again")
    return Check("ok", "model", f"{MODEL} opens and fills a blank")
