"""What the tokenizers of some data sets did to their text, undone as in the released code.

Each list is applied from first to last (`tasks/seq2seq/dataset.py`,
`tasks/language_model/detokenizer.py`).
"""

import re
from collections.abc import Mapping, Sequence

from glmctl.core.tasks.schema import Clean

Replacements = Sequence[tuple[str, str]]
"""Regular expressions, and what they become."""

CNN_DM: Replacements = (
    ("-LRB-", "("),
    ("-RRB-", ")"),
    ("-LSB-", "["),
    ("-RSB-", "]"),
    ("-LCB-", "{"),
    ("-RCB-", "}"),
    ("``|''", '"'),
    ("`", "'"),
    (" n't", "n't"),
    (" '(s|d|ll)\\b", r"'\1"),
)
LISTS: Mapping[Clean, Replacements] = {
    "wikitext": (
        ("s '", "s'"),
        (" @-@ ", "-"),
        (" @,@ ", ","),
        (" @\\.@ ", "."),
        *((f" {re.escape(mark)} ", f"{mark} ") for mark in ":;.!?,"),
        (r"\(\s*([^)]*?)\s*\)", r"(\1)"),
        (r"\[\s*([^\]]*?)\s*\]", r"[\1]"),
        (r"\{\s*([^}]*?)\s*\}", r"{\1}"),
        (r'"\s*([^"]*?)\s*"', r'"\1"'),
        (r"'\s*([^']*?)\s*'", r"'\1'"),
        ("= = = =", "===="),
        ("= = =", "==="),
        ("= =", "=="),
        (" \u00b0 ", "\u00b0"),
        (" \n", "\n"),
        ("\n ", "\n"),
        (" N ", " 1 "),
        (" 's", "'s"),
    ),
    "gigaword": (
        ("-lrb-", "("),
        ("-rrb-", ")"),
        ("-lsb-", "["),
        ("-rsb-", "]"),
        ("-lcb-", "{"),
        ("-rcb-", "}"),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&amp;", "&"),
        (r"<unk>|\bUNK\b", "[UNK]"),
    ),
    "cnn_dm": (("<S_SEP>", ""), *CNN_DM, (" {2,}", " ")),
    "cnn_dm_target": (("<S_SEP>", "[SEP]"), *CNN_DM),
}


def cleaned(text: str, name: Clean) -> str:
    """The text as it was before its data set was made."""
    for pattern, replacement in LISTS[name]:
        text = re.sub(pattern, replacement, text)
    return text
