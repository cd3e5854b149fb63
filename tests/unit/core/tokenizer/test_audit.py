import json
from dataclasses import replace

import pytest

from glmctl.core.tokenizer.audit import SpecialToken, audit_vocabulary, special_tokens
from glmctl.core.tokenizer.base import Tokenizer
from glmctl.core.tokenizer.load import load_tokenizer
from glmctl.recipe.schema import TokenizerConfig


def wordpiece(file, special="glm-english-task", **settings) -> Tokenizer:
    config = TokenizerConfig(kind="wordpiece", path=str(file), special=special, **settings)
    return load_tokenizer(config)


def with_strings(tokenizer: Tokenizer, strings) -> Tokenizer:
    special = replace(tokenizer.special, strings=strings)
    return Tokenizer(tokenizer.vocabulary, special, tokenizer.size, tokenizer.config)


@pytest.fixture
def bert(wordpiece_file) -> Tokenizer:
    return wordpiece(wordpiece_file)


def test_there_is_nothing_to_say_against_good_vocabularies(bert, own_file, bpe_folder):
    own = load_tokenizer(TokenizerConfig(path=str(own_file)))
    gpt2 = load_tokenizer(
        TokenizerConfig(kind="byte_bpe", path=str(bpe_folder), special="glm-english-task")
    )
    assert [audit_vocabulary(tokenizer) for tokenizer in (bert, own, gpt2)] == [[], [], []]


def test_the_released_chinese_model_cannot_tell_a_blank_from_its_end(lossy_file):
    released = load_tokenizer(TokenizerConfig(path=str(lossy_file), special="glm-chinese-10b"))
    (finding,) = audit_vocabulary(released)
    assert (finding.kind, finding.where) == ("shared_id", "id 67")
    assert finding.what == (
        "<|endofpiece|> and [gMASK] share one id: the model cannot tell the end of a fill "
        "(<|endofpiece|>) and the document blank ([gMASK]) apart"
    )
    assert "keep it for the released 10b model" in finding.remedy
    assert "--special glm-chinese" in finding.remedy
    assert finding.spoils_training
    fixed = load_tokenizer(TokenizerConfig(path=str(lossy_file), special="glm-chinese"))
    assert audit_vocabulary(fixed) == []


def test_a_blank_that_shares_its_id_spoils_training_in_any_layout(bert):
    tokenizer = with_strings(bert, {**bert.special.strings, "[sMASK]": bert.special.sep})
    (finding,) = audit_vocabulary(tokenizer)
    assert finding.what == (
        "[SEP] and [sMASK] share one id: the model cannot tell the sentence blank ([sMASK]) and "
        "[SEP] apart"
    )
    assert finding.remedy == "give each token an id of its own: choose another --special"
    assert finding.spoils_training


def test_ends_that_share_an_id_do_no_harm(bpe_folder, tmp_path):
    """As RoBERTa, whose </s> ends documents and parts."""
    ids = json.loads((bpe_folder / "vocab.json").read_text())
    ids["</s>"] = ids.pop("<|endoftext|>")
    (tmp_path / "vocab.json").write_text(json.dumps(ids))
    (tmp_path / "merges.txt").write_bytes((bpe_folder / "merges.txt").read_bytes())
    tokenizer = load_tokenizer(
        TokenizerConfig(kind="byte_bpe", path=str(tmp_path), special="glm-english-task")
    )
    (finding,) = audit_vocabulary(tokenizer)
    assert finding.kind == "shared_id"
    assert finding.what == (
        "<|endoftext|> and [SEP] share one id: harmless, as no blank is made of them"
    )
    assert finding.remedy == "nothing to do; released models have this too"
    assert not finding.spoils_training


def test_ids_beyond_the_rows_of_a_model_are_named(bert):
    (finding,) = audit_vocabulary(bert, 18)
    assert (finding.kind, finding.where) == ("id_out_of_range", "special tokens")
    assert finding.what == (
        "ids must be below 18, and the tokenizer has 19; out of range are [sMASK] 18"
    )
    assert finding.remedy == "set model.vocab_rows to 19 or more, or choose another --special"
    assert finding.spoils_training
    assert audit_vocabulary(bert, 19) == []


def test_a_negative_id_is_out_of_range(bert):
    tokenizer = with_strings(bert, {**bert.special.strings, "[SEP]": -1})
    (finding,) = audit_vocabulary(tokenizer)
    assert (finding.kind, finding.what[-8:]) == ("id_out_of_range", "[SEP] -1")


def test_a_layout_without_an_end_of_fills_is_no_layout(bert):
    strings = dict(bert.special.strings)
    del strings["<|endofpiece|>"], strings["[PAD]"]
    (finding,) = audit_vocabulary(with_strings(bert, strings))
    assert finding.kind == "missing_token"
    assert finding.what == (
        "no <|endofpiece|> and no <|endoftext|>: no training example can be made"
    )
    assert finding.remedy == "choose another --special"
    assert finding.spoils_training


def test_a_layout_without_task_blanks_is_worth_a_note(wordpiece_file):
    (finding,) = audit_vocabulary(wordpiece(wordpiece_file, "glm-english"))
    assert finding.kind == "missing_token"
    assert finding.what == (
        "no [sMASK] and no [gMASK]: the sentence and document objectives use [MASK]"
    )
    assert "glm-english-task" in finding.remedy
    assert not finding.spoils_training


def test_pieces_with_capitals_are_never_used_by_a_lowercasing_tokenizer(tmp_path):
    file = tmp_path / "vocab.txt"
    file.write_text(
        "\n".join("[PAD] [UNK] [CLS] [SEP] [MASK] a b Ab ##b ##B e \u00e9 ##hot".split())
    )
    (finding,) = audit_vocabulary(wordpiece(file))
    assert (finding.kind, finding.where) == ("wrong_piece", str(file))
    assert finding.what == (
        "3 of 13 pieces are never used, as their text comes back as another: "
        "Ab becomes ab, B becomes b, \u00e9 becomes e"
    )
    assert finding.remedy.startswith("set tokenizer.lowercase to false")
    assert finding.spoils_training
    assert audit_vocabulary(wordpiece(file, lowercase=False)) == []


def test_pieces_that_stand_twice_are_named(tmp_path):
    file = tmp_path / "vocab.txt"
    file.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhot\noven\nhot\n")
    (finding,) = audit_vocabulary(wordpiece(file))
    assert (finding.kind, finding.what) == (
        "repeated_piece",
        "pieces that have several ids: 1 (hot)",
    )
    assert "only the last id is ever used" in finding.remedy
    assert not finding.spoils_training


def test_a_byte_bpe_that_lacks_bytes_loses_text(bpe_folder, tmp_path):
    ids = json.loads((bpe_folder / "vocab.json").read_text())
    ids["\u0100\u0100"] = ids.pop("q")  # no single byte is left for it
    (tmp_path / "vocab.json").write_text(json.dumps(ids))
    (tmp_path / "merges.txt").write_text("")
    tokenizer = load_tokenizer(
        TokenizerConfig(kind="byte_bpe", path=str(tmp_path), special="glm-english-task")
    )
    (finding,) = audit_vocabulary(tokenizer)
    assert (finding.kind, finding.where) == ("lost_character", str(tmp_path / "vocab.json"))
    assert finding.what == (
        "bytes are missing: 1 of 2,069 characters tried do not come back: U+0071"
    )
    assert finding.remedy == "add the bytes that are missing, or copy the vocabulary again"
    assert finding.spoils_training


def test_special_tokens_come_by_id_with_where_they_are_from(bert):
    tokens = special_tokens(bert)
    assert [token.id for token in tokens] == [0, 1, 2, 3, 4, 15, 16, 17, 18]
    assert tokens[4] == SpecialToken("[MASK]", 4, is_appended=False)
    assert tokens[-1] == SpecialToken("[sMASK]", 18, is_appended=True)
