import json
from dataclasses import replace

import pytest

from glmctl.core.tokenizer.audit import (
    ScriptUse,
    TextAudit,
    UnknownScript,
    audit_vocabulary,
    script_of,
)
from glmctl.core.tokenizer.base import Tokenizer
from glmctl.core.tokenizer.load import load_tokenizer
from glmctl.recipe.model import TokenizerConfig


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
        "<|endofpiece|> and [gMASK] share one id, so the model cannot tell them apart"
    )
    assert "keep it for the released 10b model" in finding.remedy
    assert "--special glm-chinese" in finding.remedy
    assert finding.spoils_training
    fixed = load_tokenizer(TokenizerConfig(path=str(lossy_file), special="glm-chinese"))
    assert audit_vocabulary(fixed) == []


def test_a_blank_that_shares_its_id_spoils_training_in_any_layout(bert):
    tokenizer = with_strings(bert, {**bert.special.strings, "[sMASK]": bert.special.sep})
    (finding,) = audit_vocabulary(tokenizer)
    assert finding.what == "[SEP] and [sMASK] share one id, so the model cannot tell them apart"
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
    assert finding.what == "<|endoftext|> and [SEP] share one id"
    assert finding.remedy == "nothing to do: no blank is made of them"
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


def test_a_layout_without_task_blanks_is_worth_a_note(wordpiece_file):
    (finding,) = audit_vocabulary(wordpiece(wordpiece_file, "glm-english"))
    assert finding.kind == "missing_token"
    assert finding.what == (
        "no [sMASK] and no [gMASK]: the sentence and document objectives use [MASK]"
    )
    assert "glm-english-task" in finding.remedy
    assert not finding.spoils_training


@pytest.mark.parametrize(
    ("character", "script"),
    [
        ("a", "Latin"),
        ("\uff41", "Latin"),
        ("\u4e00", "Han"),
        ("\uf900", "Han"),
        ("\u3042", "Hiragana"),
        ("\uff76", "Katakana"),
        ("\ud55c", "Hangul"),
        ("\u0416", "Cyrillic"),
        ("\u05d0", "Hebrew"),
        ("\u0946", "Devanagari"),
        ("\u0301", "marks"),
        ("\ufe0f", "marks"),
        ("6", "digits"),
        ("\u3002", "punctuation"),
        ("\U0001f600", "symbols"),
        (" ", "spaces"),
        ("\u200d", "controls"),
        ("\ue000", "controls"),
        ("\u0378", "controls"),
    ],
)
def test_each_character_has_a_script_or_says_what_it_is(character, script):
    assert script_of(character) == script


def read(tokenizer: Tokenizer, *texts: str) -> TextAudit:
    """Lines in two batches, numbered from 1."""
    audit = TextAudit(tokenizer)
    audit.add(texts[:1], ["a.txt:1"])
    audit.add(texts[1:], [f"a.txt:{number}" for number in range(2, len(texts) + 1)])
    return audit


def test_lines_count_for_the_script_of_most_of_their_letters(bert):
    audit = read(bert, "hello \u4f60", "", "\u4f60\u597d a 12345.", " \t", "1, 2")
    assert audit.scripts() == [  # in the last column: a, two characters, and each number
        ScriptUse("Han", 1, 11, 5, 2.2, 4),
        ScriptUse("Latin", 1, 7, 2, 3.5, 1),
        ScriptUse("digits", 1, 4, 3, 4 / 3, 2),
        ScriptUse("all", 3, 22, 10, 2.2, 7),
    ]


def test_without_text_there_is_nothing_to_count(bert):
    audit = read(bert, "", " ")
    assert (audit.scripts(), [*audit.findings()]) == ([], [])


def test_unknown_characters_come_by_script_with_their_first_lines(bert):
    audit = read(bert, "hello \u4f60.", "\u597d\u4f60 \U0001f600 great \u00df", "\u4f60")
    assert [*audit.unknown.values()] == [
        UnknownScript("Han", 4, {"\u4f60 U+4F60": "a.txt:1", "\u597d U+597D": "a.txt:2"}),
        UnknownScript("symbols", 1, {"\U0001f600 U+1F600": "a.txt:2"}),
        UnknownScript("Latin", 1, {"\u00df U+00DF": "a.txt:2"}),
    ]
    (finding,) = audit.findings()
    assert (finding.kind, finding.where) == ("unknown_characters", "text")
    assert finding.what == "6 of 9 tokens are unknown (66.7%): Han 4, symbols 1, Latin 1"
    assert "falls back to bytes, as glmctl-default" in finding.remedy
    assert finding.spoils_training


def test_no_more_than_five_characters_of_a_script_are_named(bert):
    han = read(bert, "\u4e00\u4e01\u4e02\u4e03\u4e04\u4e05").unknown["Han"]
    assert (han.num_unknown, len(han.first_in)) == (6, 5)


@pytest.mark.parametrize(("num_lines", "spoils"), [(99, True), (100, False)])
def test_a_few_unknown_characters_do_not_spoil_training(bert, num_lines, spoils):
    (finding,) = read(bert, "\u4f60", *["hello"] * (num_lines - 1)).findings()
    assert finding.spoils_training == spoils


def test_a_word_that_is_too_long_is_no_unknown_character(tmp_path):
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\na\n##a\n")
    audit = read(wordpiece(tmp_path), "aa", "a " + "a" * 101)
    assert audit.unknown == {}
    (finding,) = audit.findings()
    assert finding.what == "1 of 4 tokens are unknown (25.0%): words of more than 100 characters"
    assert finding.spoils_training


def test_a_vocabulary_with_every_byte_knows_every_character(own_file):
    own = load_tokenizer(TokenizerConfig(path=str(own_file)))
    audit = read(own, "The oven is hot.", "\ud55c\uae00", "[MASK] \u2581")
    assert [*audit.findings()] == []
    (hangul,) = [use for use in audit.scripts() if use.script == "Hangul"]
    assert (hangul.num_characters, hangul.num_tokens) == (2, 6)
