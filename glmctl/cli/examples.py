"""How examples are shown: in two lines, drawn token by token, on a page, or counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from glmctl.cli import render

if TYPE_CHECKING:
    from glmctl.core.objective.readable import Explanation, Part, TokenView
    from glmctl.core.objective.statistics import SpanStatistics

PAGE = Path(__file__).parents[1] / "assets" / "explanation.html"
MOST_TOKENS = 64  # of an example on a page or in a pipe; a terminal may hold fewer
FEWEST_TOKENS = 12
HEADINGS = ("#", "reads", "predicts", "place", "in span")
ROOM = 58  # cells before the grid, at most
WIDEST = 14  # cells of a label; longer ones are cut
SEEN, UNSEEN = "\u25a0", "\u00b7"
ELLIPSIS = "\u2026"
NUM_LENGTHS = 20
"""Span lengths that have a row of their own; longer ones share rows, each twice as wide."""
BAR_WIDTH = 40


def say_parts(part_a: Part, part_b: Part) -> None:
    """Print Part A and Part B; on a terminal, the names of the blanks stand out."""
    for name, parts in (("A", part_a), ("B", part_b)):
        if render.out.is_terminal:
            styled = [(text, "bold cyan" if is_blank else "") for text, is_blank in parts]
            render.out.print(Text.assemble((f"{name}: ", "dim"), *styled))
        else:
            render.say(f"{name}: {''.join(text for text, _ in parts)}".rstrip())


def tokens_on_screen() -> int:
    """How many tokens of an example can be seen beside their table."""
    if not render.out.is_terminal:
        return MOST_TOKENS
    return min(max(render.out.width - ROOM, FEWEST_TOKENS), MOST_TOKENS)


def draw(example: Explanation) -> None:
    """Print an example: its parts, then a row a token, with what it sees on the right."""
    tokens = example.tokens
    render.out.print(Text(title(example), style="bold"))
    say_parts(example.part_a, example.part_b)
    rows: list[list[str]] = []
    for token in tokens:
        if token.num_skipped:
            rows.append(["", f"{ELLIPSIS} {token.num_skipped:,} more", "", "", "", ""])
        elif token.opens_part_b:
            rows.append([""] * 6)
        signs = [SEEN if is_seen else UNSEEN for is_seen in token.sees]
        rows.append([*map(cut, values_of(token)), grid(tokens, signs)])
    starts = ["A", *("B" if token.opens_part_b else " " for token in tokens[1:])]
    render.table([*HEADINGS, grid(tokens, starts)], rows)
    render.out.print()


def grid(tokens: Sequence[TokenView], signs: Sequence[str]) -> str:
    """A sign a token; a space where some are left out and before Part B."""
    gaps = (" " if token.num_skipped or token.opens_part_b else "" for token in tokens)
    return "".join(gap + sign for gap, sign in zip(gaps, signs, strict=True))


def values_of(token: TokenView) -> list[str]:
    """What stands under the headings."""
    places = (str(token.place), str(token.place_in_span))
    return [str(token.index), token.reads, token.predicts, *places]


def cut(label: str) -> str:
    return label if cell_len(label) <= WIDEST else set_cell_size(label, WIDEST - 1) + ELLIPSIS


def title(example: Explanation) -> str:
    num_spans = sum(is_blank for _, is_blank in example.part_b)
    shown, spans = len(example.tokens), "span" if num_spans == 1 else "spans"
    some = "" if shown == example.num_tokens else f", {shown:,} of them shown"
    return (
        f"line {example.line:,}, {example.objective} objective: "
        f"{num_spans} {spans}, {example.num_tokens:,} tokens{some}"
    )


def write_page(file: Path, examples: Sequence[Explanation]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    page = page.replace("$examples", "\n".join(map(draw_html, examples)))
    file.write_text(page, encoding="utf-8")
    render.note(f"{file}: {len(examples)} example{'' if len(examples) == 1 else 's'}")


def draw_html(example: Explanation) -> str:
    """One example of the page; all that comes from the text is escaped."""
    tokens = example.tokens
    kinds = [  # the part of a token, whether it is a blank, whether some before it are hidden
        ("b" if it.is_part_b else "a") + " blank" * it.is_blank + " gap" * bool(it.num_skipped)
        for it in tokens
    ]
    head = "".join(f"<th>{name}</th>" for name in HEADINGS) + "".join(
        f'<th class="{kind}"><span>{escape(token.reads)}</span></th>'
        for token, kind in zip(tokens, kinds, strict=True)
    )
    rows = []
    for token, own_kind in zip(tokens, kinds, strict=True):
        values = "".join(f"<td>{escape(value)}</td>" for value in values_of(token))
        seen = "".join(
            f'<td class="{"on" if is_seen else "off"} {kind}"></td>'
            for kind, is_seen in zip(kinds, token.sees, strict=True)
        )
        rows.append(f'<tr class="{own_kind}">{values}{seen}</tr>\n')
    parts = ""
    for name, part in (("A", example.part_a), ("B", example.part_b)):
        marked = (f"<mark>{escape(it)}</mark>" if is_blank else escape(it) for it, is_blank in part)
        parts += f'<p class="part"><b>Part {name}</b> {"".join(marked)}</p>\n'
    return (
        f"<section><h2>{escape(title(example))}</h2>\n{parts}"
        f'<div class="wide"><table><tr>{head}</tr>\n{"".join(rows)}</table></div></section>'
    )


def show_statistics(found: SpanStatistics, *, as_json: bool) -> None:
    """Print for each objective its figures and the histogram of its spans, and the test."""
    if as_json:
        render.show(found, as_json=True)
        return
    for name, statistics in found.objectives.items():
        render.out.print(Text(f"{name} objective", style="bold"))
        values = dict(statistics)
        lengths, law = values.pop("span_lengths"), values.pop("law_share")
        for line in render.value_lines(values, indent="  "):
            render.out.print(line)
        if lengths:
            render.out.print()
            columns = [found.span_length_unit, "spans", "%", *(["law %"] if law else []), ""]
            render.table(columns, histogram(lengths, law))
        render.out.print()
    counts = {"num_lines": found.num_lines, "num_failed_lines": found.num_failed_lines}
    test = asdict(found.test) if found.test else {}
    for line in render.value_lines({**counts, "law": found.law, **test}):
        render.out.print(line)


def histogram(counts: Mapping[int, int], law: Sequence[float] | None) -> Iterator[list[str]]:
    """A row for each span length, or range of them: spans, their share, that of the law, a bar."""
    total, longest = sum(counts.values()), max(counts)
    ranges = [(length, length) for length in range(1, min(longest, NUM_LENGTHS) + 1)]
    while ranges[-1][1] < longest:
        last = ranges[-1][1]
        ranges.append((last + 1, 2 * last))
    sums = [sum(counts.get(k, 0) for k in range(first, last + 1)) for first, last in ranges]
    for (first, last), count in zip(ranges, sums, strict=True):
        yield [
            str(first) if first == last else f"{first}-{last}",
            f"{count:,}",
            f"{100 * count / total:.1f}",
            *([f"{100 * sum(law[first - 1 : last]):.1f}"] if law else []),
            "#" * round(BAR_WIDTH * count / max(sums)),
        ]
