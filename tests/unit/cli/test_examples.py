import pytest

from glmctl.cli import render
from glmctl.cli.examples import cut, draw, draw_html, histogram
from glmctl.core.objective.readable import Explanation, TokenView


def token(index: int, reads: str, sees: tuple[bool, ...], *, num_skipped: int = 0) -> TokenView:
    return TokenView(
        index=index,
        num_skipped=num_skipped,
        reads=reads,
        predicts="<i>" if index == 9 else "",
        place=min(index, 7),
        place_in_span=max(index - 7, 0),
        is_part_b=index > 7,
        opens_part_b=index == 8,
        is_blank=reads.startswith("[MASK"),
        sees=sees,
    )


EXAMPLE = Explanation(
    line=1200,
    objective="token",
    num_tokens=10,
    part_a=[("a<b>", False), (" ", False), ("[MASK 1]", True)],
    part_b=[("[MASK 1]", True), (" ", False), ("&", False)],
    tokens=(
        token(0, "<b>", (True, True, False, False)),
        token(7, "[MASK 1]", (True, True, False, False), num_skipped=6),
        token(8, "sop", (True, True, True, False)),
        token(9, "\u9762\u5305" * 9, (True, True, True, True)),
    ),
)


def test_a_drawing_has_a_row_a_token_and_shows_where_some_are_left_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(render, "out", render.Console(markup=False, highlight=False))
    draw(EXAMPLE)
    assert capsys.readouterr().out.splitlines() == [
        "line 1,200, token objective: 1 span, 10 tokens, 4 of them shown",
        "A: a<b> [MASK 1]",
        "B: [MASK 1] &",
        "#  reads           predicts  place  in span  A   B",
        "0  <b>                           0        0  \u25a0 \u25a0 \u00b7\u00b7",
        "   \u2026 6 more",
        "7  [MASK 1]                      7        0  \u25a0 \u25a0 \u00b7\u00b7",
        "",
        "8  sop                           7        1  \u25a0 \u25a0 \u25a0\u00b7",
        "9  \u9762\u5305\u9762\u5305\u9762\u5305 \u2026  <i>           7        2  "
        "\u25a0 \u25a0 \u25a0\u25a0",
        "",
    ]


def test_nothing_of_a_text_is_markup_on_the_page():
    page = draw_html(EXAMPLE)
    assert page.count("<b>") == 2  # "Part A" and "Part B"
    assert page.count("<i>") == 0
    assert page.count("&lt;b&gt;") == 3  # in Part A, in its row and in its column
    assert page.count("&lt;i&gt;") == 1
    assert "</mark> &amp;</p>" in page


def test_the_page_marks_parts_blanks_and_gaps():
    page = draw_html(EXAMPLE)
    assert page.count('<tr class="a blank gap">') == 1
    assert page.count('<th class="a blank gap">') == 1
    assert page.count('<td class="on a blank gap">') == 4
    assert page.count('<td class="on b"></td>') == 3
    assert page.count('<td class="off b"></td>') == 5


def test_long_spans_share_rows_of_the_histogram():
    rows = [*histogram({1: 3, 21: 1, 39: 2, 90: 2}, None)]
    assert [row[0] for row in rows[:20]] == [str(length) for length in range(1, 21)]
    assert rows[0] == ["1", "3", "37.5", "#" * 40]
    assert rows[1] == ["2", "0", "0.0", ""]
    assert [row[:3] for row in rows[20:]] == [
        ["21-40", "3", "37.5"],
        ["41-80", "0", "0.0"],
        ["81-160", "2", "25.0"],
    ]


def test_the_law_stands_beside_what_was_drawn():
    assert [*histogram({1: 1, 2: 1}, [0.25, 0.75])] == [
        ["1", "1", "50.0", "25.0", "#" * 40],
        ["2", "1", "50.0", "75.0", "#" * 40],
    ]


def test_a_label_that_is_too_long_ends_with_an_ellipsis():
    assert cut("a" * 15) == "a" * 13 + "\u2026"
    assert cut("b" * 14) == "b" * 14
