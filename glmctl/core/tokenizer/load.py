"""From the tokenizer section of a recipe, or from a name on a command line, to a tokenizer."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glmctl.core.tokenizer.base import Tokenizer, Vocabulary
from glmctl.core.tokenizer.chatglm import load_ice
from glmctl.core.tokenizer.family import refuse_other_family, released_section
from glmctl.core.tokenizer.library import BYTE_LEVEL, MERGES, WordPieceVocabulary
from glmctl.core.tokenizer.sentencepiece import load_sentencepiece
from glmctl.core.tokenizer.special import FAMILY, LAYOUTS, check_layout, place_special_tokens
from glmctl.errors import InputError, MachineError, UsageError
from glmctl.recipe.load import expand_path, unset_variables
from glmctl.recipe.model import Kind, Layout, TokenizerConfig
from glmctl.recipe.schema import Recipe

DEFAULT = "glmctl-default"
MULTIPLE = 128
"""Of the rows of a word embedding."""
ASSETS = Path(__file__).parents[2] / "assets"
FILES: dict[Kind, str] = {
    "wordpiece": "vocab.txt",
    "byte_bpe": "vocab.json",
    "sentencepiece": "*.model",
    "tiktoken": "*.model",
    "tokenizer_json": "tokenizer.json",
}
REMOTE_FILES = ["vocab.txt", "vocab.json", MERGES, "*.model", "*tokenizer*.json", "config.json"]


def load_tokenizer(config: TokenizerConfig, folder: Path | None = None) -> Tokenizer:
    """Open the tokenizer that a section describes; a relative path starts at a folder."""
    check_layout(config)
    file = vocabulary_file(resolve(config.path, folder), config.kind)
    vocabulary = open_vocabulary(config, file)
    special, size = place_special_tokens(config, vocabulary.ids, vocabulary.size, vocabulary.unk)
    return Tokenizer(vocabulary, special, size, config)


def open_vocabulary(config: TokenizerConfig, file: Path) -> Vocabulary:
    if config.kind in BYTE_LEVEL:
        return BYTE_LEVEL[config.kind](file)
    if config.kind == "wordpiece":
        return WordPieceVocabulary(file, lowercase=config.lowercase)
    if config.special == "chatglm":
        return load_ice(file, config.num_image_tokens)
    return load_sentencepiece(file)


def find_tokenizer(
    name: str = DEFAULT,
    *,
    kind: Kind | None = None,
    special: Layout | None = None,
    otherwise: Layout | None = None,
) -> Tokenizer:
    """Open the tokenizer that a command line names, and find out what is not said.

    Args:
        name: a built-in name, a vocabulary file, its folder, a model folder or hf:NAME.
        kind: the algorithm; seen from the file unless given.
        special: the layout; the usual one of the kind unless given.
        otherwise: the layout of a vocabulary that has no usual one; None: the user must say.
    """
    place = resolve(name, None)
    section = sections(place).get("tokenizer")
    if section is not None and kind is None and special is None:
        return load_tokenizer(TokenizerConfig.model_validate(section), place)
    if kind is None and (special is None or special in FAMILY):
        section = released_section(place, special)
        if section is not None:
            return load_tokenizer(section)
    kind = kind or kind_of(place)
    if special is None:
        special = usual_layout(vocabulary_file(place, kind), kind, otherwise)
    return load_tokenizer(TokenizerConfig(kind=kind, path=name, special=special))


def released_tokenizer(folder: Path, config: Mapping[str, Any]) -> Tokenizer | None:
    """The tokenizer of a released model of ChatGLM or GLM-4; None when its files are not there.

    ``config`` is what the config.json of the model says; the tokenizer of another family is an
    error.
    """
    section = released_section(folder)
    if section is None:
        return None
    tokenizer = load_tokenizer(section)
    refuse_other_family(tokenizer, config, folder)
    return tokenizer


def rows_of(name: str) -> int | None:
    """Rows of the word embedding, when the name is that of a model folder that says so."""
    rows: int | None = sections(resolve(name, None)).get("model", {}).get("vocab_rows")
    return rows


def sections(place: Path) -> dict[str, Any]:
    """What the config.toml of a model folder says; {} for another place."""
    file = place / "config.toml"
    return tomllib.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def usual_layout(file: Path, kind: Kind, otherwise: Layout | None) -> Layout:
    """The layout that goes with a vocabulary when nobody says."""
    if kind != "sentencepiece":
        return LAYOUTS[kind][0]
    if load_sentencepiece(file).is_lossless:
        return "glmctl"
    if otherwise is not None:
        return otherwise
    raise UsageError(
        "--special",
        f"{file} can have one of two layouts; add --special glm-chinese or glm-chinese-10b "
        "([gMASK] and <|endofpiece|> share an id in the second)",
    )


def kind_of(place: Path) -> Kind:
    """The kind of vocabulary that a file or a folder holds."""
    by_name: tuple[Kind, ...] = ("wordpiece", "byte_bpe", "sentencepiece")  # of others: family.py
    if place.is_dir():
        kinds = [kind for kind in by_name if any(place.glob(FILES[kind]))]
    else:
        kinds = [kind for kind in by_name if place.suffix == Path(FILES[kind]).suffix]
    if len(kinds) != 1:
        found = "the vocabularies of several kinds" if kinds else "no vocabulary"
        raise InputError(str(place), f"holds {found}; name one file, or add --kind")
    return kinds[0]


def vocabulary_file(place: Path, kind: Kind) -> Path:
    """The file of a vocabulary, given itself or its folder."""
    pattern = FILES[kind]
    found = sorted(place.glob(pattern)) if place.is_dir() else [place]
    if len(found) != 1:
        raise InputError(
            str(place), f"holds {len(found)} files {pattern}; a {kind} vocabulary is one"
        )
    return found[0]


def resolve(name: str, folder: Path | None) -> Path:
    """The place on this machine that a tokenizer's name means."""
    if name == DEFAULT:
        return ASSETS / f"{DEFAULT}.model"
    if name.startswith("hf:"):
        return fetch(name)
    place = Path(folder or "", expand_path(name, "tokenizer.path")).expanduser()
    if not place.exists():
        raise InputError(
            str(place),
            f"no such tokenizer; name a file, a folder, hf:NAME, or the built-in {DEFAULT}",
        )
    return place


def rows_for(size: int) -> int:
    """The vocabulary rounded up, as the released models; all rows take part in the softmax."""
    return -(-size // MULTIPLE) * MULTIPLE


def with_vocabulary(recipe: Recipe) -> Recipe:
    """Fill in ``model.vocab_rows``, unless the vocabulary is not here (to fetch, or ``${VAR}``)."""
    path = recipe.tokenizer.path
    if recipe.model.vocab_rows is not None or path.startswith("hf:") or unset_variables(path):
        return recipe
    rows = rows_for(load_tokenizer(recipe.tokenizer).size)
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"vocab_rows": rows})})


def is_offline() -> bool:
    """Whether the environment forbids the network."""
    return any(
        os.environ.get(variable, "").lower() not in ("", "0", "false")
        for variable in ("GLMCTL_OFFLINE", "HF_HUB_OFFLINE")
    )


def not_here(name: str, otherwise: str) -> MachineError:
    """What there is to say of a thing of the hub that this machine does not have."""
    reason = "the network is switched off" if is_offline() else "the hub does not answer"
    return MachineError(
        name,
        f"not on this machine, and {reason}; unset GLMCTL_OFFLINE and HF_HUB_OFFLINE where "
        f"there is a network, or {otherwise}",
    )


def fetch(name: str) -> Path:
    """The folder of a vocabulary of the hub, fetched unless it is here already."""
    repository, _, revision = name.removeprefix("hf:").partition("@")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(
            repository,
            revision=revision or None,
            allow_patterns=REMOTE_FILES,
            local_files_only=is_offline(),
        )
    except LocalEntryNotFoundError as problem:
        raise not_here(name, "name a file of your own") from problem
    except (HfHubHTTPError, ValueError) as problem:
        raise InputError(name, f"cannot be fetched: {str(problem).splitlines()[0]}") from problem
    return Path(folder)
