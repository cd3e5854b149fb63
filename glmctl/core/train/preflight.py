"""What is looked at before a fine-tuning: mistakes with which it would teach nothing."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, permutations
from pathlib import Path

from glmctl.core.data.shards import digest_of
from glmctl.core.tasks.answer import ask_all, notes
from glmctl.core.tasks.ask import Asker, Question
from glmctl.core.tasks.find import read_task
from glmctl.core.tasks.frame import Ids
from glmctl.core.tasks.read import named, read_examples
from glmctl.core.tasks.repeats import repeats
from glmctl.core.tasks.schema import CHOICE, LISTED, SLOT, WRITTEN, TaskConfig
from glmctl.core.tokenizer.base import Tokenizer
from glmctl.core.train.lessons import Lesson, hold_out, lessons_of, mirrored
from glmctl.errors import InputError, UsageError
from glmctl.recipe.schema import Recipe

NUM_SAMPLES = 3
NUM_SHOWN = 5  # of the wrong candidates of a sample
MOST_CUT = 0.5  # of the answers may lose their end


@dataclass(frozen=True)
class Material:
    """What is learned, and what is held out."""

    asker: Asker
    lessons: Sequence[Lesson]
    held: Sequence[Question]
    files: Mapping[str, str]
    """Digests of the files, by what they are for: train and dev."""
    warnings: tuple[str, ...]
    """What a reader of the score should know."""


def task_to_learn(recipe: Recipe) -> TaskConfig:
    """The task of a run, as its settings have changed it.

    Raises:
        UsageError: it is no task, or asks for what fine-tuning does not do.
    """
    assert recipe.task is not None
    problems: list[str] = []
    task = read_task({**recipe.task}, recipe.task["name"], problems)
    if task is not None and task.num_shots:
        problems.append(
            f"{task.name}: shots: {task.num_shots} worked examples before a question, and "
            "fine-tuning shows none; set task.shots = 0"
        )
    if task is not None and task.decode.policy == "decode":
        problems.append(
            f"{task.name}: decode.policy: decode, and listed answers are learned by their scores; "
            "leave it out, and give --set task.decode.policy to eval"
        )
    if task is None or problems:
        raise UsageError("task", *problems)
    return task


def prepare(
    recipe: Recipe, asker: Asker, train: Path, dev: Path | None, note: Callable[[str], None]
) -> Material:
    """Read the rows, lay them out, and look for what would train to the end and teach nothing.

    Args:
        recipe: says how many rows are held out.
        asker: of the task and the model.
        train: file to learn from.
        dev: file to evaluate on; None: rows of `train` are held out.
        note: takes the lines that a reader may want to see.

    Raises:
        InputError: naming what was found, with the remedy.
    """
    if (kind := asker.task.kind) not in (*LISTED, *WRITTEN):
        problem = f"kind {kind} has no right answers to learn; it is for glmctl eval"
        raise InputError(asker.task.name, problem)
    questions = all_questions(asker, train)
    if dev is None:
        learned, held = hold_out(
            questions, recipe.data.held_out_share, by_label=asker.task.has_labels
        )
    else:
        learned, held = questions, all_questions(asker, dev)
    warnings = (*repeats(learned, held, has_labels=asker.task.has_labels),)
    if asker.task.mirror:
        learned = [it for question in learned for it in (question, mirrored(asker, question))]
    problems = [*word_problems(asker)]
    lessons: list[Lesson] = []
    for question in learned:
        try:
            lessons += lessons_of(asker, question)
        except ValueError as problem:
            problems.append(f"{question.example.place}: {problem}")
    problems += lesson_problems(asker, lessons, str(train))
    if not held:
        problems.append("has too few different rows to hold some out; add some, or give --dev")
    if problems:
        raise InputError(str(train), *problems[:5])
    for line in samples(asker.tokenizer, lessons):
        note(line)
    for line in notes(asker, learned):
        note(line)
    files = {"train": train} | ({} if dev is None else {"dev": dev})
    digests = {name: digest_of(it) for name, it in files.items()}
    return Material(asker, lessons, held, digests, warnings)


def all_questions(asker: Asker, file: Path) -> list[Question]:
    """The questions of a file of which every row is good.

    Raises:
        InputError: naming the first rows that are not.
    """
    questions, problems = ask_all(asker, read_examples(file, asker.task))
    if problems:
        raise InputError(f"task {asker.task.name}", *named(problems))
    return questions


def samples(tokenizer: Tokenizer, lessons: Sequence[Lesson]) -> Iterator[str]:
    """The first lessons, decoded from their ids; what is learned stands between >> and <<."""
    for lesson in lessons[:NUM_SAMPLES]:
        question, right = lesson.question, round(lesson.right)
        texts = [tokenizer.decode(it.targets) for it in question.candidates]
        if not question.candidates[right].targets:  # a head tells the answers apart
            texts = [*question.answers]
        if not question.answers:  # written, one blank after another
            texts = ["<< >>".join(texts)]
        wrong = [text for place, text in enumerate(texts) if place != right]
        others = " | ".join(wrong[:NUM_SHOWN]) + " | ..." * (len(wrong) > NUM_SHOWN)
        if share := lesson.right % 1:
            low, high = texts[int(lesson.right) :][:2]
            yield f"  learns  >>{low}<< to {1 - share:.0%} and >>{high}<< to {share:.0%}"
            continue
        against = f" against {others}" if wrong else ""
        yield f"{question.example.place}"
        yield f"  reads   {shown(tokenizer, question.candidates[right].part_a)}"
        yield f"  learns  >>{texts[right]}<<{against}"


def shown(tokenizer: Tokenizer, ids: Ids) -> str:
    """A text, with a dot for each learned vector."""
    runs = ([*run] for _, run in groupby(ids, lambda token: token < 0))
    return "".join(SLOT * len(run) if run[0] < 0 else tokenizer.decode(run) for run in runs)


def word_problems(asker: Asker) -> Iterator[str]:
    """What is wrong with the words of a verbalizer once they are tokens."""
    unknown = asker.special.strings.get("[UNK]")
    for label, ids in asker.words.items():
        if not ids or unknown in ids:
            yield f"verbalizer: the tokenizer cannot spell the word of {label!r}; choose another"
    for (label, ids), (other, longer) in permutations(asker.words.items(), 2):
        if ids == longer and label < other:
            yield f"verbalizer: {label!r} and {other!r} have words of the same tokens; change one"
        elif len(ids) < len(longer) and longer[: len(ids)] == ids:
            yield (
                f"verbalizer: the word of {other!r} begins with all tokens of that of {label!r}, "
                "so it can never be the better one; choose other words"
            )


def lesson_problems(asker: Asker, lessons: Sequence[Lesson], file: str) -> Iterator[str]:
    """What the lessons lack."""
    given = {gold for lesson in lessons for gold in lesson.question.example.golds}
    if asker.task.kind == "cloze" and asker.task.has_labels:
        for label in asker.task.label_names:
            if label not in given:
                where = "task" if asker.task.head else "verbalizer"
                yield (
                    f"no row of {file} has the label {label!r}; add some, or take the label out "
                    f"of the {where}"
                )
    for lesson in lessons:
        if lesson.question.is_cut and not num_kept(asker, lesson):
            yield (
                f"{lesson.question.example.place}: nothing of its text is left beside the pattern; "
                "shorten the pattern, or raise max_length where the model has room"
            )
            return
    if asker.task.kind in WRITTEN:
        yield from written_problems(asker, lessons, file)
    elif asker.task.first_is_claim:
        if not lessons:
            yield f"no row of {file} has a true claim to be learned; add some"
    elif all(len(lesson.question.candidates) == 1 for lesson in lessons):
        yield f"no row of {file} has a wrong candidate, so there is nothing to tell apart"


def written_problems(asker: Asker, lessons: Sequence[Lesson], file: str) -> Iterator[str]:
    """Answers that are cut off: a model that learns them never learns to end."""
    end = asker.special.eop
    cut = [it for it in lessons if it.question.candidates[0].targets[-1:] != (end,)]
    if len(cut) > MOST_CUT * len(lessons):
        yield (
            f"{len(cut):,} of {len(lessons):,} answers in {file} are longer than "
            f"{asker.task.decode.max_new_tokens} tokens and lose their end; raise "
            "decode.max_new_tokens"
        )


def num_kept(asker: Asker, lesson: Lesson) -> int:
    """Tokens that are left of what may be shortened."""
    question = lesson.question
    right = round(lesson.right)
    chosen = question.answers[right] if question.answers else ""
    fields = {**question.example.fields, CHOICE: chosen}
    fixed = sum(len(unit.ids) for unit in asker.units(fields) if not unit.can_shrink)
    return len(question.candidates[right].part_a) - 2 - fixed
