"""Small vocabularies in the formats of the released ones, made here."""

from pathlib import Path

import pytest
import sentencepiece
from tokenizers import ByteLevelBPETokenizer

from glmctl.core.tokenizer.sentencepiece import train_sentencepiece

TEXT = [
    "The oven of the bakery is hot, and the bread is good.",
    "A bakery opens at six; the oven is hot at five.",
    "\u9762\u5305\u5e97\u516d\u70b9\u5f00\u95e8\u3002\u70e4\u7bb1\u5f88\u70ed\uff0c\u9762\u5305"
    "\u5f88\u9999\u3002",
]


@pytest.fixture(scope="session")
def own_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("own") / "own.model"
    file.write_bytes(train_sentencepiece(TEXT, 320, "bpe"))
    return file


@pytest.fixture(scope="session")
def lossy_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the released Chinese model: normalised, with a dummy prefix, without byte fallback."""
    file = tmp_path_factory.mktemp("lossy") / "lossy.model"
    with file.open("wb") as stream:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(TEXT),
            model_writer=stream,
            model_type="bpe",
            vocab_size=60,
            minloglevel=2,
        )
    return file


@pytest.fixture(scope="session")
def wordpiece_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokens = "[PAD] [UNK] [CLS] [SEP] [MASK] hello world is great , . un ##believ ##able cafe"
    file = tmp_path_factory.mktemp("wordpiece") / "vocab.txt"
    file.write_text("\n".join(tokens.split()) + "\n", encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def bpe_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bpe")
    library = ByteLevelBPETokenizer()
    library.train_from_iterator(TEXT, vocab_size=300, special_tokens=["<|endoftext|>"])
    library.save_model(str(folder))
    return folder
