"""Whatever model there is under a path or name: its sizes, tensors and tokenizer."""

import re
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from glmctl.core.checkpoint import hub
from glmctl.core.checkpoint.dialects import original
from glmctl.core.checkpoint.dialects.detect import detect, dialects
from glmctl.core.checkpoint.dialects.dialect import Dialect, Values
from glmctl.core.checkpoint.durable import read_json
from glmctl.core.checkpoint.folder import REMEDY, Found, is_model_folder, read_model_folder
from glmctl.core.checkpoint.release import CONFIG_FILE, read_release
from glmctl.core.checkpoint.store import STATE_FILE, CheckpointStore
from glmctl.core.checkpoint.tensor_files import has_tensor_files, open_tensor_files
from glmctl.core.tokenizer.load import ASSETS, REMOTE_FILES, load_tokenizer, released_tokenizer
from glmctl.errors import InputError, UsageError
from glmctl.recipe.load import load_recipe
from glmctl.recipe.model import ModelConfig

PROVENANCE_FILE = "glmctl-provenance.json"
"""Licence and origin of a converted model, in formats that have no place for them."""
BUILT_IN = ("glmctl-default",)
USUAL_HEAD_SIZE = 64
NO_TABLE = 512  # relative positions have no table, so this bounds nothing


def find(path_or_name: str | Path, model: str | None) -> Found:
    """Read whatever model there is under a path or name; a name of the hub is fetched."""
    found = find_lazily(place_of(path_or_name), model)
    return replace(found, tensors=dict(found.tensors))


def place_of(path_or_name: str | Path) -> Path:
    """Where a model lies on this machine; a name of the hub is fetched."""
    if str(path_or_name).startswith(hub.PREFIX):
        return hub.fetch(str(path_or_name))
    if Path(path_or_name).exists():
        return Path(path_or_name)
    if str(path_or_name) in BUILT_IN:
        return ASSETS / path_or_name
    raise InputError(
        str(path_or_name),
        f"no such file or folder, and no built-in model; built-in: {', '.join(BUILT_IN)}",
    )


def find_lazily(path: Path, model: str | None) -> Found:
    """As `find`, but tensors of which a file holds parts are made each time they are asked for."""
    found = find_here(path, model)
    if (path / PROVENANCE_FILE).is_file():
        carried = read_json(path / PROVENANCE_FILE, REMEDY)
        origin, terms = carried.get("provenance", {}), carried.get("license")
        found = replace(found, provenance=origin, license=found.license or terms)
    record = hub.read_record(path)
    if record is None:
        return found
    source = f"{record['source']}@{record['commit']}"
    return replace(found, license=found.license or record["license"], source=source)


def find_here(path: Path, model: str | None) -> Found:
    """Read whatever model there is under a path."""
    if original.find_shards(path):
        return read_original(path, model)
    has_config = (path / CONFIG_FILE).is_file() and not is_model_folder(path)
    if has_config and has_tensor_files(path):
        return read_released(path, model)
    if model is not None:
        raise UsageError(str(path), f"holds its own sizes; leave out model '{model}'")
    for folder in (path, path / "model"):
        if is_model_folder(folder):
            return read_model_folder(folder)
    if (path / STATE_FILE).is_file():
        return read_checkpoint(path)
    store = CheckpointStore(path / "checkpoints", keep=1)
    if steps := store.steps():
        return read_checkpoint(store.folder(steps[-1]))
    formats = [dialect.name for dialect in dialects() if dialect.model_type]
    raise InputError(
        str(path),
        "holds no model: looked for config.toml with model.safetensors (a model folder), model/ or "
        f"checkpoints/step-* (a run), {STATE_FILE} (a checkpoint), mp_rank_*_model_states.pt (the "
        f"original GLM) and {CONFIG_FILE} with model.safetensors or pytorch_model.bin (a release "
        f"of {', '.join(formats)}); name one of those",
    )


def read_released(folder: Path, model: str | None) -> Found:
    """A folder of the hub's GLM, ChatGLM or GLM-4; or a learned prefix over its model."""
    stored = open_tensor_files(folder)
    prefixes = tuple(f"{dialect.prefix}." for dialect in dialects() if dialect.prefix)
    if is_prefix := all(name.startswith(prefixes) for name in stored):
        if model is None:
            raise InputError(
                str(folder),
                f"holds only a learned prefix of a ChatGLM (P-tuning v2), {', '.join(stored)}; it "
                "belongs over the model that it was trained with: give that as model= in Python, "
                "or join both by `glmctl convert PREFIX OUT --model-config MODEL`",
            )
        folder = place_of(model)
        if not (folder / CONFIG_FILE).is_file():
            raise InputError(
                model, f"holds no {CONFIG_FILE}; name the released folder of the model"
            )
        stored = open_tensor_files(folder) | stored
    elif model is not None:
        raise UsageError(str(folder), f"holds its own sizes; leave out model '{model}'")
    values = read_json(folder / CONFIG_FILE, "fetch the folder again")
    dialect = detect(values, stored)
    if isinstance(dialect, str):
        raise InputError(str(folder / CONFIG_FILE), dialect)
    tokenizer = released_tokenizer(folder, values)
    patterns = [pattern for pattern in REMOTE_FILES if pattern != CONFIG_FILE]
    beside = {file.name for it in patterns for file in folder.glob(it) if file.is_file()}
    return replace(
        read_release(folder, dialect, values, stored),
        tokenizer=tokenizer,
        license=(hub.read_record(folder) or {}).get("license"),
        abilities=() if is_prefix else released_abilities(folder, dialect, values),
        provenance={"base": str(model)} if is_prefix else {},
        unread_tokenizer=() if tokenizer is not None else tuple(sorted(beside)),
    )


def released_abilities(folder: Path, dialect: Dialect, values: Values) -> tuple[str, ...]:
    """What all models of a format were trained for, and chat where the folder says so.

    A base model has the tensors and the tokens of roles of the chat that was made of it, so it is
    told by its name, and a chat by its name or its template of messages.
    """
    settings: Values = {}
    if (folder / "tokenizer_config.json").is_file():
        settings = read_json(folder / "tokenizer_config.json", "fetch the folder again")
    record = hub.read_record(folder) or {}
    given = (record.get("source"), values.get("_name_or_path"), settings.get("name_or_path"))
    names = " ".join(Path(str(name)).name.lower() for name in given)
    has_template = "chat_template" in settings or (folder / "chat_template.jinja").is_file()
    is_base = re.search(r"\bbase\b", names) is not None
    if is_base or "chat" in dialect.abilities or not (has_template or "chat" in names):
        return dialect.abilities
    return (*dialect.abilities, "chat")


def read_checkpoint(folder: Path) -> Found:
    """One training state of a run; the sizes stand in the recipe of the run."""
    run = folder.parent.parent
    recipe = load_recipe(str(run / "recipe.toml"))
    state = CheckpointStore(folder.parent, keep=1).load(int(folder.name.removeprefix("step-")))
    tensors = {
        name.removeprefix("model."): tensor
        for name, tensor in state.items()
        if name.startswith("model.")
    }
    if "word_embedding.weight" not in tensors:
        raise InputError(str(folder), f"holds only what {run} trains beside the model; name {run}")
    # A recipe may leave the number of rows to the tokenizer.
    rows = {"vocab_rows": len(tensors["word_embedding.weight"])}
    config = recipe.model.model_copy(update=rows)
    return Found(config, tensors, load_tokenizer(recipe.tokenizer), recipe.objective)


def read_original(path: Path, model: str | None) -> Found:
    """A checkpoint of the original code, which holds all sizes but the number of heads."""
    tensors, heads = original.read_with_heads(path)
    if "word_embedding.weight" not in tensors:
        held = ", ".join([*tensors, *heads][:3]) or "nothing"
        raise InputError(str(path), f"holds no word embedding, only {held}; name the whole model")
    stored, place = stored_sizes(tensors), ""
    given: dict[str, Any] = {}
    # The original's layout has its config.json in the folder or above it.
    beside = [it / CONFIG_FILE for it in [*original.find_shards(path)[0].parents][:3]]
    for file in [it for it in beside if it.is_file()] if model is None else [Path(model)]:
        sizes = given_sizes(file)
        if model is not None or "num_attention_heads" in sizes:
            given, place = sizes, str(file)
            break
    if "num_attention_heads" not in given:
        given["num_attention_heads"] = stored["hidden_size"] // USUAL_HEAD_SIZE or 1
        warnings.warn(
            f"{path} does not say how many attention heads the model has and no config.json lies "
            f"beside it; took {given['num_attention_heads']} of size {USUAL_HEAD_SIZE}; "
            "give model= a recipe or config.json to be sure",
            stacklevel=5,
        )
    problems = [
        f"{name} is {given[name]} in {place} and {stored[name]} in the checkpoint"
        for name in stored
        if name in given and given[name] != stored[name]
    ]
    if problems:
        raise InputError(str(path), *problems)
    try:
        config = ModelConfig(**({"max_positions": NO_TABLE} | given | stored))
    except ValidationError as error:
        raise InputError(place, f"holds sizes that make no model: {error}") from error
    return Found(config, tensors, None, heads=heads)


def given_sizes(file: Path) -> dict[str, Any]:
    """Sizes that a recipe or a config.json states, under our names."""
    if file.suffix != ".json":
        return load_recipe(str(file)).model.model_dump(exclude={"vocab_rows"})
    values = read_json(file, "give a recipe, or a config.json with the sizes of the model")
    sizes = {ours: values.get(theirs) for ours, theirs in original.ORIGINAL.sizes.items()}
    return {ours: it for ours, it in sizes.items() if it is not None and ours != "vocab_rows"}


def stored_sizes(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Sizes that the shapes of the tensors tell."""
    rows, width = tensors["word_embedding.weight"].shape
    blocks = {name.split(".")[1] for name in tensors if name.startswith("blocks.")}
    sizes = {"vocab_rows": rows, "hidden_size": width, "num_layers": len(blocks)}
    if "position_embedding.weight" not in tensors:
        return sizes | {"position": "relative_xl"}
    places = len(tensors["position_embedding.weight"])
    if "span_position_embedding.weight" in tensors:
        return sizes | {"position": "learned_2d", "max_positions": places - 1}
    return sizes | {"position": "learned_1d", "max_positions": places}
