"""What a model reads for GLUE, topics, reviews and stances, from rows in their official formats."""

import pytest

from glmctl.core.tasks.read import read_examples

MNLI = "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse"
MNLI += "\tsentence1_parse\tsentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label"
FILES = {
    "sst2": ("dev.tsv", "sentence\tlabel", 'a "warm oven .\t1'),
    "cola": ("dev.tsv", 'gj04\t0\t*\tThe "oven is warm bread.'),
    "mrpc": (
        "dev.tsv", "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String",
        '1\t70\t71\tThe cat "sat.\tThe cat was sitting.',
    ),
    "qqp": (
        "dev.tsv", "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
        "9\t1\t2\tIs it hot?\tHow hot is it?\t0",
    ),
    "qnli": (
        "dev.tsv", "index\tquestion\tsentence\tlabel",
        "0\tWho sat?\tThe cat sat.\tentailment",
    ),
    "mnli": ("dev_matched.tsv", MNLI, "0\t1\t1n\tf\t(\t(\t(\t(\tA cat.\tA dog.\tx\tneutral"),
    "glue_rte": (
        "dev.tsv", "index\tsentence1\tsentence2\tlabel",
        "0\tThe cat sat.\tA cat sat.\tnot_entailment",
    ),
    "wnli": ("dev.tsv", "index\tsentence1\tsentence2\tlabel", "0\tThe cat sat.\tA cat sat.\t1"),
    "stsb": (
        "dev.tsv", "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1"
        "\tsentence2\tscore", '0\tnews\tf\t2012\t1\tn\tn\tThe "cat sat.\tThe cat lay.\t5',
    ),
    "agnews": ("test.csv", '"3","Bread, again","Prices rise\\fast."'),
    "yahoo_topics": ("test.csv", '"10","Who votes?","","All\\ndo."'),
    "yelp_polarity": ("test.csv", '"2","Warm ""bread""\\nhere"'),
    "yelp_full": ("test.csv", '"5","Warm bread"'),
    "xstance": (
        "test.jsonl",
        '{"id": 4, "language": "de", "question": "Mehr Brot?", "comment": "Gern.", '
        '"label": "FAVOR"}',
        '{"id": 5, "language": "fr", "question": "Du pain ?", "comment": "Trop.", '
        '"label": "AGAINST"}',
    ),
}  # fmt: skip
FILES["mnli_mm"], FILES["xstance_de"], FILES["xstance_fr"] = FILES["mnli"], *[FILES["xstance"]] * 2
CATS = "The cat sat."


@pytest.fixture
def asked(tmp_path, builtin, text_of, characters, sized):
    """For a task and pattern: text, words and right label of the first row."""
    from glmctl.core.tasks.ask import Asker

    def ask(name: str, pattern: int):
        file, *lines = FILES[name]
        (tmp_path / file).write_text("\n".join((*lines, "")), encoding="utf-8")
        task = builtin(name).model_copy(update={"pattern": pattern})
        asker = Asker(task, characters, sized(10_000))
        rows = read_examples(tmp_path / file, task)
        assert rows.problems == ()
        question = asker.ask(rows.examples[0])
        (text,) = {text_of(it.part_a) for it in question.candidates}
        words = [text_of(it.targets) for it in question.candidates]
        return text, words[question.answers.index(question.example.golds[0])]

    return ask


@pytest.mark.parametrize(
    ("name", "pattern", "text", "word"),
    [
        ("sst2", 0, 'a "warm oven . It was[MASK].', " great"),
        ("sst2", 1, 'a "warm oven . It was[MASK].', " good"),
        ("cola", 0, '"The "oven is warm bread." This is[MASK].', " incorrect"),
        ("mrpc", 0, 'The cat "sat.[MASK], the cat was sitting.', " Yes"),
        ("mrpc", 1, 'The cat "sat. Does it mean that The cat was sitting.?[MASK]', " Yes"),
        ("qqp", 0, "Is it hot? Do you mean how hot is it?[MASK].", " No"),
        ("qqp", 1, "Is it hot?[MASK], how hot is it?", " No"),
        ("qnli", 0, f"{CATS} Question: Who sat? Do you know the answer?[MASK].", " Yes"),
        (
            "qnli", 1,
            f"{CATS} Based on the previous passage, Who sat? Do you know the answer?[MASK].",
            " Yes",
        ),
        (
            "qnli", 2,
            f"Based on the following passage, Who sat? Do you know the answer?[MASK]. {CATS}",
            " Yes",
        ),
        ("mnli", 0, '"A cat." ?[MASK], "A dog."', " Maybe"),
        ("mnli", 1, "A cat.?[MASK],A dog.", " Maybe"),
        ("mnli", 2, '"A cat." ?[MASK], "A dog."', " Maybe"),
        ("mnli_mm", 3, "A cat.?[MASK],A dog.", " Maybe"),
        ("glue_rte", 0, f'"A cat sat" ?[MASK], "{CATS}"', " No"),
        ("glue_rte", 4, f"{CATS} question: A cat sat True or False? answer:[MASK]", " false"),
        ("wnli", 0, f'"A cat sat" ?[MASK], "{CATS}"', " Yes"),
        ("stsb", 0, 'The "cat sat.[MASK], the cat lay.', " Yes"),
        ("agnews", 0, "[MASK]: Bread, again Prices rise fast.", " Business"),
        ("agnews", 1, "[MASK] News: Bread, again Prices rise fast.", " Business"),
        ("agnews", 2, "Bread, again([MASK])Prices rise fast.", " Business"),
        ("agnews", 3, "Bread, again Prices rise fast.([MASK])", " Business"),
        ("agnews", 4, "[ Category:[MASK]] Bread, again Prices rise fast.", " Business"),
        ("agnews", 5, "[MASK]- Bread, again Prices rise fast.", " Business"),
        ("yahoo_topics", 1, "[MASK] Question: Who votes?  All do.", " Politics"),
        ("yelp_polarity", 0, 'It was[MASK]. Warm "bread" here', " good"),
        ("yelp_polarity", 1, 'Warm "bread" here. All in all, it was[MASK].', " good"),
        ("yelp_polarity", 2, 'Just[MASK]! Warm "bread" here', " good"),
        ("yelp_full", 3, "Warm bread In summary, the restaurant is[MASK].", " great"),
        ("xstance", 0, '"Mehr Brot?"[MASK]. "Gern."', " Ja"),
        ("xstance_de", 3, "Mehr Brot?[MASK]. Gern.", " Yes"),
        ("xstance_fr", 4, '"Du pain ?"[MASK]. "Trop."', " Non"),
    ],
)  # fmt: skip
def test_the_question_and_the_word_of_the_right_label(asked, name, pattern, text, word):
    assert asked(name, pattern) == (f"[CLS]{text}<eos>", word)


def test_words_of_mnli_stand_for_the_labels_of_the_released_code(builtin):
    task = builtin("mnli")
    words = [[*task.words(task.patterns[number]).values()] for number in range(4)]
    assert words == [[" Wrong", " Right", " Maybe"]] * 2 + [[" No", " Yes", " Maybe"]] * 2
