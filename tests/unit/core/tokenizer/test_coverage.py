import pytest

from glmctl.core.tokenizer.coverage import Coverage, ScriptUse, UnknownCharacter, script_of
from glmctl.core.tokenizer.load import load_tokenizer
from glmctl.recipe.schema import TokenizerConfig


@pytest.fixture
def bert(wordpiece_file):
    return load_tokenizer(
        TokenizerConfig(kind="wordpiece", path=str(wordpiece_file), special="glm-english")
    )


@pytest.fixture
def own(own_file):
    return load_tokenizer(TokenizerConfig(path=str(own_file)))


def cover(tokenizer, *texts: str) -> Coverage:
    """Lines in two batches, numbered from 1."""
    coverage = Coverage(tokenizer)
    coverage.add(texts[:1], ["a.txt:1"])
    coverage.add(texts[1:], [f"a.txt:{number}" for number in range(2, len(texts) + 1)])
    return coverage


def kinds(coverage: Coverage) -> list[tuple[str, bool]]:
    return [(finding.kind, finding.spoils_training) for finding in coverage.findings()]


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
        ("\ue000", "private use"),
        ("\u0378", "unassigned"),
    ],
)
def test_each_character_has_a_script_or_says_what_it_is(character, script):
    assert script_of(character) == script


def test_lines_count_for_the_script_of_most_of_their_letters(bert):
    coverage = cover(bert, "hello \u4f60", "", "\u4f60\u597d a 12345.", " \t", "1, 2")
    assert coverage.scripts() == [
        ScriptUse("Han", 1, 11, 5, 2.2),
        ScriptUse("Latin", 1, 7, 2, 3.5),
        ScriptUse("digits", 1, 4, 3, 4 / 3),
    ]
    use = coverage.text_use()
    assert (use.num_lines, use.num_characters, use.num_tokens) == (3, 22, 10)
    assert use.characters_per_token == 2.2
    assert use.unknown_share == 0.7  # two, a word or more of each line


def test_unknown_characters_come_by_script_with_their_first_lines(bert):
    coverage = cover(bert, "hello \u4f60.", "\u597d\u4f60 \U0001f600 great \u00df", "\u4f60")
    han, symbols, latin = coverage.unknown_scripts()
    assert (han.script, han.count, han.share, han.num_distinct) == ("Han", 4, 1.0, 2)
    assert han.characters == [
        UnknownCharacter("\u4f60", "U+4F60", "CJK UNIFIED IDEOGRAPH-4F60", 3, "a.txt:1"),
        UnknownCharacter("\u597d", "U+597D", "CJK UNIFIED IDEOGRAPH-597D", 1, "a.txt:2"),
    ]
    assert (symbols.script, symbols.characters[0].code) == ("symbols", "U+1F600")
    assert (latin.script, latin.count, latin.share) == ("Latin", 1, 1 / 11)
    finding = coverage.findings()[0]
    assert (finding.kind, finding.where) == ("unknown_characters", "a.txt:1")
    assert finding.what == (
        "characters unknown to the vocabulary: 6 (66.7% of the tokens): "
        "Han 100.0%, symbols 100.0%, Latin 9.1%"
    )
    assert "falls back to bytes, as glmctl-default" in finding.remedy
    assert finding.spoils_training


def test_no_more_than_five_characters_of_a_script_are_named(bert):
    coverage = cover(bert, "\u4e00\u4e01\u4e02\u4e03\u4e04\u4e05")
    (han,) = coverage.unknown_scripts()
    assert (han.num_distinct, len(han.characters)) == (6, 5)


@pytest.mark.parametrize(("num_lines", "spoils"), [(99, True), (100, False)])
def test_a_few_unknown_characters_do_not_spoil_training(bert, num_lines, spoils):
    coverage = cover(bert, "\u4f60", *["hello"] * (num_lines - 1))
    assert kinds(coverage)[0] == ("unknown_characters", spoils)


def test_a_word_that_is_too_long_is_no_unknown_character(tmp_path):
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\na\n##a\n")
    bert = load_tokenizer(
        TokenizerConfig(kind="wordpiece", path=str(tmp_path), special="glm-english")
    )
    coverage = cover(bert, "aa", "a " + "a" * 101)
    assert coverage.unknown_scripts() == []
    finding = coverage.findings()[0]
    assert (finding.kind, finding.where) == ("unknown_words", "a.txt:2")
    assert finding.what == (
        "words unknown as a whole, of known characters: 1 (aaaaaaaaaaaaaaaaaaaa)"
    )
    assert "more than 100 characters" in finding.remedy
    assert finding.spoils_training


def test_lines_that_do_not_come_back_are_counted(bert):
    coverage = cover(bert, "hello world", "Hello", "hello, world")
    assert coverage.text_use().changed_share == 2 / 3
    (finding,) = coverage.findings()
    assert (finding.kind, finding.where) == ("changed_lines", "a.txt:2")
    assert finding.what == (
        "lines that do not come back as they were: 2 of 3 (case, accents, width, spaces, unknowns)"
    )
    assert "glmctl-default" in finding.remedy
    assert not finding.spoils_training


def test_a_vocabulary_of_bytes_that_loses_something_is_damaged(own):
    own.vocabulary.tokens[own.encode("q")[0]] = b"?"
    (finding,) = cover(own, "The oven", "q").findings()
    assert finding.what == "lines that do not come back as they were: 1 of 2"
    assert finding.remedy == "copy the vocabulary again"
    assert finding.spoils_training


def test_a_script_that_is_spelled_in_bytes_is_named(own):
    coverage = cover(own, "The oven is hot.", "\ud55c\uae00", "[MASK] \u2581")
    (finding,) = coverage.findings()
    assert finding.kind == "more_tokens_than_characters"
    assert finding.what == "lines in Hangul take more tokens than they have characters"
    assert "--train learns one" in finding.remedy
    assert not finding.spoils_training
