"""The tensors of a released folder, by their own names: one file or shards with an index.

Tensors stay on the disk until they are used, so opening many gigabytes takes no memory.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from glmctl.core.checkpoint import durable
from glmctl.core.checkpoint.pickles import read_pickle, tensors_in
from glmctl.errors import InputError

# In the order of preference, where a folder holds several: (single file, shards).
LAYOUTS = (
    ("model.safetensors", "model-*-of-*.safetensors"),
    ("pytorch_model.bin", "pytorch_model-*-of-*.bin"),
)
REMEDY = "fetch the folder again"
SHARD_BYTES = 5 * 10**9
"""Of a file that is written; a larger tensor has one of its own."""


@dataclass(frozen=True)
class Stored:
    """A tensor and the file that holds it."""

    tensor: Tensor
    file: Path


class LazyTensors(Mapping[str, Tensor]):
    """Tensors that are put together each time they are asked for."""

    def __init__(self, makers: Mapping[str, Callable[[], Tensor]]) -> None:
        self.makers = makers

    def __getitem__(self, name: str) -> Tensor:
        return self.makers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self.makers)

    def __len__(self) -> int:
        return len(self.makers)


def picked(tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> LazyTensors:
    """Some tensors, under the first name of each pair, without asking for them yet."""
    return LazyTensors({new: partial(tensors.__getitem__, name) for new, name in names.items()})


def has_tensor_files(folder: Path) -> bool:
    return any(_files_of(folder, *layout)[0] for layout in LAYOUTS)


def open_tensor_files(folder: Path) -> dict[str, Stored]:
    """Every tensor of the folder, from all of its shards, which must belong together."""
    for layout in LAYOUTS:
        files, index = _files_of(folder, *layout)
        if files:
            break
    problems = [f"shard {file.name} is missing; {REMEDY}" for file in files if not file.is_file()]
    if problems:
        raise InputError(str(folder), *problems)
    stored: dict[str, Stored] = {}
    for file in files:
        is_safe = file.suffix == ".safetensors"
        held = (
            durable.read_tensors(file, REMEDY) if is_safe else tensors_in(file, read_pickle(file))
        )
        for name, tensor in held.items():
            if name in stored:
                problems.append(f"tensor {name} stands in {stored[name].file.name} and {file.name}")
            stored[name] = Stored(tensor, file)
    for name in {**index, **stored} if index else ():
        said, place = index.get(name, "no file"), "no file"
        if name in stored:
            place = stored[name].file.name
        if said != place:
            problems.append(f"tensor {name} stands in {place}, and the index names {said}")
    if problems:
        raise InputError(str(folder), *problems, f"a shard may be of another model; {REMEDY}")
    return stored


def write_tensor_files(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write safetensors files as `transformers` does: one, or shards with an index."""
    from huggingface_hub import split_torch_state_dict_into_shards

    single = LAYOUTS[0][0]
    split = split_torch_state_dict_into_shards(
        durable.sizes_of(tensors),
        filename_pattern=single.replace(".", "{suffix}."),
        max_shard_size=SHARD_BYTES,
    )
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        durable.write_json(folder / f"{single}.index.json", index)
    for file, names in split.filename_to_tensors.items():
        part = picked(tensors, {name: name for name in names})
        durable.write_tensors(folder / file, part, {"format": "pt"})


def _files_of(folder: Path, single: str, shards: str) -> tuple[list[Path], dict[str, Any]]:
    """The files of one layout, present or not, and what its index says where each tensor is."""
    index_file = folder / f"{single}.index.json"
    if (folder / single).is_file():
        return [folder / single], {}
    if index_file.is_file():
        index = durable.read_json(index_file, REMEDY).get("weight_map")
        if not isinstance(index, dict) or not index:
            raise InputError(str(index_file), f"holds no weight_map; {REMEDY}")
        odd = [it for it in index.values() if not isinstance(it, str) or it != Path(it).name]
        if odd:
            raise InputError(
                str(index_file), f"names {odd[0]!r}, which is no file of this folder; {REMEDY}"
            )
        return [folder / name for name in sorted(set(index.values()))], index
    pattern = re.compile(re.escape(shards).replace(r"\*", r"\d{5}", 1).replace(r"\*", r"(\d{5})"))
    counts = [match[1] for path in folder.glob(shards) if (match := pattern.fullmatch(path.name))]
    if not counts:
        return [], {}
    numbers = range(1, int(counts[0]) + 1)
    head, _, tail = shards.split("*")
    return [folder / f"{head}{number:05d}-of-{counts[0]}{tail}" for number in numbers], {}
