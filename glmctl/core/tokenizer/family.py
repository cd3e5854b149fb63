"""The tokenizers of ChatGLM and GLM-4: how files show which one they are, and what they end with.

The released vocabularies could not be had: all of this is tested on small ones of their formats.
"""

import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glmctl.core.tokenizer.base import Tokenizer
from glmctl.core.tokenizer.library import is_rank_file
from glmctl.core.tokenizer.special import ROLES
from glmctl.errors import InputError
from glmctl.recipe.model import Kind, Layout, TokenizerConfig

FILES = ("tokenizer.json", "tokenizer.model", "ice_text.model")
"""A released folder has one of these."""
SETTINGS = ("config.json", "tokenizer_config.json")
NUM_IMAGE_TOKENS = 20_000
"""Of ChatGLM-6B where its tokenizer_config.json says nothing, as in the first release."""


def answer_ends(tokenizer: Tokenizer) -> tuple[int, ...]:
    """The tokens that end an answer."""
    special = tokenizer.special
    if tokenizer.config.special == "chatglm":
        return (special.eop,)
    turns = (special.strings.get(role) for role in ("<|user|>", "<|observation|>"))
    return (special.eos, *(turn for turn in turns if turn is not None))


def released_section(place: Path, special: Layout | None = None) -> TokenizerConfig | None:
    """The section of the tokenizer of ChatGLM or GLM-4 that lies in a folder, or in its file.

    None when it is of another family; `special` is the layout, when the user says it.
    """
    folder = place if place.is_dir() else place.parent
    files = [folder / name for name in FILES] if place.is_dir() else [place]
    settings: dict[str, Any] = {}
    for name in SETTINGS:
        settings |= read_settings(folder / name)
    for file in files:
        if not file.is_file() or (file.name not in FILES and special is None):
            continue
        kind: Kind = "tokenizer_json"
        if file.suffix != ".json":
            kind = "tiktoken" if is_rank_file(file) else "sentencepiece"
        layout = special or layout_of(file, kind, settings)
        if layout is None:
            continue
        number = settings.get("num_image_tokens", NUM_IMAGE_TOKENS) if layout == "chatglm" else 0
        if not isinstance(number, int) or number < 0:
            what = f"num_image_tokens is {number!r}; expected a whole number"
            raise InputError(str(folder), what)
        return TokenizerConfig(kind=kind, path=str(file), special=layout, num_image_tokens=number)
    return None


def read_settings(file: Path) -> dict[str, Any]:
    """What a JSON file says; {} when it is not there."""
    if not file.is_file():
        return {}
    try:
        values = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as problem:
        raise InputError(str(file), f"is not JSON ({problem})") from problem
    return values if isinstance(values, dict) else {}


def layout_of(file: Path, kind: Kind, settings: Mapping[str, Any]) -> Layout | None:
    """The layout of a vocabulary, when it is one of ours."""
    if kind == "tokenizer_json" and ROLES[-1].encode() not in file.read_bytes():
        return None
    stated = json.dumps(settings).lower()
    if kind == "tiktoken" and not re.search(r'chatglm|"model_type": "glm4?"|\[gmask\]', stated):
        raise InputError(
            str(file),
            f"holds ranks of byte pairs (tiktoken), and no {' or '.join(SETTINGS)} beside it names "
            "ChatGLM, GLM-4 or [gMASK]; if it is GLM-4's, add --special glm-4 or put those files "
            "there; else take it away: another family's is not read",
        )
    if kind != "sentencepiece":
        return "glm-4-0414" if settings.get("model_type") == "glm4" else "glm-4"
    if file.name == "ice_text.model":
        return "chatglm"
    if "chatglm" in stated:
        return second_or_third(file, settings)
    return None


def second_or_third(file: Path, settings: Mapping[str, Any]) -> Layout:
    """ChatGLM2 or ChatGLM3, whose vocabulary is the same: by the roles, or by name."""
    if "<|user|>" in json.dumps(settings):
        return "chatglm3"
    names = (file.resolve().parent, settings.get("name_or_path"), settings.get("_name_or_path"))
    if found := re.findall("chatglm([23])|codegeex(2)", " ".join(map(str, names)).lower()):
        return "chatglm2" if "2" in found[-1] else "chatglm3"
    warnings.warn(
        f"{file} is of ChatGLM2 or ChatGLM3, and nothing says of which; taken for ChatGLM3's. "
        'Write "_name_or_path": "chatglm2-6b" into config.json if it is the other',
        stacklevel=2,
    )
    return "chatglm3"


def refuse_other_family(tokenizer: Tokenizer, config: Mapping[str, Any], folder: Path) -> None:
    """Name each id that config.json or tokenizer_config.json states otherwise."""
    strings, name = tokenizer.special.strings, tokenizer.vocabulary.files[0].name
    expected = {"eos_token_id": answer_ends(tokenizer)}
    if tokenizer.config.special == "chatglm":
        expected |= {"bos_token_id": (strings["<sop>"],), "mask_token_id": (strings["[MASK]"],)}
        expected |= {"gmask_token_id": (strings["[gMASK]"],)}
    problems = []
    for key, ids in expected.items():
        stated = config.get(key)
        given = stated if isinstance(stated, list) else [stated]
        if stated is not None and not any(token in ids for token in given):
            known = " or ".join(f"{token} ({tokenizer.token_text(token)})" for token in ids)
            problems.append(f"{key} is {stated}, and in {name} it is {known}")
    file = folder / "tokenizer_config.json"
    added = read_settings(file).get("added_tokens_decoder", {})
    try:
        ids_of = {token["content"]: int(number) for number, token in added.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as problem:
        what = "added_tokens_decoder is no table of ids; take the file that came with the model"
        raise InputError(str(file), what) from problem
    problems += [
        f"{text} is {stated} in {file.name}, and in {name} it is {strings[text]}"
        for text, stated in ids_of.items()
        if strings.get(text, stated) != stated
    ]
    if problems:
        raise InputError(
            str(folder / "config.json"), *problems, "take the tokenizer that came with the model"
        )
