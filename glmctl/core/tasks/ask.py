"""Examples -> candidates for the scoring engine.

A word of a verbalizer and a candidate of a choice task are the same to it: tokens that could fill
the blank of a pattern. Where answers are written, the blank is left to the model; of a text, the
tokens themselves are scored. What is too long is shortened as in the released code: token by token
from the end of what may be shortened, on the longer side of the pattern first.
"""

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain, groupby

import numpy as np

from glmctl.core.decode.infill import Prompt, make_prompt
from glmctl.core.decode.score import Candidate
from glmctl.core.decode.search import Token
from glmctl.core.tasks.frame import Ids, frame_of
from glmctl.core.tasks.pattern import Unit, fill, shorten
from glmctl.core.tasks.read import Example
from glmctl.core.tasks.schema import (
    BLANK,
    CHOICE,
    LISTED,
    NO_PATTERN,
    SETS,
    SHOTS,
    SLOT,
    WRITTEN,
    PatternConfig,
    Policy,
    TaskConfig,
)
from glmctl.core.tasks.text_metrics import WORD
from glmctl.core.tokenizer.base import Tokenizer
from glmctl.errors import InputError, UsageError
from glmctl.recipe.model import ModelConfig
from glmctl.recipe.schema import AdapterConfig

SPACED_WORD = re.compile(rf" ?(?:{WORD.pattern})")


@dataclass(frozen=True)
class Around:
    """Tokens of a pattern before and behind its blank."""

    before: Ids
    after: Ids
    is_cut: bool


@dataclass(frozen=True)
class Evidence:
    """What a prediction rests on, of all candidates together."""

    log_prob: float
    num_tokens: int
    num_words: int
    """Of the text, but the first one."""


NO_EVIDENCE = Evidence(0.0, 0, 0)


@dataclass(frozen=True)
class Question:
    """An example as it is put to the model."""

    example: Example
    answers: tuple[str, ...]
    """What could fill the blank: labels, or the texts of choices."""
    candidates: tuple[Candidate, ...]
    is_cut: bool
    """Whether it was too long."""
    prompt: Prompt | None = None
    """What the model writes into, where answers are written."""
    num_shots: int = 0
    """Worked examples that it shows."""
    hidden: tuple[Ids, ...] = ()
    """Of kind infill: what stood in each blank."""

    @property
    def part_a(self) -> Ids:
        return self.candidates[0].part_a if self.prompt is None else self.prompt.part_a


@dataclass(frozen=True)
class Prediction:
    """What the model says to an example."""

    example: Example
    prediction: str
    scores: dict[str, float]
    evidence: Evidence = NO_EVIDENCE


class Asker:
    """A task and a tokenizer: lays examples out and reads the scores.

    Args:
        task: with the pattern to use.
        tokenizer: of the model.
        model: gives positions and attention.
        policy: whether listed answers are scored or written.
        adapter: says how many learned vectors stand in the pattern; None: none.

    Raises:
        UsageError: the task cannot be done so.
        InputError: the model cannot do the task.
    """

    def __init__(
        self,
        task: TaskConfig,
        tokenizer: Tokenizer,
        model: ModelConfig,
        policy: Policy = "auto",
        adapter: AdapterConfig | None = None,
    ) -> None:
        self.has_classes = task.head and (task.kind == "cloze" or task.first_is_claim)
        """A head scores all labels of one text; else, if there is one, each choice in a text."""
        self.task = task.model_copy(update={"first_is_claim": False}) if task.head else task
        task = self.task
        self.tokenizer = tokenizer
        self.special = tokenizer.special
        self.frame = frame_of(tokenizer, is_causal=model.attention == "causal")
        self.max_length = min(task.max_length, model.max_positions)
        self.encode = cache(lambda text: tuple(tokenizer.encode(text, special=False)))
        self.writes = policy == "decode" or (task.kind in WRITTEN and policy == "auto")
        """The model writes the answer; else listed ones are scored."""
        if policy != "auto" and task.kind not in LISTED + (WRITTEN if self.writes else ()):
            raise UsageError(
                f"{task.name}: decode.policy",
                f"is {policy}, but kind {task.kind} has no listed answers; write auto",
            )
        if (task.compares_three or task.scale) and self.writes:
            raise UsageError(f"{task.name}: decode.policy", "is decode; its metrics need scores")
        if task.head and self.writes:
            raise UsageError(f"{task.name}: decode.policy", "is decode, but a head answers")
        if self.frame.is_causal and self.writes:
            raise InputError(
                task.name,
                "answers of this task are written into blanks, which a causal model has not; "
                "choose a task of listed answers or of text",
            )
        self.pattern: PatternConfig = task.patterns[task.pattern] if task.patterns else NO_PATTERN
        (wish,) = BLANK.findall("".join(self.pattern.parts)) or ("[MASK]",)
        self.blank = self.special.strings.get(wish, self.special.mask)
        self.missing_blank = None if wish in self.special.strings else wish
        """The blank that the pattern wishes for and the model has not; asked with [MASK]."""
        self.lead = " " if any(f" {wish}" in part for part in self.pattern.parts) else ""
        words = task.words(self.pattern) if task.kind == "cloze" and not task.head else {}
        names = task.label_names if words else ()
        self.words = {label: self.encode(self.spaced(words[label])) for label in names}
        self.split_words = tuple(it for label, it in words.items() if len(self.words[label]) > 1)
        """Words of the verbalizer that the tokenizer cuts."""
        self.has_index = task.kind == "choice" and task.golds is None and not task.first_is_claim
        """Whether the label says which of the choices is right."""
        self.in_front: Ids = ()
        """Learned vectors before all else, which have ids below zero."""
        self.in_slots: Sequence[Ids] = ()
        """Those of each slot of the pattern."""
        if adapter is not None and adapter.kind == "p_tuning":
            self.place_vectors(adapter.num_prefix, adapter.num_vectors)

    def place_vectors(self, num_prefix: int, num_vectors: int) -> None:
        """Share learned vectors out: as many to each slot, the last ones fewer, as released.

        Without a slot all of them stand in front.

        Raises:
            UsageError: the task asks by no pattern.
        """
        if self.pattern is NO_PATTERN:
            problem = f"p_tuning puts vectors into a pattern, which kind {self.task.kind} has not"
            raise UsageError("adapter.kind", f"{problem}; choose another task")
        ids = [-1 - number for number in range(num_prefix + num_vectors)]
        num_slots = self.pattern.parts.count(SLOT)
        first = num_prefix if num_slots else len(ids)
        self.in_front, rest = tuple(ids[:first]), ids[first:]
        share = -(-len(rest) // max(1, num_slots))
        self.in_slots = [tuple(rest[n * share : (n + 1) * share]) for n in range(num_slots)]

    @property
    def scored_by(self) -> str:
        """What the best answer has the most of."""
        task, rest = self.task, " and what follows it" if self.frame.is_causal else ""
        if task.head:
            place = "last" if self.frame.is_causal else "first"
            return f"score of a head on the hidden state of the {place} token"
        if self.writes:
            how = "" if task.kind in WRITTEN else ", matched with the listed answers"
            return f"what the model writes ({task.decode.num_beams} beams){how}"
        if task.kind == "association":
            return "cosines of the mean hidden states of texts"
        if task.kind == "text":
            return "log-probability of every token but the first"
        if task.kind == "cloze":
            return f"{'logit' if self.by_logit else 'log-probability'} of the word{rest}"
        end = " and its end" if task.include_end and not rest else ""
        return f"log-probability of the choice{end}{rest} / tokens^{task.length_penalty:g}"

    @property
    def num_classes(self) -> int:
        """Scores that a head gives to a text."""
        return len(self.task.label_names) if self.has_classes else 1

    @property
    def by_logit(self) -> bool:
        """Each answer is a word of one token, and its logit is its score; or a class of a head."""
        is_word = self.task.kind == "cloze" and not (self.split_words or self.frame.is_causal)
        return self.task.head or is_word

    @property
    def penalty(self) -> float:
        """Scores are divided by the number of tokens to this power."""
        has_length = self.task.kind != "cloze" and not self.task.head
        return self.task.length_penalty if has_length else 0.0

    def labels_of(self, question: Question) -> Sequence[str]:
        """What can be predicted for a question with listed answers."""
        if self.task.first_is_claim:
            return self.task.labels
        return self.names(len(question.answers)) if self.has_index else question.answers

    def names(self, number: int) -> Sequence[str]:
        """Labels of so many choices."""
        return self.task.labels or tuple(map(str, range(number)))

    def spaced(self, answer: str) -> str:
        """An answer with the space that its blank has taken along."""
        return answer if answer.startswith(" ") else self.lead + answer

    def ask(self, example: Example) -> Question:
        """Lay an example out, with as many of its worked examples as fit whole.

        Raises:
            ValueError: it is too long, or has no candidates.
        """
        if self.pattern.shot is None:
            return self.lay_out(example)
        shots = [self.worked(shot) for shot in example.shots]
        for number in range(len(shots), 0, -1):
            fields = {**example.fields, SHOTS: "".join(shots[:number])}
            question = self.lay_out(replace(example, fields=fields))
            if not question.is_cut:
                return replace(question, num_shots=number)
        return self.lay_out(replace(example, fields={**example.fields, SHOTS: ""}))

    def worked(self, shot: Example) -> str:
        """A worked example as the pattern shows it."""
        (gold,) = shot.golds[:1]
        if self.task.kind == "cloze":
            gold = self.task.words(self.pattern)[gold]
        elif self.has_index:
            offered = self.offered(shot)
            gold = offered[self.names(len(offered)).index(gold)]
        return fill(self.pattern.shot or "", {**shot.fields, CHOICE: gold})

    def offered(self, example: Example) -> tuple[str, ...]:
        """Its candidates, in the order of their labels."""
        fixed = (fill(choice, example.fields) for choice in self.task.fixed_choices)
        return (*fixed, *example.choices)

    def lay_out(self, example: Example) -> Question:
        """Lay an example out whose worked examples are chosen.

        Raises:
            ValueError: it is too long, or has no candidates.
        """
        if self.task.kind == "text":
            return self.read_through(example)
        if self.task.kind == "association":
            return self.lay_apart(example)
        if self.task.kind in WRITTEN:
            return self.leave_open(example)
        if self.has_classes:
            claim = self.offered(example)[0] if self.task.kind == "choice" else None
            text, is_cut = self.whole(example, claim)
            labels = self.task.label_names
            return Question(example, labels, (text,) * len(labels), is_cut)
        if self.task.kind == "cloze" and self.writes:
            return replace(self.leave_open(example), answers=(*self.words,))
        if self.task.kind == "cloze":
            longest = max(map(len, self.words.values()))
            around = self.around(example.fields, longest if self.split_words else 1)
            of_words = tuple(self.fill_in(around, ids) for ids in self.words.values())
            return Question(example, (*self.words,), of_words, around.is_cut)
        offered = self.offered(example)
        if not offered:
            raise ValueError("has no candidates; each row needs one at least")
        answers = offered if self.has_index else tuple(dict.fromkeys(offered))
        for gold in example.golds if self.has_index else ():
            if gold not in self.names(len(answers))[: len(answers)]:
                raise ValueError(f"label {gold!r} is no number of its choices")
        if self.task.compares_three and len({*answers}) != 3:
            raise ValueError("has not three choices that differ; mend it or leave it out")
        if self.writes:
            return replace(self.leave_open(example), answers=answers)
        one = self.whole if self.task.head else self.candidate
        laid_out = [one(example, answer) for answer in answers]
        candidates = tuple(candidate for candidate, _ in laid_out)
        return Question(example, answers, candidates, any(is_cut for _, is_cut in laid_out))

    def candidate(self, example: Example, choice: str) -> tuple[Candidate, bool]:
        """One choice; and whether the text is cut for it."""
        fields = {**example.fields, CHOICE: choice}
        targets = self.choice_ids(fields)
        if self.task.include_end and not self.frame.is_causal:
            targets = (*targets, self.special.eop)
        around = self.around(fields, len(targets))
        return self.fill_in(around, targets), around.is_cut

    def choice_ids(self, fields: Mapping[str, str]) -> Ids:
        """What a choice puts into the blank.

        Raises:
            ValueError: nothing.
        """
        ids = self.encode(self.spaced(fill(self.pattern.answer or self.task.answer, fields)))
        if not fields[CHOICE].strip() or not ids:
            raise ValueError("has an empty choice; write something or leave it out")
        return ids

    def whole(self, example: Example, choice: str | None) -> tuple[Candidate, bool]:
        """A text for a head, a choice in the place of its blank; and whether it is cut."""
        fields = example.fields if choice is None else {**example.fields, CHOICE: choice}
        units = self.units(fields)
        if choice is not None:
            ids, blank = self.choice_ids(fields), (self.blank,)
            units = [replace(unit, ids=ids) if unit.ids == blank else unit for unit in units]
        kept, is_cut = self.fit(units, 0)
        text = (*self.frame.lead, *chain.from_iterable(kept), self.special.eos)
        return Candidate(text, (), None, ()), is_cut

    def texts(self, question: Question) -> Sequence[Candidate]:
        """What a head reads of a question: one text, or that of each choice."""
        return question.candidates[: 1 if self.has_classes else None]

    def fill_in(self, around: Around, answer: Ids) -> Candidate:
        """An answer in the blank."""
        if self.task.one_way:
            return self.frame.one_way(around.before, self.blank, answer)
        return self.frame.candidate(
            around.before, self.blank, around.after, answer, ends=self.task.ends_text
        )

    def leave_open(self, example: Example) -> Question:
        """An example whose blanks the model fills."""
        if self.task.kind == "infill":
            return self.hide_words(example)
        around = self.around(example.fields, 1)
        laid_out = self.fill_in(around, ())
        assert laid_out.place is not None
        prompt = Prompt("", laid_out.part_a, (laid_out.place,))
        return Question(example, (), (), around.is_cut, prompt)

    def answers_to(self, question: Question) -> Iterator[Candidate]:
        """The right answers of a question whose answer is written, as they are learned; of a text
        with hidden words what stood in each blank, with those before it in sight.

        An answer longer than the model may write loses its end.

        Raises:
            ValueError: one is empty.
        """
        assert question.prompt is not None
        most = self.task.decode.max_new_tokens
        if self.task.kind == "infill":
            known: tuple[Token, ...] = ()  # of the blanks to the left
            for place, ids in zip(question.prompt.places, question.hidden, strict=True):
                blank = Candidate(question.part_a, known, place, (*ids, self.special.eop)[:most])
                yield blank
                known = blank.piece(self.special.sop)
            return
        for gold in dict.fromkeys(question.example.golds):
            if not gold.strip():
                raise ValueError("has an empty right answer; write something or leave the row out")
            ids = self.answer_ids({**question.example.fields, CHOICE: gold})
            yield Candidate(question.part_a, (), question.prompt.places[0], ids[:most])

    def answer_ids(self, fields: Mapping[str, str]) -> Ids:
        """An answer as it is written, with its end."""
        answer = fill(self.pattern.answer or self.task.answer, fields)
        return (*self.encode(self.spaced(answer)), self.special.eop)

    def hide_words(self, example: Example) -> Question:
        """A text of which a share of the words is hidden; neighbours share a blank.

        Words stand between spaces; of Chinese each character is one.

        Raises:
            ValueError: it is too long, or too short to hide a word.
        """
        whole = " ".join(fill("{text}", example.fields).split())
        words = [found[0] for found in SPACED_WORD.finditer(whole)]
        number = int(len(words) * self.task.mask_ratio)
        if not number:
            raise ValueError(f"has {len(words)} words, of which none is hidden; leave it out")
        seed = zlib.crc32(whole.encode())
        hidden = {*np.random.default_rng(seed).choice(len(words), number, replace=False).tolist()}
        pieces = [
            (is_hidden, "".join(words[place] for place in places))
            for is_hidden, places in groupby(range(len(words)), hidden.__contains__)
        ]
        text = "".join(
            piece if not is_hidden else " [MASK]" if piece.startswith(" ") else "[MASK]"
            for is_hidden, piece in pieces
        )
        try:
            prompt = make_prompt(text, self.tokenizer, self.max_length, example.place)
        except InputError as error:
            raise ValueError("; ".join(error.problems)) from None
        taken = tuple(self.encode(piece) for is_hidden, piece in pieces if is_hidden)
        return Question(replace(example, golds=(whole,)), (), (), False, prompt, hidden=taken)

    def lay_apart(self, example: Example) -> Question:
        """Each of the texts of four sets, once.

        Raises:
            ValueError: a set is empty, or one of its texts too long.
        """
        sets = [fill(f"{{{name}}}", example.fields).splitlines() for name in SETS]
        if not all(sets):
            raise ValueError(f"has an empty set among {', '.join(SETS)}; write a text a line")
        texts = dict.fromkeys(chain.from_iterable(sets))
        end = () if self.frame.is_causal else (self.special.eos,)
        laid_out = [(*self.frame.lead, *self.encode(text), *end) for text in texts]
        if (longest := max(map(len, laid_out))) > self.max_length:
            raise ValueError(f"has a text of {longest:,} tokens; {self.max_length:,} are the most")
        candidates = tuple(Candidate(ids, (), None, ()) for ids in laid_out)
        return Question(example, (*texts,), candidates, is_cut=False)

    def read_through(self, example: Example) -> Question:
        """A text of which every token but the first is scored.

        Raises:
            ValueError: it has no second token.
        """
        ids = self.encode(fill("{text}", example.fields))
        if len(ids) < 2:
            raise ValueError(f"has {len(ids)} tokens; a text needs two to be scored")
        length = self.max_length - self.frame.num_around
        overlap = min(self.task.overlap, length - 1)
        windows = self.frame.windows(ids, length, overlap, one_way=self.task.one_way)
        return Question(example, (), tuple(windows), is_cut=False)

    def units(self, fields: Mapping[str, str]) -> list[Unit]:
        """The parts of the pattern with the fields of an example."""
        units = [Unit(self.in_front)]
        is_second = False
        slots = iter(self.in_slots)
        for part in self.pattern.parts:
            if part == "|":
                is_second = True
                continue
            if part == SLOT:
                units.append(Unit(next(slots, ()), is_second=is_second))
                continue
            for number, piece in enumerate(BLANK.split(part)):
                if number % 2:  # the blank itself
                    units.append(Unit((self.blank,), is_second=is_second))
                elif piece:
                    before_blank = number == 0 and BLANK.search(part) is not None
                    text = piece.removeprefix("~")
                    text = text.removesuffix(self.lead) if before_blank else text
                    ids = self.encode(fill(text, fields))
                    units.append(Unit(ids, piece.startswith("~"), is_second))
        return units

    def around(self, fields: Mapping[str, str], room: int) -> Around:
        """What stands before and behind the blank, when the answer has so many tokens.

        Raises:
            ValueError: it is too long without what may be shortened.
        """
        units = self.units(fields)
        kept, is_cut = self.fit(units, room)
        blank = next(n for n, unit in enumerate(units) if unit.ids == (self.blank,))
        before, after = chain.from_iterable(kept[:blank]), chain.from_iterable(kept[blank + 1 :])
        return Around(tuple(before), tuple(after), is_cut)

    def fit(self, units: Sequence[Unit], room: int) -> tuple[list[Ids], bool]:
        """What is left of the parts beside so many more tokens; and whether that is less.

        Raises:
            ValueError: they are too long without what may be shortened.
        """
        excess = 2 + sum(len(unit.ids) for unit in units) + room - self.max_length
        if excess <= 0:
            return [unit.ids for unit in units], False
        return shorten(units, excess, self.task.cut == "start"), True
