"""Goes on with sequences of ids, as causal and chat models do, by the same search as blanks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from glmctl.core.decode.infill import Fed, Prompt
from glmctl.core.decode.search import Row, Rules


@dataclass(frozen=True)
class Beginning(Prompt):
    """A sequence to go on with; its ids are all in `part_a`."""

    layout: tuple[Sequence[int], Sequence[int]]
    """Both places of these ids and of all that may follow."""
    num_seen: int
    """Ids that see each other, the first ones."""

    def fed(self, sop: int) -> Fed:
        places, in_span = (row[: len(self.part_a)] for row in self.layout)
        return Fed(self.part_a, places, in_span, self.num_seen)

    def open(self, key: int) -> Row:
        places, in_span = (row[len(self.part_a) :] for row in self.layout)
        return OpenEnd(self.places, key, ahead=[*zip(places, in_span, strict=True)])


@dataclass
class OpenEnd(Row):
    """A sequence on its way."""

    ahead: Sequence[tuple[int, int]] = ()  # both places of what follows it

    def next_inputs(self, rules: Rules) -> Iterator[tuple[int, int, int]]:
        for beam in self.padded(rules.config.num_beams):
            yield beam.ids[-1], *self.ahead[len(beam.ids) - 1]
