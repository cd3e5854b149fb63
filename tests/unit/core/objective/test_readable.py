import numpy as np

from glmctl.core.objective.readable import Reader, attention_mask, show_bytes
from glmctl.core.tokenizer.load import find_tokenizer

TOKENIZER = find_tokenizer()
READER = Reader(TOKENIZER)
SPECIAL = TOKENIZER.special


def record(length: int, spans: list[tuple[int, int]]) -> dict[str, object]:
    """An example of [CLS] and copies of one token; spans in Part B order."""
    hidden = [place for start, stop in spans for place in range(start, stop)]
    part_a = [SPECIAL.cls]
    starts = {start for start, _ in spans}
    for place in range(1, length):
        if place in starts:
            part_a.append(SPECIAL.mask)
        elif place not in hidden:
            part_a.append(300)
    ids, targets, places = [*part_a], [*part_a], [[*range(len(part_a))], [0] * len(part_a)]
    for start, stop in spans:
        before = sum(min(s, start) < start for s, _ in spans)
        gone = sum(b - a for a, b in spans if a < start)
        ids += [SPECIAL.sop, *[300] * (stop - start)]
        targets += [*[300] * (stop - start), SPECIAL.eop]
        places[0] += [start - gone + before] * (stop - start + 1)
        places[1] += range(1, stop - start + 2)
    return {
        "line": 1,
        "objective": "token",
        "input_ids": ids,
        "target_ids": targets,
        "loss_mask": [0] * len(part_a) + [1] * (len(ids) - len(part_a)),
        "position_ids": places,
        "part_a_length": len(part_a),
        "spans": spans,
    }


def view(length: int, spans: list[tuple[int, int]], limit: int) -> list[tuple[object, ...]]:
    example = record(length, spans)
    tokens = READER.explain(example, limit).tokens
    num_a = sum(not token.is_part_b for token in tokens)
    assert [sum(t.sees) for t in tokens] == [num_a] * num_a + [*range(num_a + 1, len(tokens) + 1)]
    return [(t.index, t.num_skipped, t.reads, t.predicts, t.place, t.place_in_span) for t in tokens]


def test_part_a_sees_itself_and_part_b_sees_part_a_and_its_own_past():
    first = attention_mask(2, np.arange(4)).astype(int).tolist()
    assert first == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    assert attention_mask(4, np.arange(4)).all()
    assert attention_mask(5, np.array([3, 8, 9])).tolist()[1] == [True, True, False]


def test_a_short_example_is_shown_whole():
    word = READER.token(300)
    assert view(6, [(4, 5), (1, 3)], 20) == [
        (0, 0, "[CLS]", "", 0, 0),
        (1, 0, "[MASK 1]", "", 1, 0),
        (2, 0, word, "", 2, 0),
        (3, 0, "[MASK 2]", "", 3, 0),
        (4, 0, word, "", 4, 0),
        (5, 0, "sop", word, 3, 1),
        (6, 0, word, "eop", 3, 2),
        (7, 0, "sop", word, 1, 1),
        (8, 0, word, word, 1, 2),
        (9, 0, word, "eop", 1, 3),
    ]


def test_a_long_example_is_shown_around_its_blank_and_both_ends_of_the_span():
    shown = view(500, [(200, 230)], 20)
    indexes = [token[0] for token in shown]
    # Part A has 471 tokens: its ends, the blank at 200; the span is read from 471 to 501.
    for wanted in (0, 1, 199, 200, 201, 470, 471, 472, 500, 501):
        assert wanted in indexes
    gaps = [token[1] for token in shown if token[1]]
    assert len(shown) + len(gaps) <= 20
    assert sum(gaps) + len(shown) == 502
    assert shown[-1][:4] == (501, 0, READER.token(300), "eop")


def test_of_many_blanks_the_first_of_part_b_are_shown_with_what_stood_in_them():
    spans = [(start, start + 2) for start in range(1, 400, 4)][::-1]
    shown = view(500, spans, 20)
    assert {token[2] for token in shown if token[2].startswith("[MASK")} >= {
        "[MASK 100]",
        "[MASK 99]",
    }
    assert [token[2] for token in shown].count("sop") >= 2
    assert len(shown) >= 12


def test_labels_show_spaces_bytes_and_what_does_not_print():
    tokens = TOKENIZER.encode(" the\u200d\U0001f600\n", special=False)
    assert [READER.token(token) for token in tokens] == [
        *("\u2581the", "<0xE2>", "<0x80>", "<0x8D>", "<0xF0>", "<0x9F>", "<0x98>", "<0x80>"),
        "\\n",
    ]


def test_bytes_that_are_no_text_are_shown_one_by_one():
    assert show_bytes("caf\u00e9".encode() + b"\xf0\x9f") == "caf\u00e9<0xF0><0x9F>"


def test_a_replacement_character_of_the_text_stays_itself():
    assert READER.text_of(TOKENIZER.encode("a \ufffd b", special=False)) == "a \ufffd b"
