"""Ids against independent implementations and against ids that the original printed.

The vocabularies made here have the formats of the released ones; those are used too, on real text,
where GLMCTL_DATA_DIR names the data sets.
"""

import itertools
import json
import lzma
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import regex
import sentencepiece
from tokenizers import ByteLevelBPETokenizer
from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

from glmctl.core.tokenizer.base import Tokenizer
from glmctl.core.tokenizer.load import load_tokenizer
from glmctl.recipe.model import TokenizerConfig

# Real data sets, named or beside the recorded outputs.
BESIDE_GOLDEN = Path(os.environ.get("GLMCTL_GOLDEN_DIR", "nowhere")).parent / "data"
DATA = Path(os.environ.get("GLMCTL_DATA_DIR", BESIDE_GOLDEN))
needs_data = pytest.mark.skipif(
    not (DATA / "tokenizers").is_dir(), reason="GLMCTL_DATA_DIR names no data sets"
)
TOKENIZERS = DATA / "tokenizers"
SAMPLES = [
    "Hello world, it's 10:30 -- don't stop!",
    "  two  spaces, a\ttab\nand \r\n lines \n\n",
    "na\u00efve caf\u00e9 \u00c5ngstr\u00f6m \u0130stanbul e\u0301 stra\u00dfe",
    "\u51ef\u65cb\u95e8\u4f4d\u4e8e\u7c73\u5170, \u4e00\u4e2atest\u3002\uff01\uff1f\u2026",
    "\U0001f600 \U0001f469\u200d\U0001f680 \u00a0\u3000\u200b\ufeff \ufffd \x00 \x07 end",
    "x" * 100 + " " + "y" * 101 + " " + "\u4e00" * 150,
    "mid-word ##pieces <|endoftext|> </s> $5.00 #1 a@b.c",
    "\u0645\u0631\u062d\u0628\u0627 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 \u1112\u1161\u11ab",
]


def real_text() -> Iterator[str]:
    """Parts of every file of English and Chinese text."""
    for file in sorted([*DATA.glob("text_en/*.xz"), *DATA.glob("text_zh/*.xz")]):
        with lzma.open(file, "rt", encoding="utf-8") as lines:
            for _, line in zip(range(12), lines, strict=False):
                yield json.loads(line)["text"][:4000]


@pytest.fixture(scope="module")
def vocab_txt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = "hello world the cat stop naive cafe istanbul test pieces mid word lines tab".split()
    characters = sorted({c for text in SAMPLES for c in text.casefold() if not c.isspace()})
    parts = ["##s", "##ing", "##ll", "##o", *(f"##{c}" for c in characters[:60])]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *characters, *parts]
    file = tmp_path_factory.mktemp("wordpiece") / "vocab.txt"
    file.write_text("\n".join(dict.fromkeys(tokens)) + "\n", encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def bpe_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bpe")
    library = ByteLevelBPETokenizer()
    library.train_from_iterator(
        SAMPLES * 3, vocab_size=400, min_frequency=2, special_tokens=["<|endoftext|>"]
    )
    library.save_model(str(folder))
    return folder


def bert(file: Path) -> tuple[Tokenizer, BertTokenizerLegacy]:
    config = TokenizerConfig(kind="wordpiece", path=str(file), special="glm-english")
    return load_tokenizer(config), BertTokenizerLegacy(str(file))


def test_wordpiece_gives_the_ids_of_an_independent_implementation(vocab_txt):
    ours, theirs = bert(vocab_txt)
    for text in SAMPLES:
        expected = theirs.convert_tokens_to_ids(theirs.tokenize(text))
        assert ours.encode(text, special=False) == expected


@needs_data
def test_the_bert_vocabulary_gives_the_ids_of_an_independent_implementation():
    ours, theirs = bert(TOKENIZERS / "bert-base-uncased/vocab.txt")
    for text in [*SAMPLES, *real_text()]:
        expected = theirs.convert_tokens_to_ids(theirs.tokenize(text))
        assert ours.encode(text, special=False) == expected


class ReferenceBpe:
    """Byte-level BPE as the paper of GPT-2 describes it, word by word and merge by merge."""

    words = regex.compile(
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    )

    def __init__(self, vocab: Path, merges: Path) -> None:
        self.ids = json.loads(vocab.read_text(encoding="utf-8"))
        rules = [line.split(" ") for line in merges.read_text(encoding="utf-8").split("\n")[1:]]
        self.ranks = {tuple(rule): rank for rank, rule in enumerate(rules) if len(rule) == 2}
        printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
        others = [byte for byte in range(256) if byte not in printable]
        self.letters = {byte: chr(byte) for byte in printable}
        self.letters |= {byte: chr(256 + place) for place, byte in enumerate(others)}

    def encode(self, text: str) -> list[int]:
        return [self.ids[part] for word in self.words.findall(text) for part in self.split(word)]

    def split(self, word: str) -> list[str]:
        parts = [self.letters[byte] for byte in word.encode()]
        while len(parts) > 1:
            pairs = [*itertools.pairwise(parts)]
            best = min(pairs, key=lambda pair: self.ranks.get(pair, 1 << 30))
            if best not in self.ranks:
                break
            merged, place = [], 0
            while place < len(parts):
                step = 2 if tuple(parts[place : place + 2]) == best else 1
                merged.append("".join(parts[place : place + step]))
                place += step
            parts = merged
        return parts


def gpt2(folder: Path) -> Tokenizer:
    return load_tokenizer(
        TokenizerConfig(kind="byte_bpe", path=str(folder), special="glm-english-task")
    )


def test_byte_bpe_gives_the_ids_of_an_independent_implementation(bpe_folder):
    ours = gpt2(bpe_folder)
    theirs = ReferenceBpe(bpe_folder / "vocab.json", bpe_folder / "merges.txt")
    for text in SAMPLES:
        assert ours.encode(text, special=False) == theirs.encode(text)
        assert ours.decode(theirs.encode(text)) == text


@pytest.fixture(scope="module")
def roberta_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RoBERTa's vocabulary comes without the merges, which are GPT-2's."""
    folder = tmp_path_factory.mktemp("roberta")
    (folder / "vocab.json").symlink_to(TOKENIZERS / "roberta/vocab.json")
    (folder / "merges.txt").symlink_to(TOKENIZERS / "gpt2/merges.txt")
    return folder


@needs_data
@pytest.mark.parametrize("name", ["gpt2", "roberta"])
def test_the_bpe_vocabularies_give_the_ids_of_an_independent_implementation(name, roberta_folder):
    folder = {"gpt2": TOKENIZERS / "gpt2", "roberta": roberta_folder}[name]
    theirs = ReferenceBpe(folder / "vocab.json", TOKENIZERS / "gpt2/merges.txt")
    ours = gpt2(folder)
    for text in [*SAMPLES, *(text[:1500] for text in real_text())]:
        assert ours.encode(text, special=False) == theirs.encode(text)


@needs_data
def test_the_gpt2_vocabulary_gives_the_ids_of_transformers():
    from transformers import GPT2Tokenizer

    theirs = GPT2Tokenizer(str(TOKENIZERS / "gpt2/vocab.json"), str(TOKENIZERS / "gpt2/merges.txt"))
    ours = gpt2(TOKENIZERS / "gpt2")
    for text in real_text():
        assert ours.encode(text, special=False) == theirs(text)["input_ids"]


@needs_data
def test_the_chinese_model_gives_the_ids_of_sentencepiece():
    file = TOKENIZERS / "glm-chinese-sentencepiece/cog-pretrain.model"
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(file))
    ours = load_tokenizer(
        TokenizerConfig(kind="sentencepiece", path=str(file), special="glm-chinese")
    )
    assert not ours.is_lossless
    for text in [*SAMPLES, *real_text()]:
        assert ours.encode(text, special=False) == theirs.encode(text)


@needs_data
def test_bert_worked_example_of_the_original():
    tokenizer, _ = bert(TOKENIZERS / "bert-base-uncased/vocab.txt")
    ids = tokenizer.encode("Hello world, [MASK] is great.")
    assert ids == [7592, 2088, 1010, 103, 2003, 2307, 1012]
    assert tokenizer.decode(ids) == "hello world , [MASK] is great ."


@needs_data
def test_gpt2_worked_examples_of_the_original():
    tokenizer = gpt2(TOKENIZERS / "gpt2")
    ids = tokenizer.encode("Hello world, [MASK] is great.")
    assert ids == [15496, 995, 11, 50260, 318, 1049, 13]
    assert tokenizer.decode(ids) == "Hello world,[MASK] is great."
    blanks = tokenizer.encode("a [MASK]  [gMASK] b [sMASK] .")
    assert blanks == [64, 50260, 50263, 275, 50264, 764]
    assert tokenizer.encode("a [MASK] ") == [64, 50260, 220]


@needs_data
def test_chinese_worked_example_of_the_original():
    folder = str(TOKENIZERS / "glm-chinese-sentencepiece")
    tokenizer = load_tokenizer(
        TokenizerConfig(kind="sentencepiece", path=folder, special="glm-chinese")
    )
    text = (
        "\u51ef\u65cb\u95e8\u4f4d\u4e8e\u610f\u5927\u5229\u7c73\u5170\u5e02\u53e4\u57ce\u5821"
        "\u65c1\u30021807\u5e74\u4e3a\u7eaa\u5ff5[MASK]\u800c\u5efa\uff0c\u95e8\u9ad825\u7c73"
        "\u3002"
    )
    expected = "12758 44916 43696 801 2131 6249 43548 9460 45158 44884 43361 180 2331 22459 2366"
    expected += " 50003 488 43555 43359 43696 43454 164 43797 43361"
    assert tokenizer.encode(text) == [int(word) for word in expected.split()]
    assert tokenizer.decode(tokenizer.encode(text)) == text.replace("\uff0c", ",")
