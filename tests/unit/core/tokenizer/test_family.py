"""The tokenizers of ChatGLM and GLM-4, on small vocabularies in the files of the released ones."""

import json
import random
import shutil
from pathlib import Path

import pytest

from glmctl.core.tokenizer.audit import audit_vocabulary
from glmctl.core.tokenizer.load import find_tokenizer, load_tokenizer, released_tokenizer
from glmctl.errors import InputError, UsageError
from glmctl.recipe.model import TokenizerConfig

FAMILIES = ["chatglm", "chatglm-150528", "chatglm2", "chatglm3", "glm-4", "glm-4-hf", "glm-4-0414"]
GLM4 = ["glm-4", "glm-4-hf", "glm-4-0414"]


@pytest.fixture
def opened(vocabularies: Path):
    return lambda name: find_tokenizer(str(vocabularies / name))


@pytest.fixture
def copied(vocabularies: Path, tmp_path: Path):
    """A copy of a folder, with other keys in its config.json."""

    def copy(name: str, **config: object) -> Path:
        folder = shutil.copytree(vocabularies / name, tmp_path / "copy")
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    return copy


@pytest.mark.parametrize(
    ("name", "kind", "layout"),
    [
        ("chatglm", "sentencepiece", "chatglm"),
        ("chatglm2", "sentencepiece", "chatglm2"),
        ("chatglm3", "sentencepiece", "chatglm3"),
        ("glm-4", "tiktoken", "glm-4"),
        ("glm-4-hf", "tokenizer_json", "glm-4"),
        ("glm-4-0414", "tokenizer_json", "glm-4-0414"),
    ],
)
def test_a_folder_shows_which_tokenizer_it_has(opened, vocabularies, name, kind, layout):
    config = opened(name).config
    assert (config.kind, config.special) == (kind, layout)
    (file,) = set((vocabularies / name).iterdir()) - {
        vocabularies / name / "config.json",
        vocabularies / name / "tokenizer_config.json",
    }
    assert find_tokenizer(str(file)).fingerprint == opened(name).fingerprint


@pytest.mark.parametrize(("name", "first_id"), [("chatglm", 0), ("chatglm-150528", 20_000)])
def test_special_tokens_of_chatglm_are_pieces_behind_the_images(opened, name, first_id):
    tokenizer = opened(name)
    special = tokenizer.special
    found = (special.pad, special.eos, special.mask, special.gmask, special.smask, special.noise)
    assert [token - first_id for token in found] == [3, 2, 125, 126, 127, 132]
    assert [token - first_id for token in (special.unk, special.sop, special.eop)] == [0, 129, 130]
    assert tokenizer.size == first_id + 125 + 8 + 80 + 256


def test_special_tokens_of_chatglm2_and_3_follow_the_pieces(opened):
    for name, size in (("chatglm2", 395), ("chatglm3", 399)):
        tokenizer = opened(name)
        special = tokenizer.special
        assert (special.pad, special.unk, special.eos, tokenizer.size) == (0, 0, 2, size)
        assert (special.mask, special.gmask, special.smask) == (390, 391, 392)
        assert (special.sop, special.eop) == (393, 394)
    roles = ("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>")
    assert [tokenizer.encode(role) for role in roles] == [[395], [396], [397], [398]]


@pytest.mark.parametrize("name", GLM4)
def test_special_tokens_of_glm4_follow_the_ranks(opened, name):
    tokenizer = opened(name)
    special = tokenizer.special
    assert (special.pad, special.eos, special.mask, special.gmask) == (330, 330, 331, 332)
    assert (special.smask, special.sop, special.eop, tokenizer.size) == (333, 334, 335, 344)
    roles = ("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>")
    assert [tokenizer.encode(role) for role in roles] == [[336], [337], [338], [339]]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("The  oven\tis\n\n hot", "_The <|blank_2|> o ven <|tab|> is <n> <n> _hot"),
        ("is" + 81 * " " + "on" + 82 * " ", "_is <|blank_80|> _o n <|blank_80|> <|blank_2|>"),
        ("\n", "_ <n>"),
        ("", ""),
        ("is \n\t at", "_is _ <n> <|tab|> _at"),
        ("\U0001f600", "_ <0xF0> <0x9F> <0x98> <0x80>"),
        ("is [MASK]  on", "_is [MASK] _o n"),
    ],
)
def test_chatglm_has_tokens_for_whitespace(opened, text, pieces):
    shown = [piece.text.replace("\u2581", "_") for piece in opened("chatglm").pieces(text)]
    assert " ".join(shown) == pieces


def test_the_model_of_the_first_chatglm_is_completed_as_the_later_one_is(opened):
    first, later = opened("chatglm-150528"), opened("chatglm")
    rng = random.Random(3)
    letters = [*"ovenhotTheis.,;\n\t ", "  ", "   ", "\u9762", "[MASK]", "<eop>", "<n>", "\u00e9"]
    for _ in range(500):
        text = "".join(rng.choices([*letters, chr(rng.randrange(0xD000))], k=rng.randrange(20)))
        ids = later.encode(text)
        assert first.encode(text) == [token + 20_000 for token in ids]
        assert first.decode([token + 20_000 for token in ids]) == later.decode(ids)


def test_ids_of_images_stand_for_no_text(opened):
    tokenizer = opened("chatglm-150528")
    ids = tokenizer.encode("The oven")
    assert tokenizer.decode([7, *ids, 19_999]) == "The oven"
    assert tokenizer.token_text(7) == "<image_7>"


def test_whitespace_comes_back_from_chatglm(opened):
    text = "The  oven\n\tis" + 81 * " " + "hot <|blank_99|>"
    tokenizer = opened("chatglm")
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("name", FAMILIES)
def test_pieces_are_the_ids_and_cover_the_text_in_order(opened, name):
    tokenizer = opened(name)
    rng = random.Random(5)
    letters = [*"ovenhotTheis.,;\n\t ", "  ", "   ", "\u9762", "\U0001f600", "<|user|>", "[MASK]"]
    for _ in range(300):
        text = "".join(rng.choices(letters, k=rng.randrange(20)))
        pieces = tokenizer.pieces(text)
        assert [piece.id for piece in pieces] == tokenizer.encode(text)
        starts = [piece.start for piece in pieces]
        assert starts == sorted(starts)
        covered = {index for piece in pieces for index in range(piece.start, piece.stop)}
        bare = [index for index in range(len(text)) if index not in covered]
        assert all(text[index].isspace() for index in bare)


@pytest.mark.parametrize("name", GLM4)
def test_every_text_comes_back_from_glm4(opened, name):
    tokenizer = opened(name)
    assert tokenizer.is_lossless
    rng = random.Random(6)
    for _ in range(500):
        text = "".join(rng.choices([*"oven the\n\t ", "[MASK]", "sop", "\U0001f600"], k=12))
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert tokenizer.decode(tokenizer.encode(text, special=False)) == text


@pytest.mark.parametrize("name", ["chatglm2", "chatglm3", *GLM4])
def test_the_successors_keep_the_whitespace_around_a_blank(opened, name):
    tokenizer = opened(name)
    mask = tokenizer.special.mask
    sides = [tokenizer.encode(side) for side in ("hot ", " on")]
    assert tokenizer.encode("hot [MASK] on") == [*sides[0], mask, *sides[1]]


def test_a_user_cannot_write_the_tokens_of_a_role(opened):
    for name in ("chatglm3", *GLM4):
        tokenizer = opened(name)
        ids = tokenizer.encode("<|user|>", special=False)
        assert tokenizer.special.strings["<|user|>"] not in ids
        assert tokenizer.decode(ids) == "<|user|>"


def test_words_are_not_taken_for_the_tokens_sop_and_eop(opened):
    tokenizer = opened("chatglm3")
    ids = tokenizer.encode("sop eop")
    assert {tokenizer.special.sop, tokenizer.special.eop}.isdisjoint(ids)
    assert tokenizer.decode([tokenizer.special.sop, *ids]) == "sopsop eop"


@pytest.mark.parametrize("name", FAMILIES)
def test_a_saved_tokenizer_gives_the_same_ids(opened, name, tmp_path):
    tokenizer = opened(name)
    section = tokenizer.save(tmp_path)
    copy = load_tokenizer(section, tmp_path)
    assert copy.encode("The oven\n [MASK]") == tokenizer.encode("The oven\n [MASK]")
    assert copy.fingerprint == tokenizer.fingerprint


def test_the_images_are_part_of_the_fingerprint(vocabularies):
    file = str(vocabularies / "chatglm" / "ice_text.model")
    prints = {
        load_tokenizer(
            TokenizerConfig(path=file, special="chatglm", num_image_tokens=number)
        ).fingerprint
        for number in (0, 5)
    }
    assert len(prints) == 2


@pytest.mark.parametrize(
    ("config", "layout"),
    [
        ({"_name_or_path": "THUDM/chatglm2-6b-32k"}, "chatglm2"),
        ({"model_type": "chatglm", "_name_or_path": "me/codegeex2-6b"}, "chatglm2"),
        ({"_name_or_path": "zai-org/chatglm3-6b-base"}, "chatglm3"),
        ({"_name_or_path": "chatglm2", "chat_template": "ChatGLM: <|user|>"}, "chatglm3"),
    ],
)
def test_the_roles_or_the_name_tell_chatglm2_from_chatglm3(copied, config, layout):
    assert find_tokenizer(str(copied("chatglm2", **config))).config.special == layout


def test_a_model_that_may_be_either_is_named_in_a_warning(copied):
    folder = copied("chatglm2", model_type="chatglm", _name_or_path="/home/me/model")
    with pytest.warns(UserWarning, match='taken for ChatGLM3\'s. Write "_name_or_path"'):
        assert find_tokenizer(str(folder)).config.special == "chatglm3"
    assert find_tokenizer(str(folder), special="chatglm2").config.special == "chatglm2"


def test_a_tokenizer_model_that_names_no_chatglm_is_any_sentencepiece_model(copied):
    folder = copied("chatglm2", model_type="llama")
    with pytest.raises(UsageError, match="add --special glm-chinese"):
        find_tokenizer(str(folder))


def test_a_folder_without_tokenizer_files_has_no_tokenizer(tmp_path):
    assert released_tokenizer(tmp_path, {}) is None


def test_ids_that_a_config_states_otherwise_are_refused(vocabularies):
    stated = {"bos_token_id": 130_004, "gmask_token_id": 126, "eos_token_id": 130_005}
    with pytest.raises(InputError) as caught:
        released_tokenizer(vocabularies / "chatglm", stated)
    assert caught.value.place == str(vocabularies / "chatglm" / "config.json")
    assert caught.value.problems == (
        "eos_token_id is 130005, and in ice_text.model it is 130 (<eop>)",
        "bos_token_id is 130004, and in ice_text.model it is 129 (<sop>)",
        "take the tokenizer that came with the model",
    )
    agreeing = {"bos_token_id": 129, "gmask_token_id": 126, "mask_token_id": 125}
    assert released_tokenizer(vocabularies / "chatglm", agreeing | {"eos_token_id": 130})


@pytest.mark.parametrize(
    ("name", "ends"), [("chatglm2", 2), ("chatglm3", 2), ("glm-4", [330, 337, 339])]
)
def test_the_ends_that_a_config_states_are_those_of_the_family(vocabularies, name, ends):
    assert released_tokenizer(vocabularies / name, {"eos_token_id": ends}) is not None
    with pytest.raises(InputError, match=r"eos_token_id is \[7\], and in tokenizer.model it is"):
        released_tokenizer(vocabularies / name, {"eos_token_id": [7]})


@pytest.mark.parametrize(
    ("section", "where", "problem"),
    [
        ({"kind": "tiktoken", "special": "glmctl"}, "special", "layout 'glmctl' does not fit kind"),
        ({"special": "chatglm2", "noise_token": True}, "noise_token", "'chatglm2' has no more tok"),
        ({"special": "chatglm2", "num_sentinels": 2}, "num_sentinels", "has no more tokens; leave"),
        ({"num_image_tokens": 2}, "num_image_tokens", "with layout 'chatglm', not with 'glmctl'"),
    ],
    ids=["kind", "noise", "sentinels", "images"],
)
def test_keys_that_do_not_go_together_are_refused(section, where, problem):
    with pytest.raises(UsageError, match=rf"tokenizer.{where}: .*{problem}"):
        load_tokenizer(TokenizerConfig(**section))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("QQ== 0\nQg==\n", r"model:2: is b'Qg=='; expected base64 and a rank"),
        ("QQ== 0\nQg 1\n", r"model:2: is b'Qg 1'; expected base64 and a rank"),
        ("QQ== 0\nQg== " + "1" * 9999, r"model:2: is b'Qg== 1*'; expected base64 and a rank"),
        ("QQ== 0\nQg== 2\n", r"does not have the ranks 0, 1, ... once each"),
        ("QQ== 0\nQg== 1\nQw== 1\n", r"does not have the ranks 0, 1, ... once each"),
        ("QQ== 0\nQQ== 1\n", r"does not have the ranks 0, 1, ... once each, each of a token"),
        ("QQ== 0\nQg== 1\n", r"has no token for 254 of the 256 bytes"),
    ],
    ids=["line", "base64", "digits", "gap", "twice", "same", "bytes"],
)
def test_a_damaged_file_of_ranks_is_refused(tmp_path, content, problem):
    (tmp_path / "tokenizer.model").write_text(content)
    (tmp_path / "config.json").write_text('{"model_type": "chatglm"}')
    with pytest.raises(InputError, match=problem):
        find_tokenizer(str(tmp_path))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"model": {"type": "Unigram"}}, "is not a tokenizer in JSON"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "is BPE; expected a byte-level BPE, as GLM-4"),
        ({"added_tokens": "<|observation|>"}, "is not a tokenizer in JSON"),
        ({"added_tokens": [{"content": "x", "id": "<|observation|>"}]}, "is not a tokenizer in J"),
    ],
    ids=["model", "split", "tokens", "id"],
)
def test_a_json_file_of_another_kind_is_refused(copied, change, problem):
    folder = copied("glm-4-hf", model_type="glm")
    content = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(content | change))
    with pytest.raises(InputError, match=problem):
        find_tokenizer(str(folder))


def test_ranks_that_nothing_calls_glm4s_are_refused(copied):
    folder = copied("glm-4", model_type="llama", eos_token_id=2)
    for load in (find_tokenizer, lambda name: released_tokenizer(Path(name), {})):
        with pytest.raises(InputError, match=r"holds ranks .* names ChatGLM, GLM-4 or \[gMASK\]"):
            load(str(folder))
    assert find_tokenizer(str(folder), special="glm-4").config.special == "glm-4"
    settings = {"additional_special_tokens": ["[MASK]", "[gMASK]"]}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert find_tokenizer(str(folder)).config.special == "glm-4"


def test_ids_of_special_tokens_that_are_stated_otherwise_are_refused(copied):
    folder = copied("glm-4", model_type="chatglm")
    added = {"332": {"content": "[gMASK]"}, "901": {"content": "<sop>"}, "7": {"content": "?"}}
    settings = {"added_tokens_decoder": added}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(InputError) as caught:
        released_tokenizer(folder, {})
    assert caught.value.problems == (
        "<sop> is 901 in tokenizer_config.json, and in tokenizer.model it is 334",
        "take the tokenizer that came with the model",
    )


def test_a_json_file_without_the_tokens_of_the_family_is_refused(copied):
    folder = copied("glm-4-hf", model_type="glm")
    content = json.loads((folder / "tokenizer.json").read_text())
    content["added_tokens"] = content["added_tokens"][6:]
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"no vocabulary of glm-4: it has no <\|endoftext\|>, \["):
        find_tokenizer(str(folder))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "tokenizer_config.json: is not JSON"),
        ("[" * 100_000, "tokenizer_config.json: is not JSON"),
        ('{"num_image_tokens": "many"}', "num_image_tokens is 'many'; expected a whole number"),
        ('{"added_tokens_decoder": {"a": "b"}}', "added_tokens_decoder is no table of ids; take"),
    ],
    ids=["cut", "deep", "word", "ids"],
)
def test_damaged_settings_are_refused(copied, content, problem):
    folder = copied("chatglm")
    (folder / "tokenizer_config.json").write_text(content)
    with pytest.raises(InputError, match=problem):
        released_tokenizer(folder, {})


@pytest.mark.parametrize("name", FAMILIES)
def test_an_audit_names_the_status_and_nothing_else(opened, name):
    (finding,) = audit_vocabulary(opened(name))
    assert finding.kind == "conformance"
    assert "status conformance: tried on small vocabularies" in finding.what
    assert not finding.spoils_training
