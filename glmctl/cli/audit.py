"""The modes --audit and --diff of `glmctl tokenize`: what a reader sees of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from typer import Exit

from glmctl.cli import render
from glmctl.cli.lines import Record, answer, place_of

if TYPE_CHECKING:
    from glmctl.core.tokenizer.base import Tokenizer

NUM_LINES = 10
BEFORE, AFTER = 30, 50  # characters shown of a line, on either side of its first difference


def audit_tokenizer(
    inputs: Sequence[str], tokenizer: Tokenizer, name: str, *, as_json: bool
) -> None:
    """Show what is wrong with a tokenizer; exit 1 when it would spoil training."""
    from glmctl.stages import tokenize as stage

    result = stage.audit(inputs, tokenizer, name, render.bar)
    if as_json:
        render.show(result, as_json=True)
    else:
        plain = {key: value for key, value in vars(result).items() if not isinstance(value, list)}
        for line in render.value_lines(plain):
            render.out.print(line)
        for records in ([*map(vars, result.scripts)], [*map(vars, result.unknown)]):
            rows = [[render.label_and_value(*item) for item in it.items()] for it in records]
            if rows:
                texts = [[text for _, text in row] for row in rows]
                render.say("")
                render.table([name for name, _ in rows[0]], texts)
        for finding in result.findings:
            weight = "spoils training" if finding.spoils_training else "note"
            render.say(f"\n{weight}: {finding.where}: {finding.what}\n  {finding.remedy}")
    if result.spoils_training:
        raise Exit(1)


def compare_tokenizers(
    inputs: Sequence[str], names: tuple[str, str], limit: int | None, *, as_json: bool
) -> None:
    """Show where two tokenizers cut a text differently, and the totals."""
    from glmctl.core.tokenizer.compare import Comparison
    from glmctl.core.tokenizer.load import find_tokenizer
    from glmctl.stages import tokenize as stage

    # No special token plays a part, so that any layout does for a vocabulary that can have two.
    tokenizers = [find_tokenizer(name, otherwise="glm-chinese") for name in names]
    comparison = Comparison(tokenizers, names)
    limit = NUM_LINES if limit is None and not as_json else limit
    different = stage.diff(inputs, comparison, limit)
    has_errors = answer(different, show_cuts, "DifferentLine" if as_json else None, blank=None)
    if not as_json:
        render.say("")
    render.show(comparison.result, as_json=as_json)
    if has_errors:
        raise Exit(1)


def show_cuts(record: Record) -> None:
    """Print the pieces of both cuts of a line, around the place where they begin to differ."""
    render.say(place_of(record))
    for side in ("a", "b"):
        pieces, offsets = record[side]["pieces"], record[side]["offsets"]
        shown = [
            number
            for number, (start, stop) in enumerate(offsets)
            if record["at"] - BEFORE <= stop and start < record["at"] + AFTER
        ]
        before = "... " if shown and shown[0] > 0 else ""
        after = " ..." if shown and shown[-1] < len(pieces) - 1 else ""
        text = "|".join(pieces[number] for number in shown)
        render.say(f"  {side.upper()}  {before}{text}{after}")
