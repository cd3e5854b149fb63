"""Released folders of ChatGLM and GLM-4 open with the tokenizer that lies in them."""

import json
import shutil
from pathlib import Path

import pytest

from glmctl.core.open import Glm, load
from glmctl.errors import InputError

GLM4_SIZES = {
    "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 1, "vocab_size": 352,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "pad_token_id": 330,
    "eos_token_id": [330, 337, 339],
}  # fmt: skip


@pytest.fixture
def folder(released, vocabularies: Path, tmp_path: Path):
    """Writes a folder of a family with so many rows: random weights and the small tokenizer."""

    def write(name: str, rows: int, **values: object) -> Path:
        place = tmp_path / name
        shutil.copytree(vocabularies / name, place)
        if name.startswith("glm-4-"):
            write_glm4(place, json.loads((place / "config.json").read_text())["model_type"])
            return place
        is_first = name.startswith("chatglm-") or name == "chatglm"
        shapes = released.CHATGLM if is_first else released.CHATGLM2
        config = released.CHATGLM_CONFIG if is_first else released.CHATGLM2_CONFIG
        grown = {key: (rows, 8) if size == (16, 8) and is_word(key) else size
                 for key, size in shapes.items()}  # fmt: skip
        key = "vocab_size" if is_first else "padded_vocab_size"
        config = {**config, key: rows, "_name_or_path": name, "eos_token_id": None} | values
        return released.write(place, config, released.tensors_of(grown))

    return write


def is_word(name: str) -> bool:
    return "word_embeddings" in name or name in (
        "lm_head.weight",
        "transformer.output_layer.weight",
    )


def write_glm4(folder: Path, model_type: str) -> None:
    transformers = pytest.importorskip("transformers")
    family = {"glm": "Glm", "glm4": "Glm4"}[model_type]
    config = getattr(transformers, f"{family}Config")(**GLM4_SIZES)
    getattr(transformers, f"{family}ForCausalLM")(config).save_pretrained(folder)


CHATGLM_IDS = {"bos_token_id": 129, "mask_token_id": 125, "gmask_token_id": 126}


def opened(folder, name: str) -> Glm:
    if name == "chatglm":
        return load(folder(name, 512, **CHATGLM_IDS))
    return load(folder(name, 400))


@pytest.mark.parametrize("name", ["chatglm", "chatglm2", "chatglm3", "glm-4", "glm-4-0414"])
def test_a_released_folder_opens_with_its_tokenizer(folder, name):
    glm = opened(folder, name)
    assert glm.tokenizer.config.special == name
    assert glm.tokenizer.decode(glm.tokenizer.encode("The oven is hot")) == "The oven is hot"


def test_the_first_chatglm_opens_with_its_image_tokens(folder):
    ids = {key: token + 20_000 for key, token in CHATGLM_IDS.items()}
    glm = load(folder("chatglm-150528", 20_480, **ids, eos_token_id=20_130))
    assert glm.tokenizer.config.num_image_tokens == 20_000
    assert glm.tokenizer.special.sop == glm.layout.sop == 20_129


@pytest.mark.parametrize("name", ["chatglm", "chatglm2", "glm-4-hf"])
def test_a_saved_copy_has_the_tokenizer_and_the_abilities(folder, name, tmp_path):
    glm = opened(folder, name)
    copy = load(glm.save(tmp_path / "copy"))
    assert copy.tokenizer.fingerprint == glm.tokenizer.fingerprint
    expected = {"chatglm": ("token", "prefix", "chat"), "chatglm2": ("causal", "chat")}
    assert copy.abilities == glm.abilities == expected.get(name, ("causal",))


def test_a_tokenizer_of_another_family_is_refused(folder, vocabularies):
    place = folder("chatglm2", 400, eos_token_id=2)
    shutil.copy(vocabularies / "glm-4" / "tokenizer.model", place)
    with pytest.raises(InputError) as caught:
        load(place)
    assert caught.value.place == str(place / "config.json")
    assert caught.value.problems[0] == (
        "eos_token_id is 2, and in tokenizer.model it is 330 (<|endoftext|>) or 337 (<|user|>) "
        "or 339 (<|observation|>)"
    )


def test_a_tokenizer_with_more_ids_than_the_model_has_rows_is_refused(folder):
    with pytest.raises(InputError, match="the tokenizer has 395 ids and the model 394 rows"):
        load(folder("chatglm2", 394))


def test_a_folder_without_the_files_opens_without_a_tokenizer(folder):
    place = folder("chatglm2", 400)
    (place / "tokenizer.model").unlink()
    assert load(place).tokenizer is None
