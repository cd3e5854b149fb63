"""How examples are shown: in two lines, drawn token by token, on a page, or counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from glmctl.cli import render

if TYPE_CHECKING:
    from glmctl.core.objective.explanation import Explanation, TokenView
    from glmctl.core.objective.readable import Part
    from glmctl.core.objective.statistics import SpanStatistics

PAGE = Path(__file__).parents[1] / "assets" / "explanation.html"
MOST_TOKENS = 64
"""Of an example on a page or in a pipe; a terminal may hold fewer."""
FEWEST_TOKENS = 12
HEADINGS = ("#", "reads", "predicts", "place", "in span")
WIDTHS = (5, 14, 14, 5, 7)
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
    room = render.out.width - sum(WIDTHS) - 2 * len(WIDTHS) - 1
    return min(max(room, FEWEST_TOKENS), MOST_TOKENS)


def draw(example: Explanation) -> None:
    """Print an example: its parts, then a row a token, with what it sees on the right."""
    tokens = example.tokens
    render.out.print(Text(title(example), style="bold"))
    say_parts(example.part_a, example.part_b)
    names = ["A", *("B" if opens_part_b(tokens, n) else " " for n in range(1, len(tokens)))]
    draw_row(HEADINGS, "dim", tokens, [(name, "dim") for name in names])
    for number, token in enumerate(tokens):
        if token.num_skipped:
            render.out.print(Text(f"{ELLIPSIS:>5}  {token.num_skipped:,} more", style="dim"))
        elif opens_part_b(tokens, number):
            render.out.print()
        grid = [
            (SEEN, "magenta" if key.is_part_b else "cyan") if is_seen else (UNSEEN, "dim")
            for key, is_seen in zip(tokens, token.sees, strict=True)
        ]
        draw_row(values_of(token), "bold cyan" if token.is_blank else "", tokens, grid)
    render.out.print()


def draw_row(
    values: Sequence[str], style: str, tokens: Sequence[TokenView], grid: Sequence[tuple[str, str]]
) -> None:
    """Print values, and a sign a token; a space where some are left out and before Part B."""
    row = Text(cells(values), style)
    for number, (token, cell) in enumerate(zip(tokens, grid, strict=True)):
        row.append(" " * (token.num_skipped > 0 or opens_part_b(tokens, number)))
        row.append(*cell)
    row.rstrip()
    render.out.print(row)


def values_of(token: TokenView) -> tuple[str, ...]:
    """What stands under the headings."""
    places = str(token.place), str(token.place_in_span)
    return (str(token.index), token.reads, token.predicts or "", *places)


def title(example: Explanation) -> str:
    num_spans = sum(is_blank for _, is_blank in example.part_b)
    shown = len(example.tokens)
    some = "" if shown == example.num_tokens else f", {shown:,} of them shown"
    return (
        f"line {example.line:,}, {example.objective} objective: "
        f"{num_spans} span{'' if num_spans == 1 else 's'}, {example.num_tokens:,} tokens{some}"
    )


def opens_part_b(tokens: Sequence[TokenView], number: int) -> bool:
    return tokens[number].is_part_b and not tokens[number - 1].is_part_b


def cells(values: Iterable[str]) -> str:
    """A row of the table, each value in its width; words to the left, numbers to the right."""
    row = []
    for value, heading, width in zip(values, HEADINGS, WIDTHS, strict=True):
        if cell_len(value) > width:
            value = set_cell_size(value, width - 1) + ELLIPSIS
        padding = " " * (width - cell_len(value))
        row.append(value + padding if heading in ("reads", "predicts") else padding + value)
    return "  ".join([*row, ""])


def write_page(file: Path, examples: Sequence[Explanation]) -> None:
    """Write a page that explains examples."""
    page = PAGE.read_text(encoding="utf-8")
    page = page.replace("$examples", "\n".join(map(draw_html, examples)))
    file.write_text(page, encoding="utf-8")
    render.note(f"{file}: {len(examples)} example{'' if len(examples) == 1 else 's'}")


def draw_html(example: Explanation) -> str:
    """One example of the page; all that comes from the text is escaped."""
    tokens = example.tokens
    head = [f"<th>{name}</th>" for name in HEADINGS] + [
        f'<th class="{html_class(token)}"><span>{escape(token.reads)}</span></th>'
        for token in tokens
    ]
    rows = [
        f'<tr class="{html_class(token)}">'
        + "".join(f"<td>{escape(value)}</td>" for value in values_of(token))
        + "".join(
            f'<td class="{"on" if is_seen else "off"} {html_class(key)}"></td>'
            for key, is_seen in zip(tokens, token.sees, strict=True)
        )
        + "</tr>"
        for token in tokens
    ]
    return "\n".join(
        [
            f"<section><h2>{escape(title(example))}</h2>",
            f'<p class="part"><b>Part A</b> {html_part(example.part_a)}</p>',
            f'<p class="part"><b>Part B</b> {html_part(example.part_b)}</p>',
            f'<div class="wide"><table><tr>{"".join(head)}</tr>',
            *rows,
            "</table></div></section>",
        ]
    )


def html_part(part: Part) -> str:
    return "".join(
        f"<mark>{escape(text)}</mark>" if is_blank else escape(text) for text, is_blank in part
    )


def html_class(token: TokenView) -> str:
    """Which part a token is of, whether it is a blank, and whether tokens before it are hidden."""
    part = "b" if token.is_part_b else "a"
    return part + " blank" * token.is_blank + " gap" * bool(token.num_skipped)


def show_statistics(found: SpanStatistics, *, as_json: bool) -> None:
    """Print one object, or for each objective its figures and the histogram of its spans."""
    if as_json:
        render.show(found, as_json=True)
        return
    for name, statistics in found.objectives.items():
        render.out.print(Text(f"{name} objective", style="bold"))
        values = asdict(statistics)
        lengths, law = values.pop("span_lengths"), values.pop("law_share")
        for line in render.value_lines(values, indent="  "):
            render.out.print(line)
        if lengths:
            render.out.print()
            columns = [found.span_length_unit, "spans", "%", *(["law %"] if law else []), ""]
            render.table(columns, histogram(lengths, law))
        render.out.print()
    values = asdict(found) | asdict(found.test) if found.test else asdict(found)
    left_out = ("objectives", "test", "span_length_unit")
    rest = {name: value for name, value in values.items() if name not in left_out}
    for line in render.value_lines(rest):
        render.out.print(line)


def histogram(counts: Mapping[int, int], law: Sequence[float] | None) -> Iterator[list[str]]:
    """A row for each span length, or range of them: spans, their share, that of the law, a bar."""
    total, longest = sum(counts.values()), max(counts, default=0)
    ranges = [(length, length) for length in range(1, min(longest, NUM_LENGTHS) + 1)]
    while ranges and ranges[-1][1] < longest:
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
