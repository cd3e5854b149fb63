"""The special tokens of a GLM and the ids that each layout gives them.

A layout is a rule over a base vocabulary. ``glm-english`` and ``glm-english-task`` reuse what the
vocabulary has ([CLS], <mask>, ...) and append the rest; ``glm-chinese``, ``glm-chinese-10b`` and
``glmctl`` append everything. In ``glm-chinese-10b``, [gMASK] has the id of <|endofpiece|>: the
released model was trained that way. ChatGLM-6B and a tokenizer.json have all of theirs, the other
vocabularies of ChatGLM and GLM-4 none but </s>; that is tested on small ones of their formats.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from glmctl.errors import InputError, UsageError
from glmctl.recipe.model import Layout, TokenizerConfig

Item = TypeVar("Item")

EOS = "<|endoftext|>"
SOP = "<|startofpiece|>"
EOP = "<|endofpiece|>"
NOISE = "[dBLOCK]"
MASKS = ("[MASK]", "[gMASK]", "[sMASK]")
ROLES = ("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>")
MEDIA = ("<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>")
GLM4 = (EOS, *MASKS, "<sop>", "<eop>", *ROLES)
FAMILY: dict[Layout, tuple[str, ...]] = {
    "chatglm": (*MASKS, "<sop>", "<eop>"),
    "chatglm2": (*MASKS, "sop", "eop"),
    "chatglm3": (*MASKS, "sop", "eop", *ROLES),
    "glm-4": GLM4,
    "glm-4-0414": GLM4,
}
"""Of ChatGLM and GLM-4, in the order of the ids where these follow the vocabulary."""
LAYOUTS: dict[str, tuple[Layout, ...]] = {
    "wordpiece": ("glm-english", "glm-english-task"),
    "byte_bpe": ("glm-english", "glm-english-task"),
    "sentencepiece": (
        *("glmctl", "glm-chinese", "glm-chinese-10b"),
        *("chatglm", "chatglm2", "chatglm3"),
    ),
    "tiktoken": ("glm-4", "glm-4-0414"),
    "tokenizer_json": ("glm-4", "glm-4-0414"),
}
SPELLINGS = {
    "[CLS]": ("<s>", "[CLS]"),
    "[MASK]": ("<mask>", "[MASK]"),
    "[SEP]": ("</s>", "[SEP]"),
    "[UNK]": ("<unk>", "[UNK]"),
}
"""How base vocabularies spell what the English layouts reuse, in the order of appending; of two
that one has, the second counts."""


@dataclass(frozen=True)
class SpecialTokens:
    """Ids of the special tokens; ``eos`` ends a document and is the padding too."""

    pad: int
    eos: int
    sep: int
    cls: int
    mask: int
    unk: int
    sop: int
    eop: int
    smask: int | None
    """Sentence blank; None in layouts without task masks."""
    gmask: int | None
    """Document blank; None in layouts without task masks."""
    noise: int | None
    """[dBLOCK]; None unless the tokenizer section asks for it."""
    sentinel_masks: tuple[int, ...]
    sentinel_starts: tuple[int, ...]
    strings: Mapping[str, int]
    """Text of each token; where two share an id, the last one is how the id is printed."""

    def mask_for(self, objective: str) -> int:
        """The blank of an objective: token, sentence or document."""
        blank = {"token": None, "sentence": self.smask, "document": self.gmask}[objective]
        return self.mask if blank is None else blank


def numbered(items: Iterable[Item], first_id: int = 0) -> dict[Item, int]:
    return {item: number for number, item in enumerate(items, first_id)}


def place_special_tokens(
    config: TokenizerConfig, vocabulary: Mapping[str, int], size: int, unk: int | None
) -> tuple[SpecialTokens, int]:
    """Apply the layout of a tokenizer section; the size of the vocabulary with it comes last.

    `vocabulary` gives ids of tokens of the base vocabulary, `size` is that of it, and `unk` is the
    unknown token of a SentencePiece one. What a layout of ChatGLM or GLM-4 lacks is the end of a
    text.
    """
    if config.special in FAMILY:
        strings = family_strings(config, vocabulary, size)
    elif config.special == "glmctl":
        order = (EOS, "[CLS]", "[SEP]", "[MASK]", "[sMASK]", "[gMASK]", SOP, EOP)
        strings = numbered(order, size)
    elif config.kind == "sentencepiece":
        strings = chinese_strings(size, is_fixed=config.special == "glm-chinese")
    else:
        strings = english_strings(config, vocabulary, size)
    if config.noise_token:
        strings[NOISE] = max(strings.values()) + 1
    first = max(strings.values()) + 1
    for number in range(config.num_sentinels):
        strings[f"[MASK{number + 1}]"] = first + 2 * number
        strings[f"<|startofpiece{number + 1}|>"] = first + 2 * number + 1
    last = first + 2 * config.num_sentinels

    def spelled(*texts: str) -> int:
        return next(strings[text] for text in texts if text in strings)

    end = spelled(EOS, "[PAD]", "</s>")
    special = SpecialTokens(
        pad=strings.get("<pad>", end if unk is None or config.special not in FAMILY else unk),
        eos=end,
        sep=strings.get("[SEP]", end),
        cls=strings.get("[CLS]", strings.get("<ENC>", end)),
        mask=strings["[MASK]"],
        unk=strings.get("[UNK]", end) if unk is None else unk,
        sop=spelled(SOP, "<sop>", "sop"),
        eop=spelled(EOP, "<eop>", "eop"),
        smask=strings.get("[sMASK]"),
        gmask=strings.get("[gMASK]"),
        noise=strings.get(NOISE, strings.get("<dBLOCK>")),
        sentinel_masks=tuple(range(first, last, 2)),
        sentinel_starts=tuple(range(first + 1, last, 2)),
        strings=strings,
    )
    return special, max(size, last)


def check_layout(config: TokenizerConfig) -> None:
    """Refuse a layout that does not fit the kind of vocabulary or another key."""
    layout = config.special
    if layout not in LAYOUTS[config.kind]:
        raise UsageError(
            "tokenizer.special",
            f"layout {layout!r} does not fit kind {config.kind!r}; "
            f"choose {' or '.join(LAYOUTS[config.kind])}",
        )
    if layout in FAMILY and (config.noise_token or config.num_sentinels):
        key = "noise_token" if config.noise_token else "num_sentinels"
        raise UsageError(f"tokenizer.{key}", f"layout {layout!r} has no more tokens; leave it out")
    if layout != "chatglm" and config.num_image_tokens:
        raise UsageError(
            "tokenizer.num_image_tokens", f"goes with layout 'chatglm', not with {layout!r}"
        )


def english_strings(
    config: TokenizerConfig, vocabulary: Mapping[str, int], size: int
) -> dict[str, int]:
    """Reuse what the vocabulary spells, then append in the order of the released models."""
    is_wordpiece = config.kind == "wordpiece"
    found = {
        text: vocabulary[name]
        for text, names in SPELLINGS.items()
        for name in names
        if name in vocabulary
    }
    ends = ("[PAD]",) if is_wordpiece else ("</s>", EOS)
    end = next((vocabulary[name] for name in ends if name in vocabulary), None)
    if end is None or (is_wordpiece and "[UNK]" not in found):
        raise InputError(
            config.path,
            f"not the vocabulary of a {config.kind} tokenizer: it has no "
            f"{' or '.join(ends) if end is None else '[UNK]'}",
        )
    appended = [SOP, EOP, *(text for text in SPELLINGS if text not in found)]
    if config.special == "glm-english-task":
        appended += ["[gMASK]", "[sMASK]"]
    return {"[PAD]" if is_wordpiece else EOS: end} | found | numbered(appended, size)


def chinese_strings(size: int, *, is_fixed: bool) -> dict[str, int]:
    """Append everything; one id stays unused, and unfixed, [gMASK] falls on <|endofpiece|>."""
    order = (EOS, "[SEP]", "[CLS]", "[MASK]", "[UNK]", None, SOP, EOP)
    strings = {text: place for text, place in numbered(order, size).items() if text is not None}
    task_masks = ("[sMASK]", "[gMASK]") if is_fixed else ("[gMASK]", "[sMASK]")
    return strings | numbered(task_masks, size + len(order) if is_fixed else strings[EOP])


def family_strings(
    config: TokenizerConfig, vocabulary: Mapping[str, int], size: int
) -> dict[str, int]:
    """Take what the vocabulary has, and append the rest where the vocabulary is not whole."""
    tokens = FAMILY[config.special]
    strings = dict(vocabulary)
    if config.kind == "tiktoken":
        strings = numbered((*tokens, *MEDIA), size)
    elif config.special in ("chatglm2", "chatglm3"):
        strings |= numbered(tokens, size)
    if config.kind == "sentencepiece":
        tokens = (*tokens, "</s>")
    if missing := [text for text in tokens if text not in strings]:
        raise InputError(
            config.path,
            f"is no vocabulary of {config.special}: it has no {', '.join(missing)}; name that of "
            "the model, or another --special",
        )
    return strings
