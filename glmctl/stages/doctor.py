"""What this machine can do, and what it lacks: one finding a check, each problem with its remedy.

A broken installation is what this is for, so packages are imported inside the check that needs
them, and a check that fails does not stop the others. Nothing contacts the network.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

from glmctl import __version__
from glmctl.errors import GlmctlError

GIB = 2**30
LEAST_BYTES = GIB  # glm-base needs 1.2 GiB for a checkpoint; less than this serves no run
DRIVER = Path("/proc/driver/nvidia/version")
CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")
CONTAINER_USE = Path("/sys/fs/cgroup/memory.current")
REINSTALL = "install glmctl again"
COMPLETIONS = {  # where glmctl --install-completion writes
    "bash": ".bash_completions/glmctl.sh",
    "zsh": ".zfunc/_glmctl",
    "fish": ".config/fish/completions/glmctl.fish",
}
Status = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    status: Status
    found: str
    remedy: str | None = None


@dataclass(frozen=True)
class Diagnosis:
    """All checks, in the order in which they are shown."""

    checks: tuple[Check, ...]

    @property
    def num_problems(self) -> int:
        return sum(check.status == "problem" for check in self.checks)


def run(folder: Path) -> Diagnosis:
    """Look at this machine.

    Args:
        folder: where runs would be written; what the check of the filesystem writes is removed.
    """
    return Diagnosis(
        (
            Check("glmctl", "ok", __version__),
            Check("Python", "ok", platform.python_version()),  # pip refuses an older one
            *check_packages(requires("glmctl") or (), version),
            *check_processor(),
            *check_gpus(),
            check_memory(),
            check_disk("working folder", folder),
            check_disk("hub cache", hub_cache()),
            check_filesystem(folder),
            check_network(),
            *check_model(),
            check_completion(Path(os.environ.get("SHELL", "")).name, Path.home()),
        )
    )


def check_packages(requirements: Sequence[str], installed: Callable[[str], str]) -> Iterator[Check]:
    """Compare every package that glmctl declares with the versions that were tested.

    Args:
        requirements: as the metadata of a package lists them; extras of users are optional.
        installed: the version of a package.
    """
    from packaging.requirements import Requirement

    for requirement in map(Requirement, requirements):
        extra = str(requirement.marker or "").partition("extra == ")[2].strip('"')
        if extra in ("dev", "all"):
            continue
        name, needed = requirement.name, f"{requirement.name}{requirement.specifier}"
        try:
            found = installed(name)
        except PackageNotFoundError:
            if extra:
                yield Check(name, "note", "not installed", f"pip install 'glmctl[{extra}]'")
            else:
                yield Check(name, "problem", "not installed", f"pip install '{needed}'")
            continue
        if requirement.specifier.contains(found, prereleases=True):
            yield Check(name, "ok", found)
        else:
            problem = f"{found} is not among the tested versions, {requirement.specifier}"
            yield Check(name, "problem", problem, f"pip install '{needed}'")


def check_processor() -> Iterator[Check]:
    """The CPU as torch sees it."""
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library does not fit
        problem = f"cannot be loaded: {str(error).splitlines()[0]}"
        yield Check("torch", "problem", problem, "pip install --force-reinstall torch")
        return
    traits = torch.cpu.get_capabilities()
    abilities = {"avx2": "AVX2", "avx512_f": "AVX-512", "avx512_bf16": "AVX-512 bf16"}
    has = [name for key, name in (abilities | {"amx_bf16": "AMX"}).items() if traits.get(key)]
    cores = len(os.sched_getaffinity(0))
    kernels = torch.backends.cpu.get_cpu_capability()
    name = traits.get("cpu_name") or platform.machine()
    described = f"{name}, {cores} usable of {os.cpu_count()} cores, {', '.join(has) or 'no AVX2'}"
    yield Check("CPU", "ok", f"{described}{'' if 'AMX' in has else ', no AMX'}; kernels {kernels}")
    yield describe_threads(torch.get_num_threads(), cores)


def describe_threads(threads: int, cores: int) -> Check:
    """Whether torch computes with as many threads as there are cores for them."""
    found = f"{threads}, torch"
    if threads <= cores:
        return Check("threads", "ok", found)
    remedy = f"export OMP_NUM_THREADS={cores}, or they wait for each other"
    return Check("threads", "problem", f"{found}, on {cores} usable cores", remedy)


def check_gpus() -> Iterator[Check]:
    """Each GPU, or why there is none."""
    try:
        import torch
    except (ImportError, OSError):  # reported already
        return
    if not torch.cuda.is_available():
        yield describe_no_gpu(DRIVER.exists(), torch.version.cuda)
        return
    has_flash = torch.backends.cuda.is_flash_attention_available()
    for number in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(number)
        capability = (gpu.major, gpu.minor)
        yield describe_gpu(number, gpu.name, gpu.total_memory, capability, has_flash)


def describe_gpu(
    number: int, name: str, memory: int, capability: tuple[int, int], has_flash: bool
) -> Check:
    """A GPU; bfloat16 and flash attention need compute capability 8.0."""
    is_recent = capability >= (8, 0)
    parts = [
        name,
        f"{memory / GIB:,.1f} GiB",
        f"compute capability {'.'.join(map(str, capability))}",
    ]
    parts += [f"{'bf16' if is_recent else 'no bf16'}"]
    parts += [f"{'flash' if is_recent and has_flash else 'no flash'} attention"]
    if is_recent:
        return Check(f"GPU {number}", "ok", ", ".join(parts))
    remedy = "set train.precision to fp16 or fp32; bf16 is slow on it"
    return Check(f"GPU {number}", "note", ", ".join(parts), remedy)


def describe_no_gpu(has_driver: bool, cuda: str | None) -> Check:
    """Why torch sees no GPU.

    Args:
        has_driver: the NVIDIA driver is loaded.
        cuda: the CUDA version that torch was built for; None for a CPU build.
    """
    if not has_driver:
        return Check("GPU", "note", "none; everything runs on the CPU")
    if cuda is None:
        remedy = "pip install --force-reinstall torch, from the index that suits the driver"
        return Check("GPU", "problem", "a driver is loaded, and torch is a build for CPUs", remedy)
    problem = f"a driver is loaded, and torch (built for CUDA {cuda}) cannot use it"
    return Check("GPU", "problem", problem, "update the driver; look at CUDA_VISIBLE_DEVICES")


def check_memory() -> Check:
    """Memory that is free, within the limit of the container when there is one."""
    page = os.sysconf("SC_PAGE_SIZE")
    total, free = os.sysconf("SC_PHYS_PAGES") * page, os.sysconf("SC_AVPHYS_PAGES") * page
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    if CONTAINER_LIMIT.exists() and (limit := CONTAINER_LIMIT.read_text().strip()) != "max":
        total = min(total, int(limit))
        free = min(free, total - int(CONTAINER_USE.read_text()))
    return describe_space("memory", free, total, "end other programs")


def check_disk(name: str, folder: Path) -> Check:
    """Space where a folder is, or would be made."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    space = shutil.disk_usage(there)
    remedy = f"free some of the disk that holds {folder}"
    return describe_space(name, space.free, space.total, remedy)


def describe_space(name: str, free: int, total: int, remedy: str) -> Check:
    """Bytes that are left, which should be enough for one small run."""
    found = f"{free / GIB:,.1f} GiB free of {total / GIB:,.1f} GiB"
    if free >= LEAST_BYTES:
        return Check(name, "ok", found)
    return Check(name, "problem", found, remedy)


def hub_cache() -> Path:
    """Where what `hf:` names is kept."""
    home = os.environ.get("HF_HOME", "~/.cache/huggingface")
    return Path(home).expanduser().absolute()


def check_filesystem(folder: Path) -> Check:
    """Do what every checkpoint and run relies on: write, fsync, rename over, lock."""
    name, remedy = "filesystem", "work in a folder of a local POSIX filesystem"
    try:
        with tempfile.TemporaryDirectory(prefix=".glmctl-doctor-", dir=folder) as scratch:
            rename_over(Path(scratch))
            hold_lock(Path(scratch))
    except OSError as error:
        return Check(name, "problem", f"{folder}: {error.strerror or error}", remedy)
    return Check(name, "ok", "write, fsync, atomic rename, fsync of the folder, lock")


def rename_over(folder: Path) -> None:
    """Replace a durable file by another, as a checkpoint is published.

    Raises:
        OSError: the filesystem refuses a step, or gives back something else.
    """
    old, new = folder / "old", folder / "new"
    for file in (old, new):
        file.write_text(file.name)
        sync(file)
    new.rename(old)
    sync(folder)
    if old.read_text() != "new" or new.exists():
        raise OSError("a renamed file does not take the place of the other")


def sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def hold_lock(folder: Path) -> None:
    """Lock a file twice, as two processes on one run would; the second must be refused."""
    file = folder / "lock"
    with file.open("a") as first, file.open("a") as second:
        fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
    raise OSError("a locked file can be locked once more")


def check_network() -> Check:
    """Whether the hub may be asked; it is not asked now."""
    switches = [name for name in ("GLMCTL_OFFLINE", "HF_HUB_OFFLINE") if is_set(name)]
    if not switches:
        return Check("network", "ok", "allowed, and used only for hf: names")
    remedy = f"unset {' and '.join(switches)} to fetch others"
    return Check("network", "note", "forbidden; hf: names are looked up in the cache", remedy)


def is_set(variable: str) -> bool:
    return os.environ.get(variable, "").lower() not in ("", "0", "false")


def check_model() -> Iterator[Check]:
    """Open the default model and its tokenizer, prove their bytes, and fill a blank."""
    name = "glmctl-default"
    try:
        from glmctl.core.checkpoint.durable import digest, digest_all
        from glmctl.core.open import load
        from glmctl.core.tokenizer.load import find_tokenizer

        tokenizer = find_tokenizer(name)
        glm = load(name)
        glm.infill(["[MASK]"], max_new_tokens=1)
    except (ImportError, OSError) as error:
        yield Check("model", "problem", f"{name} cannot be loaded: {error}", REINSTALL)
        return
    except GlmctlError as error:
        yield Check("model", "problem", "; ".join(error.problems), REINSTALL)
        return
    weights = glm.module.state_dict()
    count = sum(weight.numel() for weight in weights.values())
    whole = digest_all({key: digest(weight) for key, weight in weights.items()})
    yield Check("model", "ok", f"{name}, {count:,} parameters, digest {whole}")
    found = f"{name}, {tokenizer.size:,} tokens, digest {tokenizer.fingerprint}"
    if tokenizer.fingerprint == glm.text_tokenizer().fingerprint:
        yield Check("tokenizer", "ok", found)
    else:
        yield Check("tokenizer", "problem", f"{found}, is not that of the model", REINSTALL)


def check_completion(shell: str, home: Path) -> Check:
    """Whether the shell of the user completes commands, recipes and keys."""
    if shell not in COMPLETIONS:
        return Check("completion", "note", f"there is none for {shell or 'an unnamed shell'}")
    if (home / COMPLETIONS[shell]).is_file():
        return Check("completion", "ok", f"installed for {shell}")
    remedy = "glmctl --install-completion, then open another shell"
    return Check("completion", "note", f"not installed for {shell}", remedy)
