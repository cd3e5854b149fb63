"""Files of `torch.save`, read as data: nothing in them is executed.

torch's restricted unpickler knows tensors and plain containers, and besides those only the few
numpy constructors that saved random states are made of.
"""

import re
import warnings
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glmctl.errors import InputError

# What torch meets in bytes that are no pickle depends on the bytes.
NO_PICKLE = (EOFError, LookupError, ValueError, TypeError, AttributeError)
RECONSTRUCT = np.zeros(0).__reduce__()[0]
NUMPY_STATE_PARTS: list[Any] = [
    (RECONSTRUCT, "numpy.core.multiarray._reconstruct"),
    (RECONSTRUCT, "numpy._core.multiarray._reconstruct"),
    *(np.ndarray, np.dtype, type(np.dtype(np.uint32))),
]
"""What numpy 1 and 2 need to rebuild a saved random state: arrays and nothing else."""
UNREADABLE = (UnpicklingError, RuntimeError, OSError, MemoryError, zipfile.BadZipFile, *NO_PICKLE)


def read_pickle(file: Path) -> Any:
    """What the file holds; tensors are read from the disk when they are used."""
    try:
        # torch warns of pickles that it will refuse and asks to report them to its authors.
        with (
            warnings.catch_warnings(action="ignore"),
            torch.serialization.safe_globals(NUMPY_STATE_PARTS),
        ):
            return torch.load(file, map_location="cpu", weights_only=True, mmap=_is_plain_zip(file))
    except UNREADABLE as error:
        raise InputError(
            str(file),
            f"not a checkpoint that can be read as data only ({_reason(error)}); "
            "nothing in it was executed; use a file from a source you trust, saved by torch.save",
        ) from error


def tensors_in(file: Path, content: Any) -> dict[str, Tensor]:
    """What the file holds, or a part of it, which must be tensors by name."""
    if not isinstance(content, dict) or not content:
        raise InputError(str(file), "holds no tensors by name; use a file of model weights")
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor) or not _is_whole(tensor):
            raise InputError(
                str(file), f"{name!r} is no plain tensor with a name; use a file of model weights"
            )
    return content


def _is_whole(tensor: Tensor) -> bool:
    """Whether every element stands in the file; a few bytes may claim to be any shape."""
    if tensor.layout != torch.strided or not tensor.is_cpu:
        return False
    return tensor.untyped_storage().nbytes() >= tensor.numel() * tensor.element_size()


def _is_plain_zip(file: Path) -> bool:
    """Whether this is the newer format, a zip file; its entries may not grow when they are read."""
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
    is_packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    if is_packed or sum(entry.file_size for entry in entries) > file.stat().st_size:
        raise RuntimeError("its entries are compressed, which those of torch.save are not")
    return True


def _reason(error: Exception) -> str:
    """What stands in the way, without torch's advice to trust the file all the same."""
    call = re.search(r"GLOBAL (\S+)", str(error))
    if call is not None:
        return f"it names the code {call[1]}"
    return "it holds no pickle" if isinstance(error, NO_PICKLE) else str(error).split(". ")[0]
