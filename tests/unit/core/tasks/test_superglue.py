"""What a model reads for each pattern of SuperGLUE, written out from the released code's table."""

import pytest

ENTAILMENT = {
    "premise": "The cat sat.", "hypothesis": "A cat sat.", "label": "entailment", "idx": 0,
}  # fmt: skip
BOOLQ = {"passage": "The oven is on.", "question": "is it hot", "label": True, "idx": 3}
WIC = {
    "word": "oven", "sentence1": "A hot oven.", "sentence2": "An oven of time.", "label": False,
    "idx": 1,
}  # fmt: skip
MULTIRC = {
    "idx": 7,
    "passage": {
        "text": "The cat sat.",
        "questions": [
            {
                "idx": 2,
                "question": "Who sat?",
                "answers": [
                    {"idx": 0, "text": "The cat", "label": 1},
                    {"idx": 1, "text": "a dog", "label": 0},
                ],
            }
        ],
    },
}
WSC = {
    "text": "The cat saw Tom , so it ran.", "label": True, "idx": 5,
    "target": {"span1_index": 0, "span1_text": "The cat", "span2_index": 5, "span2_text": "it"},
}  # fmt: skip
COPA = {
    "premise": "My body cast a shadow.", "choice1": "The sun was rising.",
    "choice2": "The grass was cut.", "question": "cause", "label": 0, "idx": 0,
}  # fmt: skip
RECORD = {
    "idx": 4,
    "passage": {
        "text": "Ann met Bob.\n@highlight\nAnn is here",
        "entities": [{"start": 8, "end": 10}, {"start": 0, "end": 2}, {"start": 24, "end": 26}],
    },
    "qas": [
        {"idx": 9, "query": "Later @placeholder left.", "answers": [{"text": "Bob"}]},
        {"idx": 10, "query": "@placeholder is here.", "answers": [{"text": "Ann"}]},
    ],
}


@pytest.mark.parametrize(
    ("name", "record", "pattern", "text", "words"),
    [
        ("rte", ENTAILMENT, 0, '"A cat sat" ?[MASK], "The cat sat."', [" Yes", " No"]),
        ("rte", ENTAILMENT, 1, "A cat sat?[MASK], The cat sat.", [" Yes", " No"]),
        ("rte", ENTAILMENT, 2, '"A cat sat" ?[MASK]. "The cat sat."', [" Yes", " No"]),
        ("rte", ENTAILMENT, 3, "A cat sat?[MASK]. The cat sat.", [" Yes", " No"]),
        (
            "rte", ENTAILMENT, 4,
            "The cat sat. question: A cat sat True or False? answer:[MASK]", [" true", " false"],
        ),
        ("cb", ENTAILMENT, 0, '"A cat sat" ?[MASK], "The cat sat."', [" Yes", " No", " Maybe"]),
        ("cb", ENTAILMENT, 1, "A cat sat?[MASK], The cat sat.", [" Yes", " No", " Maybe"]),
        ("cb", ENTAILMENT, 2, '"A cat sat" ?[MASK]. "The cat sat."', [" Yes", " No", " Maybe"]),
        ("cb", ENTAILMENT, 3, "A cat sat?[MASK]. The cat sat.", [" Yes", " No", " Maybe"]),
        (
            "cb", ENTAILMENT, 4,
            "The cat sat. question: A cat sat. true, false or neither? answer:[MASK]",
            [" true", " false", " neither"],
        ),
        ("boolq", BOOLQ, 0, "The oven is on. Question: is it hot? Answer:[MASK].", [" No", " Yes"]),
        (
            "boolq", BOOLQ, 1, "The oven is on. Question: is it hot? Answer:[MASK].",
            [" false", " true"],
        ),
        (
            "boolq", BOOLQ, 2, "The oven is on. Based on the previous passage, is it hot?[MASK].",
            [" No", " Yes"],
        ),
        (
            "boolq", BOOLQ, 3, "The oven is on. Based on the previous passage, is it hot?[MASK].",
            [" false", " true"],
        ),
        (
            "boolq", BOOLQ, 4, "Based on the following passage is it hot?[MASK]. The oven is on.",
            [" No", " Yes"],
        ),
        (
            "boolq", BOOLQ, 5, "Based on the following passage is it hot?[MASK]. The oven is on.",
            [" false", " true"],
        ),
        (
            "wic", WIC, 0,
            '"A hot oven." / "An oven of time." Similar sense of "oven"?[MASK].', [" No", " Yes"],
        ),
        (
            "wic", WIC, 1,
            "A hot oven. An oven of time. Does oven have the same meaning in both sentences?[MASK]",
            [" No", " Yes"],
        ),
        (
            "wic", WIC, 2, 'oven . Sense (1) (a) "A hot oven." ([MASK]) "An oven of time."',
            ["2", "b"],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else None,
)  # fmt: skip
def test_words_of_a_verbalizer(builtin, ask, text_of, name, record, pattern, text, words):
    task = builtin(name).model_copy(update={"pattern": pattern})
    (question,) = ask(task, record)
    candidates = question.candidates
    assert {text_of(it.part_a) for it in candidates} == {f"[CLS]{text}<eos>"}
    assert [text_of(it.targets) for it in candidates] == words
    assert {text_of(it.part_a[it.place : it.place + 1]) for it in candidates} == {"[MASK]"}


@pytest.mark.parametrize(
    ("pattern", "text", "words"),
    [
        (0, "The cat sat. Question: Who sat? Is it {}?[MASK].", [" No", " Yes"]),
        (1, 'The cat sat. Question: Who sat? Is the correct answer "{}"?[MASK].', [" No", " Yes"]),
        (
            2, 'The cat sat. Based on the previous passage, Who sat? Is "{}" a correct answer?'
            "[MASK].", [" No", " Yes"],
        ),
        (3, "The cat sat Who sat- [[MASK]]{}", [" False", " True"]),
        (4, "The cat sat. Question: Who sat? {}?[MASK].", [" No", " Yes"]),
    ],
    ids=[0, 1, 2, 3, 4],
)  # fmt: skip
def test_multirc_asks_for_each_answer(builtin, ask, text_of, pattern, text, words):
    task = builtin("multirc").model_copy(update={"pattern": pattern})
    questions = ask(task, MULTIRC)
    assert [text_of(it.candidates[0].part_a) for it in questions] == [
        f"[CLS]{text.format(answer)}<eos>" for answer in ("The cat", "a dog")
    ]
    assert [text_of(it.targets) for it in questions[0].candidates] == words
    assert [it.example.id for it in questions] == [(7, 2, 0), (7, 2, 1)]
    assert {it.example.group for it in questions} == {(7, 2)}
    assert [it.example.golds for it in questions] == [("1",), ("0",)]


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (0, " The pronoun '*it*' refers to[MASK]."),
        (1, " In the previous sentence, the pronoun '*it*' refers to[MASK]."),
        (
            2, " Question: In the passage above, what does the pronoun '*it*' refer to?"
            " Answer:[MASK].",
        ),
    ],
    ids=[0, 1, 2],
)  # fmt: skip
def test_wsc_marks_the_pronoun_also_one_word_off(builtin, ask, text_of, pattern, text):
    task = builtin("wsc").model_copy(update={"pattern": pattern})
    (question,) = ask(task, WSC)
    (candidate,) = question.candidates
    assert text_of(candidate.part_a) == f"[CLS]The cat saw Tom , so *it* ran.{text}<eos>"
    assert text_of(candidate.targets) == " The cat<eop>"


def test_wsc_splits_a_word_that_goes_on_after_the_pronoun(builtin, ask, text_of):
    record = WSC | {"text": "The cat saw it, Tom ran."}
    record["target"] = record["target"] | {"span2_index": 3}
    (question,) = ask(builtin("wsc"), record)
    assert text_of(question.candidates[0].part_a).startswith("[CLS]The cat saw *it* , Tom ran. Q")


def test_wsc_puts_the_released_negatives_behind_the_claim(builtin, ask):
    record = WSC | {"candidates": [{"text": "Tom"}, {"text": "The cat"}, {"text": "Tom"}]}
    (question,) = ask(builtin("wsc"), record)
    assert question.answers == ("The cat", "Tom")


@pytest.mark.parametrize(
    ("kind", "pattern", "texts", "answers"),
    [
        (
            "cause", 0,
            ['"the sun was rising" or "the grass was cut"? My body cast a shadow because[MASK].'],
            [" the sun was rising", " the grass was cut"],
        ),
        (
            "effect", 1,
            ["the sun was rising or the grass was cut? My body cast a shadow, so[MASK]."],
            [" the sun was rising", " the grass was cut"],
        ),
        (
            "effect", 2,
            [
                '"the sun was rising" or "the grass was cut"? My body cast a shadow[MASK] ' + choice
                for choice in ("the sun was rising", "the grass was cut")
            ],
            [" so", " so"],
        ),
    ],
    ids=["cause", "effect", "reversed"],
)  # fmt: skip
def test_copa_offers_two_choices(builtin, ask, text_of, kind, pattern, texts, answers):
    task = builtin("copa").model_copy(update={"pattern": pattern})
    (question,) = ask(task, COPA | {"question": kind})
    part_a = dict.fromkeys(text_of(it.part_a) for it in question.candidates)
    assert [*part_a] == [f"[CLS]{text}<eos>" for text in texts]
    assert [text_of(it.targets) for it in question.candidates] == [f"{it}<eop>" for it in answers]


def test_record_offers_every_entity_once_in_order(builtin, ask, text_of):
    first, second = ask(builtin("record"), RECORD)
    passage = "Ann met Bob.\n- Ann is here"
    assert text_of(first.candidates[0].part_a) == f"[CLS]{passage} Later[MASK] left.<eos>"
    assert text_of(second.candidates[0].part_a) == f"[CLS]{passage} [MASK] is here.<eos>"
    assert [text_of(it.targets) for it in first.candidates] == [" Ann<eop>", " Bob<eop>"]
    assert (first.example.golds, first.example.id) == (("Bob",), (4, 9))


def test_curly_quotes_are_written_as_on_a_typewriter_but_not_for_copa(builtin, ask, text_of):
    (question,) = ask(builtin("boolq"), BOOLQ | {"passage": "It\u2019s \u201chot\u201d \u2013 on"})
    assert 'It\'s "hot" - on' in text_of(question.candidates[0].part_a)
    (question,) = ask(builtin("copa"), COPA | {"premise": "It\u2019s hot."})
    assert "It\u2019s hot because" in text_of(question.candidates[0].part_a)


def test_the_diagnostics_are_asked_as_rte(builtin, ask, text_of):
    record = {"sentence1": "The cat sat.", "sentence2": "A cat sat.", "label": "entailment"}
    (question,) = ask(builtin("axb"), record | {"idx": "0"})
    assert text_of(question.candidates[0].part_a) == (
        '[CLS]"A cat sat" ?[MASK], "The cat sat."<eos>'
    )
    assert builtin("axg").patterns == builtin("rte").patterns
    (question,) = ask(builtin("axg"), ENTAILMENT)
    assert text_of(question.candidates[0].part_a).endswith('The cat sat."<eos>')
