"""SentencePiece vocabularies: the released Chinese one, and our own, which lose nothing.

Our own are trained without normalisation, dummy prefix or whitespace removal, and with byte
fallback. SentencePiece still writes a space as U+2581 and so would turn a U+2581 of the text into
a space: that one character is always spelled in bytes here.
"""

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import sentencepiece

from glmctl.core.tokenizer.base import ByteTokens, IntArray, Vocabulary
from glmctl.errors import InputError

SPACE = "\u2581"
BYTE_PIECE = re.compile("<0x[0-9A-F]{2}>")
CHUNK = 1024
"""Characters of a training sentence; the trainer skips what is longer than 4192 bytes."""
UNTRAINABLE = re.compile("[\0\t\u2047\u2581]")
"""The trainer drops a sentence with one of these; their bytes are tokens of every vocabulary."""


class SentencePieceVocabulary(Vocabulary):
    """Any SentencePiece model, as the library reads it."""

    named: tuple[str, ...] = ("</s>",)
    unk: int

    def __init__(self, file: Path, processor: sentencepiece.SentencePieceProcessor) -> None:
        self.files = (file,)
        self.processor = processor
        self.size = processor.piece_size()
        self.unk = processor.unk_id()
        pieces = {text: processor.piece_to_id(text) for text in self.named}
        self.ids = {text: piece for text, piece in pieces.items() if piece != self.unk}
        self._has_prefix = processor.normalize("x").startswith(SPACE)

    def encode_batch(self, texts: Sequence[str]) -> list[IntArray]:
        rows: list[IntArray] = self.processor.encode([*texts], return_type="numpy", num_threads=1)
        return rows

    def offsets(self, text: str) -> list[tuple[int, int, int]]:
        """As the protocol; the library's own offsets cut in two what becomes two characters."""
        found = self.processor.encode(text, return_type="offset_mapping")
        ids = found["ids"]
        lengths = [
            1 if self.processor.is_byte(token_id) else len(piece.encode())
            for token_id, piece in zip(ids, found["pieces"], strict=True)
        ]
        normalized, places = self.processor.normalize(text, with_offsets=True)
        starts = np.array(places)  # of each normalized character in the text, and its end
        after = np.searchsorted(starts, starts, side="right").clip(max=len(normalized))
        stops = starts[after]
        if self._has_prefix:
            stops[0] = starts[0]  # it stands for no character
        firsts, lasts = character_spans(normalized, lengths)
        return [*zip(ids, starts[firsts].tolist(), stops[lasts].tolist(), strict=True)]

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self.processor.decode([*ids])
        return text

    def token(self, token_id: int) -> str:
        return self.processor.id_to_piece(token_id)

    def spelling(self, token_id: int) -> bytes:
        piece = self.token(token_id)
        if BYTE_PIECE.fullmatch(piece):
            return bytes.fromhex(piece[3:-1])
        return piece.replace(SPACE, " ").encode()


class LosslessVocabulary(ByteTokens, SentencePieceVocabulary):
    """A model that changes nothing and has a token for every byte."""

    def __init__(self, file: Path, processor: sentencepiece.SentencePieceProcessor) -> None:
        super().__init__(file, processor)
        own = SentencePieceVocabulary.spelling
        self.tokens = [own(self, token_id) for token_id in range(self.size)]
        self._space_ids = [processor.piece_to_id(f"<0x{byte:02X}>") for byte in SPACE.encode()]

    def encode_batch(self, texts: Sequence[str]) -> list[IntArray]:
        rows = super().encode_batch(texts)
        for number, text in enumerate(texts):
            if SPACE in text:
                first, *others = super().encode_batch(text.split(SPACE))
                spelled = [part for row in others for part in (self._space_ids, row)]
                rows[number] = np.concatenate([first, *spelled], dtype=np.int32)
        return rows

    def offsets(self, text: str) -> list[tuple[int, int, int]]:
        ids = self.encode_batch([text])[0].tolist()
        firsts, lasts = character_spans(text, [len(self.tokens[token_id]) for token_id in ids])
        return [*zip(ids, firsts.tolist(), (lasts + 1).tolist(), strict=True)]


def character_spans(text: str, lengths: Sequence[int]) -> tuple[IntArray, IntArray]:
    """First and last character of each of the runs of bytes, of these lengths, of a text."""
    data = np.frombuffer(text.encode(), np.uint8)
    character = np.cumsum((data & 0xC0) != 0x80, dtype=np.int32) - 1  # 10xxxxxx continues one
    sizes = np.array(lengths, np.int64)
    stops = sizes.cumsum()
    return character[stops - sizes], character[stops - 1]


def load_sentencepiece(file: Path) -> SentencePieceVocabulary:
    """Open a SentencePiece model."""
    processor = open_model(file, file.read_bytes())
    kind = LosslessVocabulary if keeps_everything(processor) else SentencePieceVocabulary
    return kind(file, processor)


def open_model(file: Path, proto: bytes) -> sentencepiece.SentencePieceProcessor:
    """Open a SentencePiece model that was read from a file."""
    processor = sentencepiece.SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(proto)
    except RuntimeError as problem:
        raise InputError(
            str(file), "not a SentencePiece model; name another file, or copy it again"
        ) from problem
    return processor


def keeps_everything(processor: sentencepiece.SentencePieceProcessor) -> bool:
    """Whether the model normalises nothing and has a token for every byte.

    Tried with spaces and every character below U+10000, of which each normalisation changes some.
    """
    characters = "".join(chr(code) for code in range(0x10000) if not 0xD800 <= code < 0xE000)
    text = f"  {characters}  "
    num_bytes = sum(map(processor.is_byte, range(processor.piece_size())))
    return num_bytes == 256 and processor.normalize(text) == text.replace(" ", SPACE)


def train_sentencepiece(
    documents: Iterable[str], vocab_size: int, model_type: Literal["unigram", "bpe"]
) -> bytes:
    """Learn a vocabulary that loses nothing; the same model for the same documents."""
    model = io.BytesIO()
    failures: list[BaseException] = []
    sentencepiece.set_random_generator_seed(0)
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=remembering(sentences(documents), failures),
            model_writer=model,
            vocab_size=vocab_size,
            model_type=model_type,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            byte_fallback=True,
            split_digits=True,
            character_coverage=0.9995,
            input_sentence_size=4_000_000,
            unk_id=0,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as problem:
        if failures:
            raise failures[0] from None
        reason = str(problem).rpartition("]")[2].partition(" Increase vocab_size")[0].strip()
        reason = reason or "there is no text to learn from"
        raise InputError("--vocab-size", f"{vocab_size} cannot be met: {reason}") from problem
    return model.getvalue()


def remembering(parts: Iterable[str], failures: list[BaseException]) -> Iterator[str]:
    """The same; of an error on the way, the trainer would hand on no more than its words."""
    try:
        yield from parts
    except (Exception, KeyboardInterrupt) as error:
        failures.append(error)
        raise


def sentences(documents: Iterable[str]) -> Iterator[str]:
    """Cut documents into what the trainer accepts; nothing but five characters is left out."""
    for document in documents:
        for line in document.split("\n"):
            for part in UNTRAINABLE.split(line):
                for start in range(0, len(part), CHUNK):
                    yield part[start : start + CHUNK]
