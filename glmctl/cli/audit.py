"""The modes --audit and --diff of `glmctl tokenize`: what a reader sees of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from typer import Exit

from glmctl.cli import render

if TYPE_CHECKING:
    from glmctl.core.tokenizer.audit import Finding
    from glmctl.core.tokenizer.base import Piece, Tokenizer
    from glmctl.core.tokenizer.compare import Disagreement
    from glmctl.stages.tokenize import AuditResult, DiffResult

SHOWN_LINES = 10
BEFORE, AFTER = 30, 50
"""Characters shown of a line, on either side of its first difference."""


def audit_tokenizer(
    inputs: Sequence[str], tokenizer: Tokenizer, name: str, *, as_json: bool
) -> None:
    """Show what is wrong with a tokenizer; exit 1 when it would spoil training."""
    from glmctl.stages import tokenize as stage

    result = stage.audit(inputs, tokenizer, name, render.bar)
    if as_json:
        render.show(result, as_json=True)
    else:
        say_audit(result)
    if result.spoils_training:
        raise Exit(1)


def say_audit(result: AuditResult) -> None:
    """Print the tables of an audit that have a row, and its findings last."""
    shape = f"{result.kind}, {result.special}, {result.size:,} ids"
    render.say(f"{result.tokenizer} ({shape}{', loses nothing' if result.is_lossless else ''})\n")
    places = [
        (token.token, f"{token.id:,}", "appended" if token.is_appended else "vocabulary")
        for token in result.special_tokens
    ]
    render.table(("special token", "id", "from"), places)
    if result.text is not None:
        render.say("")
        render.show(result.text, as_json=False)
        render.say("")
        uses = [
            (
                use.script,
                f"{use.num_lines:,}",
                f"{use.num_characters:,}",
                f"{use.num_tokens:,}",
                f"{use.characters_per_token:.2f}",
            )
            for use in result.scripts
        ]
        render.table(("lines in", "lines", "characters", "tokens", "characters a token"), uses)
    if result.unknown:
        render.say("")
        rows = [
            (
                entry.script,
                f"{entry.count:,}",
                f"{entry.share:.1%}",
                f"{entry.num_distinct:,}",
                "  ".join(f"{c.character} {c.code} {c.where}" for c in entry.characters),
            )
            for entry in result.unknown
        ]
        render.table(("unknown", "count", "of the script", "different", "first in"), rows)
    render.say("")
    for finding in result.findings:
        say_finding(finding)
    if not result.findings:
        render.say("nothing to say against it")


def say_finding(finding: Finding) -> None:
    """Print a finding with its remedy."""
    weight = "spoils training" if finding.spoils_training else "note"
    render.say(f"{weight}: {finding.where}: {finding.what}")
    render.say(f"  {finding.remedy}")


def compare_tokenizers(
    inputs: Sequence[str], names: tuple[str, str], limit: int | None, *, as_json: bool
) -> None:
    """Show where two tokenizers cut a text differently, and the totals."""
    from glmctl.core.tokenizer.compare import Comparison
    from glmctl.core.tokenizer.load import find_tokenizer
    from glmctl.stages import tokenize as stage

    # No special token plays a part, so that any layout does for a vocabulary that can have two.
    comparison = Comparison(*[find_tokenizer(name, otherwise="glm-chinese") for name in names])
    if limit is None and not as_json:
        limit = SHOWN_LINES
    has_errors = False
    for lines in stage.diff(inputs, comparison, limit):
        for line, difference in lines:
            has_errors |= line.error is not None
            place = {"file": line.file, "line": line.line}
            if difference is None and as_json:
                render.emit("DifferentLine", {**place, "error": line.error})
            elif difference is None:
                render.complain(f"{line.place}: {line.error}")
            elif as_json:
                render.emit("DifferentLine", place | record_of(line.text, difference))
            else:
                render.say(line.place)
                sides = zip("AB", difference.sides, comparison.tokenizers, strict=True)
                for name, pieces, tokenizer in sides:
                    cut = cut_text(line.text, pieces, difference.at, tokenizer.special.unk)
                    render.say(f"  {name}  {cut}")
        render.flush()
    result = stage.diff_result(comparison, names)
    if as_json:
        render.emit("DiffResult", asdict(result))
    else:
        say_diff(result)
    if has_errors:
        raise Exit(1)


def record_of(text: str, difference: Disagreement) -> dict[str, Any]:
    """A line that is cut differently, as JSON."""
    record: dict[str, Any] = {"text": text, "at": difference.at}
    for name, pieces in zip("ab", difference.sides, strict=True):
        record[name] = {
            "ids": [piece.id for piece in pieces],
            "pieces": [piece.text for piece in pieces],
            "offsets": [[piece.start, piece.stop] for piece in pieces],
        }
    return record


def cut_text(text: str, pieces: Sequence[Piece], at: int, unk: int) -> str:
    """The part of a line around a place, with bars where it is cut.

    An unknown piece stands as the vocabulary spells it, as does one that covers nothing; of a
    character in several pieces, all but the first are a tilde.
    """
    shown = [piece for piece in pieces if piece.start < at + AFTER and piece.stop >= at - BEFORE]
    parts, covered = [], -1
    for piece in shown:
        part = text[piece.start : piece.stop]
        if piece.id == unk or not part:
            part = piece.text
        elif piece.stop <= covered:
            part = "~"
        parts.append(part.replace("\n", "\\n").replace("\t", "\\t"))
        covered = piece.stop
    before = "... " if shown[:1] != list(pieces[:1]) else ""
    after = " ..." if shown[-1:] != list(pieces[-1:]) else ""
    return f"{before}{'|'.join(parts)}{after}"


def say_diff(result: DiffResult) -> None:
    """Print the totals of two tokenizers."""
    rows = [
        (
            name,
            side.tokenizer,
            f"{side.num_tokens:,}",
            f"{side.tokens_per_line:.1f}",
            f"{side.characters_per_token:.2f}",
            f"{side.num_unknown:,}",
        )
        for name, side in (("A", result.a), ("B", result.b))
    ]
    render.table(
        ("", "tokenizer", "tokens", "tokens a line", "characters a token", "unknown"), rows
    )
    share = f"{result.different_share:.1%}"
    render.say(
        f"{result.num_different:,} of {result.num_lines:,} lines are cut differently ({share})"
    )
