"""Rows that ask the same: what a lesson teaches in two ways, and a score counts as new."""

from collections.abc import Iterator, Sequence

from glmctl.core.tasks.ask import Question

NUM_SHOWN = 3
Content = tuple[tuple[int, ...], tuple[str, ...]]


def content(question: Question) -> Content:
    """What the model reads, and what it can answer."""
    return question.part_a, question.answers


def repeats(
    learned: Sequence[Question], held: Sequence[Question], *, has_labels: bool
) -> Iterator[str]:
    """What a reader of the score should know about rows that ask the same, one line each.

    Args:
        learned: what is trained on.
        held: what is evaluated on.
        has_labels: a question has one right answer; else it may have several, in rows of its own.
    """
    first: dict[Content, Question] = {}
    unlike: list[tuple[Question, Question]] = []
    again: list[tuple[Question, Question]] = []
    for question in learned:
        earlier = first.setdefault(content(question), question)
        if earlier is question or not has_labels:
            continue
        is_alike = earlier.example.golds == question.example.golds
        (again if is_alike else unlike).append((earlier, question))
    copies = [(first[content(it)], it) for it in held if content(it) in first]
    share = len(copies) / max(len(held), 1)
    for pairs, what in (
        (unlike, "rows have another label than an earlier row of the same text; correct them"),
        (again, "rows repeat an earlier row, and so count more than others; leave them out"),
        (
            copies,
            f"held-out rows ({share:.1%}) are copies of training rows, so the score is too good "
            "for new rows; leave them out of one of the files",
        ),
    ):
        if pairs:
            places = [f"{a.example.place} and {b.example.place}" for a, b in pairs[:NUM_SHOWN]]
            more = ", ..." * (len(pairs) > NUM_SHOWN)
            yield f"{len(pairs):,} {what} ({', '.join(places)}{more})"
