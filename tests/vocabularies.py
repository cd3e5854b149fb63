"""Small vocabularies of ChatGLM and GLM-4, in the files in which the released models have them."""

from __future__ import annotations

import io
import json
from base64 import b64encode
from pathlib import Path

import sentencepiece
from sentencepiece.sentencepiece_model_pb2 import ModelProto
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

TEXT = [
    "The oven of the bakery is hot, and the bread is good.",
    "A bakery opens at six; the oven is hot at five. [Round 1] user",
    "\u9762\u5305\u5e97\u516d\u70b9\u5f00\u95e8\u3002\u70e4\u7bb1\u5f88\u70ed\uff0c\u9762\u5305"
    "\u5f88\u9999\u3002\u95ee\uff1a\u7b54\uff1a",
]
ICE = ["[MASK]", "[gMASK]", "[sMASK]", "<unused_0>", "<sop>", "<eop>", "<ENC>", "<dBLOCK>"]
GLM4 = [
    "<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|system|>", "<|user|>",
    "<|assistant|>", "<|observation|>", "<|begin_of_image|>", "<|end_of_image|>",
    "<|begin_of_video|>", "<|end_of_video|>",
]  # fmt: skip
GLM4_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def sentencepiece_model(**settings: object) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT),
        model_writer=model,
        model_type="bpe",
        minloglevel=2,
        **settings,
    )
    return model.getvalue()


def first_icetk() -> bytes:
    """The model of icetk, to which the first code adds tokens."""
    return sentencepiece_model(
        vocab_size=125, user_defined_symbols=["<n>"], pad_id=3, pad_piece="<pad>"
    )


def later_icetk() -> bytes:
    """The same with them."""
    proto = ModelProto.FromString(first_icetk())
    Piece = ModelProto.SentencePiece  # noqa: N806
    spaces = [f"<|blank_{number}|>" for number in range(2, 81)]
    for kind, texts in (
        (Piece.CONTROL, ICE),
        (Piece.USER_DEFINED, ["<|tab|>", *spaces]),
        (Piece.BYTE, [f"<0x{byte:02X}>" for byte in range(256)]),
    ):
        proto.pieces.extend(Piece(piece=text, score=0.0, type=kind) for text in texts)
    proto.trainer_spec.byte_fallback = True
    return proto.SerializeToString()


def glm4_library() -> Tokenizer:
    library = Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(GLM4_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    library.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    library.train_from_iterator(TEXT * 2, trainer)
    library.add_special_tokens(GLM4)
    return library


def rank_file(library: Tokenizer) -> str:
    """A line for each token of the vocabulary: its bytes in base64, and its id."""
    lines = []
    for token_id in range(library.get_vocab_size(with_added_tokens=False)):
        name = library.id_to_token(token_id)
        lines.append(f"{b64encode(bytes(map(byte_of, name))).decode()} {token_id}\n")
    return "".join(lines)


def byte_of(character: str) -> int:
    """The byte that byte-level BPE writes as this character."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return ord(character) if ord(character) < 256 else others[ord(character) - 256]


def write_vocabularies(root: Path) -> None:
    """A folder for each family, with its tokenizer and a config.json that names it."""
    plain = sentencepiece_model(
        vocab_size=390, byte_fallback=True, normalization_rule_name="identity",
        remove_extra_whitespaces=False,
    )  # fmt: skip
    library = glm4_library()
    files = {
        "chatglm": ("ice_text.model", later_icetk()),
        "chatglm-150528": ("ice_text.model", first_icetk()),
        "chatglm2": ("tokenizer.model", plain),
        "chatglm3": ("tokenizer.model", plain),
        "glm-4": ("tokenizer.model", rank_file(library).encode()),
        "glm-4-hf": ("tokenizer.json", library.to_str().encode()),
        "glm-4-0414": ("tokenizer.json", library.to_str().encode()),
    }
    kinds = {"glm-4-hf": "glm", "glm-4-0414": "glm4"}
    for name, (file, content) in files.items():
        (root / name).mkdir()
        (root / name / file).write_bytes(content)
        config = {"model_type": kinds.get(name, "chatglm"), "_name_or_path": f"THUDM/{name}-6b"}
        (root / name / "config.json").write_text(json.dumps(config))
    settings = {"tokenizer_class": "ChatGLMTokenizer", "num_image_tokens": 0}
    (root / "chatglm" / "tokenizer_config.json").write_text(json.dumps(settings))
