"""The grammar of a task: where its fields stand, how it asks, and how answers are scored."""

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from glmctl.core.tasks.text_metrics import NO_ANSWER
from glmctl.recipe.schema import DecodeConfig
from glmctl.recipe.section import Probability, Section

Kind = Literal["cloze", "choice", "generate", "infill", "text", "association"]
Metric = Literal[
    "accuracy",
    "accuracy_macro",
    "f1",
    "f1_macro",
    "matthews",
    "exact_match",
    "exact_groups",
    "token_f1",
    "best_exact",
    "best_f1",
    "char_match",
    "char_f1",
    "rouge1",
    "rouge2",
    "rougeLsum",
    "rouge1_paper",
    "rouge2_paper",
    "rougeLsum_paper",
    "bleu",
    "span_f1",
    "lms",
    "ss",
    "icat",
    "pearson",
    "spearman",
    "effect_size",
    "perplexity",
    "word_perplexity",
]
Format = Literal["jsonl", "json", "csv", "tsv", "pairs", "squad", "conll", "lines", "text"]
Clean = Literal["wikitext", "gigaword", "cnn_dm", "cnn_dm_target"]
Status = Literal["works", "conformance", "unverified"]
Policy = Literal["auto", "encode", "decode"]

FIELD = re.compile(r"\{([^{}:]+)(?::([a-z,]+))?\}")
"""A field in a pattern, and what is done to it: {hypothesis:strip}."""
NUMBER_LIKE = re.compile(r"-?\d+(\.\d+)?")
"""A label or a right answer on a scale."""
BLANK = re.compile(r"(\[(?:s|g)?MASK\])")
CHANGES = ("strip", "lowerfirst")
"""Take the punctuation off the end; write the first letter small."""
CHOICE = "choice"
"""The field that holds the candidate in the patterns of a choice task."""
SLOT = "\u00b7"
"""A part of a pattern in whose place learned vectors stand (P-tuning), or nothing."""
SHOTS = "shots"
"""The field that holds the worked examples."""
PART = "part"
"""Key of a record for what * in the name of its file stands for."""
LISTED = ("cloze", "choice")
"""Kinds whose answers are listed."""
WRITTEN = ("generate", "infill")
"""Kinds whose answers the model writes."""
AT_BEST: tuple[Metric, ...] = ("best_exact", "best_f1")
"""Metrics over a threshold of having no answer."""
OF_THREE: tuple[Metric, ...] = ("lms", "ss", "icat")
"""Metrics of StereoSet, which compare three choices: anti-stereotype, stereotype, unrelated."""
ON_SCALE: tuple[Metric, ...] = ("pearson", "spearman")
"""Metrics of numbers on a scale."""
SETS = ("x", "y", "a", "b")
"""Fields of kind association: two sets of texts, and two that they may lie near, a text a line."""
ASKED = ("cloze", "choice", "generate")
"""Kinds that ask by patterns."""


class MarkedWord(Section):
    """A word of the text, put between marks as *it*."""

    word: str
    """Path of the word."""
    index: str
    """Path of its number among the words between spaces, where one off is forgiven; or of its
    first character."""
    unit: Literal["word", "character"] = "word"
    """What is numbered."""
    sign: str = "*"
    """Stands before and behind the word."""


class FieldConfig(Section):
    """Where the text of a field stands in a record, and what is made of it."""

    path: str
    """Keys from the record inward, as passage.text."""
    replace: Mapping[str, str] = {}
    """Parts of the text that are written otherwise."""
    map: Mapping[str, str] = {}
    """Values that are written otherwise as a whole; there may be no others."""
    before: str | None = None
    """Keep what stands before this, without the space at its end."""
    after: str | None = None
    """Keep what stands after this."""
    regex: str | None = None
    """Keep the first group of the first match of this regular expression."""
    clean: Clean | None = None
    """Undo the marks of a data set's tokenizer as the released code does, before all else."""
    join: str | None = None
    """Stands between the items of a list."""
    default: str | None = None
    """The text where the record has none, or null."""
    marks: tuple[MarkedWord, ...] = ()
    """Words to be marked."""


class ListedChoices(Section):
    """Candidates that a record lists."""

    path: str
    """Of the list."""
    key: str | None = None
    """Where each item keeps its text; left out: an item is the text."""
    span_of: str | None = None
    """Items are start and end (inclusive) in the text at this path; those are sorted."""
    sort: str | None = None
    """Items stand in the order of what they hold under this key."""
    letters: bool = False
    """The candidates are letters from A on, one for each item."""
    clean: Clean | None = None
    """As of a field."""
    equal: Mapping[str, str] = {}
    """Keys of an item, and paths of the record that must hold the same; other items are left
    out."""
    join: str | None = None
    """All items make one text, with this between them."""
    empty: str | None = None
    """The text where there is no item."""
    optional: bool = False
    """A record may lack the list."""


class HubConfig(Section):
    """Where the hub has the data, for those who have no files."""

    path: str
    """Of the data set; or a folder that `datasets` reads."""
    config: str | None = None
    """One of those it has; *: each is a part of the whole."""
    revision: str = "main"
    """Branch, tag or commit; the commit behind it at the first fetch is kept, and results name it
    in the path of their file."""
    splits: Mapping[str, str] = {}
    """Its name of each split, where that is another."""
    columns: Mapping[str, str | tuple[str, ...]] = {}
    """Columns that the task calls otherwise, or finds at a path; the items of a list may have
    names, and `part` is the part of the whole that a row counts for."""
    labels: tuple[str, ...] = ()
    """What the task calls its numbers of labels, from 0 on."""


class AnswerConfig(DecodeConfig):
    """How answers are found, and written where they are not listed."""

    policy: Policy = "auto"
    """Of an evaluation. encode: listed answers are scored in one pass; decode: the answer is
    written, and matched with those that are listed; auto: decode only where none are listed."""


class SubmissionConfig(Section):
    """How predictions for a test file are sent to those who hold its labels."""

    file: str
    """Its name; .tsv: a table of index and prediction, else JSON Lines of idx and label."""
    labels: Mapping[str, str | int] = {}
    """Labels that are written otherwise than in the task."""
    id: tuple[str, ...] = ()
    """Paths that make up the identity of a row of that file; left out: as of the others."""
    nest: tuple[str, ...] = ()
    """Paths of the lists that the parts of an id behind its first one stand in; left out: the
    last part is the idx of a line."""


class PatternConfig(Section):
    """One way to ask: parts that are tokenized one by one, among them the blank.

    A part that begins with ~ is shortened when the whole is too long; | parts the two sides of
    which the longer one is shortened first.
    """

    parts: tuple[str, ...]
    """Text with {fields} and one blank."""
    verbalizer: Mapping[str, str] = {}
    """The word of each label, where it is not that of the task."""
    answer: str | None = None
    """What a choice puts into the blank, where it is not that of the task."""
    shot: str | None = None
    """A worked example: its fields, and {choice} for what stands in its blank; those of one
    question are put in for {shots}."""


def split_plain(pattern: Any) -> Any:
    """A pattern in one string: its fields may be shortened, the words between them not."""
    if not isinstance(pattern, str):
        return pattern
    fields = r"(\{[^{}:]+(?::[a-z,]+)?\})"
    parts = [part for part in re.split(fields, pattern) if part]
    return {"parts": [f"~{part}" if FIELD.fullmatch(part) else part for part in parts]}


def at_path(where: Any) -> Any:
    """The place of a list, or its path alone."""
    return {"path": where} if isinstance(where, str) else where


Place = Annotated[
    ListedChoices, BeforeValidator(at_path, json_schema_input_type=str | ListedChoices)
]
NO_PATTERN = PatternConfig(parts=())
"""Of a kind that asks by none."""
Pattern = Annotated[
    PatternConfig, BeforeValidator(split_plain, json_schema_input_type=str | PatternConfig)
]


class TaskConfig(Section):
    """A task: its files, fields, patterns and metric."""

    name: str
    """What it is called."""
    kind: Kind = "cloze"
    """cloze: a word for each label; choice: candidates that each record brings; generate: the
    model writes into the blank; infill: a share of the words of `text` is hidden and written
    again; text: every token of `text` is scored; association: how near hidden states of the texts
    in `x` and `y` lie to those in `a` and `b`."""
    status: Status = "unverified"
    """works: ran on the real data; conformance: on data of its format; unverified."""
    files: Mapping[str, str] = {}
    """File of each split, also compressed; with a * in its name many, each a part of the whole."""
    hub: HubConfig | None = None
    """Whence data is fetched where no file is found and --data names none."""
    scored_on: str = "val"
    """The split that an evaluation takes."""
    format: Format | None = None
    """json: the file is one record; pairs: lines of NAME.source and NAME.target; squad: SQuAD's
    JSON; conll: a token and its tag a line; lines: texts; text: the file is one text. Left out: as
    the name of the file says."""
    columns: tuple[str, ...] = ()
    """Names of the columns of a table without a line of names."""
    quoted: bool = True
    """Cells of a table may stand in quotes; else a quote is text."""
    only: Mapping[str, str] = {}
    """Paths, and the text that a record must have there; other records are left out."""
    part: str | None = None
    """Path of the part of the whole that an example counts for; left out: that of its file."""
    shots: NonNegativeInt = 0
    """Worked examples before a question, in patterns that show some; fewer where they do not
    fit."""
    shots_from: str = "train"
    """The split whose first rows they are; of the same part, where there are parts."""
    fields: Mapping[str, str | FieldConfig] = {}
    """Text for the patterns: the path of each field; left out: the columns as they are."""
    unfold: Mapping[str, str] = {}
    """Lists of which each item makes an example of its own, under the name given here."""
    each: Mapping[str, tuple[str, ...]] = {}
    """Texts of which each makes an example of its own, under the name given here."""
    id: tuple[str, ...] = ()
    """Paths that make up the identity of an example; left out: the number of its line."""
    group_by: NonNegativeInt = 0
    """Examples that agree in so many parts of the id make one question; 0: each is one."""
    label: str = "label"
    """Path of the right label, or of the number of the right choice."""
    right: str | None = None
    """The right label of every record, where files do not say it."""
    golds: Place | None = None
    """All right answers, where the answer is a text."""
    labels: tuple[str, ...] = ()
    """In the order of their index; left out: as in the verbalizer, or the choices' numbers."""
    verbalizer: Mapping[str, str] = {}
    """The word of each label."""
    scale: bool = False
    """Of kind cloze: labels are numbers, and a right answer may lie between two of them. It is
    learned as both, the nearer one more; predicted is their mean by the probabilities."""
    choices: tuple[str, ...] = ()
    """Candidates, made of fields."""
    listed_choices: Place | None = None
    """Candidates of a list in the record, after those of `choices`."""
    answer: str = "{choice}"
    """What a choice puts into the blank."""
    first_is_claim: bool = False
    """The first candidate is what the label is about: true when it wins, or, alone, when each of
    its tokens is the best one."""
    mirror: tuple[str, ...] = ()
    """In training: two fields that each example once more has the other way round, with the other
    of two labels."""
    num_negatives: PositiveInt | None = None
    """In training: most wrong candidates of a question; left out: all."""
    head: bool = False
    """Of listed answers: a head that a fine-tuning trains scores the labels of a text, or each text
    of a choice, in the place of words; a pattern then needs no blank, and labels no words."""
    include_end: bool = True
    """Choices are scored with the end of the blank; words of a verbalizer never are."""
    length_penalty: NonNegativeFloat = 0.0
    """A choice's score is divided by its number of tokens to this power."""
    patterns: tuple[Pattern, ...] = ()
    """Ways to ask, by their number from 0; kinds infill and text need none."""
    pattern: NonNegativeInt = 0
    """The one to use."""
    max_length: PositiveInt = 512
    """Most tokens of text and answer; of a model with fewer positions, those."""
    cut: Literal["end", "start"] = "end"
    """From where what may be shortened loses its tokens."""
    ends_text: bool = True
    """Part A is closed by the token that ends a text."""
    one_way: bool = False
    """What stands before the blank is read from left to right, but for its first token."""
    overlap: PositiveInt = 32
    """Of kind text: tokens by which the windows over a long text advance."""
    mask_ratio: PositiveFloat = Field(0.3, lt=1)
    """Of kind infill: share of the words that is hidden; of Chinese each character is one."""
    label_smoothing: Probability = 0.0
    """Of kind generate, in training: share of the aim that is spread over all tokens."""
    decode: AnswerConfig = AnswerConfig(max_new_tokens=64)
    """How answers are found and written."""
    plain_punctuation: bool = False
    """Write curly quotes and dashes as on a typewriter, as the released models learned them."""
    metrics: tuple[Metric, ...] = Field(("accuracy",), min_length=1)
    """The first one is the score."""
    submission: SubmissionConfig | None = None
    """Where the split `test` has no labels: what is made of its predictions."""

    @property
    def label_names(self) -> tuple[str, ...]:
        """Labels in order; empty where each record has its own number of choices."""
        if self.labels or self.kind == "cloze":
            return self.labels or (*self.words(self.patterns[self.pattern]),)
        return () if self.listed_choices else tuple(map(str, range(len(self.choices))))

    @property
    def fixed_choices(self) -> tuple[str, ...]:
        """Candidates of every record: `choices` or, without any and without a list, the labels."""
        return self.choices or (() if self.listed_choices else self.labels)

    @property
    def num_shots(self) -> int:
        """Worked examples that the pattern in use shows."""
        return self.shots if self.patterns and self.patterns[self.pattern].shot else 0

    @property
    def has_labels(self) -> bool:
        """Whether right answers are labels, not texts."""
        return self.kind in LISTED and self.golds is None and not self.scale

    @property
    def ability(self) -> str:
        """What a model says of itself that was fine-tuned for the task."""
        return f"task {self.name}"

    @property
    def compares_three(self) -> bool:
        """Whether the scores of three choices are compared."""
        return not {*OF_THREE}.isdisjoint(self.metrics)

    @property
    def weighs_no_answer(self) -> bool:
        """Whether having no answer is scored beside the answer that is written."""
        return not {*AT_BEST}.isdisjoint(self.metrics)

    def words(self, pattern: PatternConfig) -> Mapping[str, str]:
        """The word of each label under a pattern."""
        return pattern.verbalizer or self.verbalizer

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        problems = [*self._mistakes()]
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _mistakes(self) -> list[str]:
        if self.kind in ASKED and not self.patterns:
            return [f"patterns: missing; kind {self.kind} asks by one"]
        if self.kind in ASKED and self.pattern >= len(self.patterns):
            return [f"pattern: {self.pattern}, but they are 0 to {len(self.patterns) - 1}"]
        problems = []
        if self.kind == "choice" and not (self.fixed_choices or self.listed_choices):
            problems.append("choices: missing; a choice task needs them or listed_choices")
        if self.kind == "generate" and self.golds is None:
            problems.append('golds: missing; name where right answers stand: golds = "answers"')
        read = {"infill": ("text",), "text": ("text",), "association": SETS}.get(self.kind, ())
        problems += [
            f"fields.{name}: missing; kind {self.kind} reads it"
            for name in read
            if self.fields and name not in self.fields
        ]
        if self.compares_three and (self.kind != "choice" or len(self.labels) != 3):
            problems.append(f"metrics: {', '.join(OF_THREE)} are of choices with three labels")
        if ("effect_size" in self.metrics) != (self.kind == "association"):
            problems.append("metrics: effect_size is that of kind association, which has no other")
        if self.scale and not (self.kind == "cloze" and self._ascends()):
            problems.append("scale: is of kind cloze, with numbers that ascend as labels")
        if self.scale and (self.mirror or self.num_shots):
            problems.append("scale: has neither mirror nor shots; leave them out")
        if any((metric in ON_SCALE) != self.scale for metric in self.metrics):
            stated = ", ".join(self.metrics)
            remedy = f"with scale = true, choose {' or '.join(ON_SCALE)}"
            if not self.scale:
                remedy = "add scale = true, or choose another"
            problems.append(f"metrics: {stated}: {remedy}")
        if self.one_way and any(p.parts and not BLANK.search(p.parts[-1]) for p in self.patterns):
            problems.append("one_way: the blank must be the end of each pattern")
        if self.mirror and (len(self.mirror) != 2 or len(self.label_names) != 2):
            problems.append("mirror: swaps two fields and two labels; name two fields")
        problems += [
            f"mirror: {name!r} is no field; there are {', '.join(self.fields)}"
            for name in self.mirror
            if self.fields and name not in self.fields
        ]
        if self.head and self.kind not in LISTED:
            problems.append(f"head: kind {self.kind} has no listed answers; leave it out")
        if self.num_negatives is not None and self.kind != "choice":
            problems.append(f"num_negatives: kind {self.kind} does not read it; leave it out")
        if self.first_is_claim and len(self.labels) != 2:
            problems.append("labels: first_is_claim needs two, that of a false claim first")
        is_offered = self.choices and not (self.listed_choices or self.first_is_claim)
        if is_offered and self.labels and len(self.labels) != len(self.choices):
            problems.append(f"labels: {len(self.labels)} for {len(self.choices)} choices")
        if self.weighs_no_answer and (self.golds is None or self.golds.empty != NO_ANSWER):
            names = " and ".join(AT_BEST)
            problems.append(f'metrics: {names} are of golds with empty = "{NO_ANSWER}"')
        if "f1" in self.metrics and len(self.label_names) != 2:
            problems.append("metrics: f1 is of two labels; use f1_macro for more")
        for number, pattern in enumerate(self.patterns):
            problems += [f"patterns.{number}: {it}" for it in self._mistakes_of(pattern)]
        return problems

    def _ascends(self) -> bool:
        """Whether the labels are numbers, each above the one before."""
        if not all(NUMBER_LIKE.fullmatch(label) for label in self.label_names):
            return False
        numbers = [*map(float, self.label_names)]
        return all(low < high for low, high in pairwise(numbers))

    def _mistakes_of(self, pattern: PatternConfig) -> list[str]:
        problems = []
        num_blanks = sum(len(BLANK.findall(part)) for part in pattern.parts)
        if num_blanks != 1 and (num_blanks or not self.head or self.kind == "choice"):
            problems.append(f"holds {num_blanks} blanks; write [MASK] once, where the answer goes")
        texts, known = list(pattern.parts), {*self.fields}
        if self.kind == "choice":
            texts += (*self.choices, pattern.answer or self.answer)
            known.add(CHOICE)
        if pattern.shot is not None:
            texts.append(pattern.shot)
            known |= {CHOICE, SHOTS}
        found = [it for text in texts for it in FIELD.findall(text)]
        if not ({name for name, _ in found} - {CHOICE} or self.listed_choices):
            problems.append("names no {field}, so all rows are asked alike; write one, as {text}")
        for name, changes in found:
            if self.fields and name not in known:
                problems.append(f"{{{name}}} is no field; there are {', '.join(sorted(known))}")
            problems += [
                f"{{{name}:{change}}} is not known; there are {', '.join(CHANGES)}"
                for change in changes.split(",")
                if change and change not in CHANGES
            ]
        if self.kind == "cloze" and self.head and len(self.label_names) < 2:
            problems.append("needs labels, or a verbalizer; a head tells two of them or more apart")
        elif self.kind == "cloze" and not self.head:
            words = self.words(pattern)
            if len(words) < 2:
                problems.append("needs a verbalizer with a word for each of two labels or more")
            if self.labels and {*words} != {*self.labels}:
                problems.append(
                    f"verbalizer: words for {', '.join(words)}, labels are {', '.join(self.labels)}"
                )
            if not all(word.strip() for word in words.values()):
                problems.append("verbalizer: a word is empty; write one")
            if len({*words.values()}) < len(words):
                problems.append("verbalizer: two labels share a word; give each its own")
        return problems
