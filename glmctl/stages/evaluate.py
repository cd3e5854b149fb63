"""Evaluation: the tasks of a suite put to a model, scored, and written down with what made them."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

from glmctl import __version__
from glmctl.core.checkpoint.durable import digest, digest_all, write_json
from glmctl.core.decode.score import MAX_TOKENS
from glmctl.core.open import Glm, evaluating
from glmctl.core.tasks.answer import answer, ask_all, blinded, judge, majority, notes
from glmctl.core.tasks.ask import Asker, Prediction, Question
from glmctl.core.tasks.find import Suite, find_suite
from glmctl.core.tasks.foreign import Baseline, open_any
from glmctl.core.tasks.journal import ORIGIN, open_journal
from glmctl.core.tasks.learned import asker_for
from glmctl.core.tasks.locate import Request, locate
from glmctl.core.tasks.metrics import PLAIN, Judged, Value, measure
from glmctl.core.tasks.read import named, read_parts
from glmctl.core.tasks.schema import AT_BEST, LISTED, Kind, Policy, TaskConfig
from glmctl.core.tasks.submission import pack, write_submission
from glmctl.core.tasks.text_metrics import NO_ANSWER
from glmctl.core.train.precision import choose_device
from glmctl.core.train.preflight import word_problems
from glmctl.core.train.taught import Taught, taught
from glmctl.errors import InputError, UsageError
from glmctl.recipe.published import compare_scores

SCHEMA = "glmctl.Evaluation/1"
WAYS: Mapping[Kind, str] = {
    "cloze": "cloze",
    "choice": "cloze",
    "generate": "generation",
    "infill": "infilling of words, and of Chinese characters",
    "text": "language modelling",
    "association": "means of hidden states",
}
SIGNIFICANT = 0.01
INCOMPLETE = ("rows without a prediction are missing from what is to be sent in",)
PACKAGES = ("torch", "numpy", "tokenizers", "sentencepiece")
RELEVANT = ("glmctl", "packages", "device")
"""What a prediction may depend on, of that which an evaluation is made with."""
Progress = Callable[[int, str], AbstractContextManager[Callable[[int], None]]]
"""Given a count and what is counted, gives what adds to it."""


@dataclass(frozen=True)
class TaskResult:
    """The score of one task, and what it rests on."""

    score: float | None
    """Of the first metric: in per cent, or a perplexity; None where the labels are held by others,
    and so the two below."""
    interval: tuple[float, float] | None
    """95 %."""
    metric: str
    metrics: Mapping[str, Value]
    parts: Mapping[str, Value]
    """Accuracy of each part, of a task that averages over parts."""
    majority: float | None
    """Score of always giving the most frequent label; None where answers are no labels."""
    blind: float | None
    """Score of what the model writes into blanks that stand alone; None but for kind infill."""
    num_questions: int
    num_examples: int
    num_failed: int
    """Rows that could not be read or asked; they count in no score."""
    num_cut: int
    """Examples that were shortened."""
    max_length: int
    """Most tokens of text and answer; longer texts lose tokens from the end."""
    pattern: int | None
    """Its number; None where the task asks by none."""
    scored_by: str
    protocol: str
    notes: tuple[str, ...]
    """What must be known to read the score."""
    status: str
    split: str
    file: str
    digest: str
    seconds: float


@dataclass(frozen=True)
class Evaluation:
    """The scores of a model on the tasks of a suite."""

    suite: str
    model: str
    model_digest: str
    license: str | None
    tasks: Mapping[str, TaskResult]
    average: float | None
    """Of the tasks of the suite, each the mean of its metrics in per cent, as its authors do."""
    published: Sequence[Mapping[str, Any]]
    """Those scores that the recipe states numbers of the literature for, beside these."""
    limit: int | None
    out: str
    submission: str | None
    """Archive of predictions for those who hold the labels."""
    made_with: Mapping[str, Any]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Effort:
    """What the tasks of an evaluation share."""

    made_from: Mapping[str, Any]
    """What predictions depend on beside task and data."""
    taught: Taught | None
    """By the run of the model."""
    limit: int | None
    folder: Path
    progress: Progress
    note: Callable[[str], None]


def run(
    name: str,
    *,
    model: str,
    data: Path | None,
    tasks: Sequence[str] | None,
    split: str | None,
    pattern: int | None,
    policy: Policy | None,
    limit: int | None,
    out: Path | None,
    device: str | None,
    progress: Progress,
    note: Callable[[str], None],
) -> Evaluation:
    """Evaluate a model; predictions that the same evaluation has made before are kept.

    Args:
        name: a suite, a task, or a TOML file of tasks.
        model: what `load` opens, or the folder of any causal model of `transformers`.
        data: folder in the official layout or, for one task, its file.
        tasks: those of the suite; None: all, and of `test` also what is sent in beside them.
        split: the one to use; None: the one that the task is scored on.
        pattern: number of the pattern; None: that of each task.
        policy: whether listed answers are scored or written; None: as each task says.
        limit: questions of each task; None: all.
        out: for predictions and results; None: evals/NAME-MODEL-SPLIT-PATTERN-POLICY, as given.
        device: cpu or cuda; None: cuda when there is one.
        progress, note: show how far it is, and what is kept of an earlier evaluation.

    Raises:
        UsageError: there is no such task, or a pattern that a task does not have.
        InputError: data or model are missing or damaged.
    """
    suite, chosen = find_suite(name)
    if split == "test" and chosen == suite.main:
        sent = (task.name for task in suite.tasks if task.submission is not None)
        chosen = (*dict.fromkeys((*chosen, *sent)),)
    configs = [asked_so(task, pattern, policy) for task in suite.choose(tuple(tasks or chosen))]
    requests = locate(suite, configs, split, data)
    of = suite.name if tasks else Path(name).stem
    how = (split, None if pattern is None else f"pattern-{pattern}", policy)
    folder = out or Path("evals") / "-".join([of, Path(model).name, *filter(None, how)])
    refuse_other_files(folder)
    where = choose_device(device).type
    glm = open_any(model, where, "float32" if where == "cpu" else None)
    tensors = glm.module.state_dict() | dict(glm.heads)
    model_digest = digest_all({key: digest(tensor) for key, tensor in tensors.items()})
    origin = made_with(where)
    made_from = {"model": model_digest, **{name: origin[name] for name in RELEVANT}}
    effort = Effort(made_from, taught(model), limit, folder, progress, note)
    results: dict[str, TaskResult] = {}
    problems: list[str] = []
    for request in requests:
        try:
            results[request.task.name], wrong = evaluate(glm, request, effort)
        except InputError as problem:
            if len(requests) == 1:
                raise
            problems.append(str(problem))  # the other tasks are done all the same
            continue
        problems += wrong
    if not results:
        raise InputError(suite.name, *problems)
    evaluation = Evaluation(
        suite.name,
        model,
        model_digest,
        glm.license,
        results,
        average(suite, results),
        compare_scores(name, model, {task: it.metrics for task, it in results.items()}),
        limit,
        str(folder),
        send(folder, [it for it in requests if it.task.name in results]),
        origin,
        tuple(problems),
    )
    write_json(folder / "results.json", {"schema": SCHEMA, **asdict(evaluation)})
    return evaluation


def asked_so(task: TaskConfig, pattern: int | None, policy: Policy | None) -> TaskConfig:
    """The task with another of its patterns, and another policy.

    Raises:
        UsageError: it has no such pattern.
    """
    if policy is not None:
        decode = task.decode.model_copy(update={"policy": policy})
        task = task.model_copy(update={"decode": decode})
    if pattern is None:
        return task
    if pattern >= len(task.patterns):
        last = len(task.patterns) - 1
        raise UsageError("--pattern", f"{task.name} has patterns 0 to {last}, not {pattern}")
    return task.model_copy(update={"pattern": pattern})


def refuse_other_files(folder: Path) -> None:
    """Results take the place of results only.

    Raises:
        UsageError: the folder holds something else.
    """
    is_ours = (folder / "results.json").exists() or any(folder.glob(f"*/{ORIGIN}"))
    if not is_ours and any(it.is_file() for it in folder.rglob("*")):
        raise UsageError(str(folder), "holds other files; name a new folder with --out")
    folder.mkdir(parents=True, exist_ok=True)


def evaluate(glm: Glm, request: Request, effort: Effort) -> tuple[TaskResult, list[str]]:
    """Put one task to the model; gives also what is wrong with rows of its file."""
    started_at = time.monotonic()
    task, form = request.task, request.submission
    if form is not None:  # a table without labels has other columns, which it names
        task = task.model_copy(update={"columns": (), "id": form.id or task.id})
    asker = asker_for(glm, task, task.decode.policy)
    if wrong := [*word_problems(asker)]:
        raise InputError(task.name, *wrong)
    is_new = form is not None
    rows = read_parts(request.files, task, effort.limit, shots=request.shots, is_new=is_new)
    questions, problems = ask_all(asker, rows)
    if not questions:
        raise InputError(str(request.place), *named(problems))
    made_from = {
        **effort.made_from,
        "task": task.model_dump(mode="json", exclude={"pattern"}),
        "pattern": task.pattern,
        "split": request.split,
        "data": request.digest(),
        "limit": effort.limit,
    }
    predictions = put(glm, asker, questions, made_from, effort, task.name)
    if form is not None:
        write_submission(effort.folder / form.file, form, predictions)
    judged = judge(predictions)
    values: dict[str, Value] = {
        metric: measure(metric, judged, task.label_names) for metric in task.metrics if not is_new
    }
    main = values.get(task.metrics[0])
    result = TaskResult(
        None if main is None else main.value,
        None if main is None else main.interval,
        task.metrics[0],
        values,
        {} if is_new else dict(by_part(task, judged)),
        None if is_new else majority(task, judged),
        blind_score(glm, asker, questions, made_from, effort) if task.kind == "infill" else None,
        len({row.group for row in judged}),
        len(judged),
        len(problems),
        sum(question.is_cut for question in questions),
        asker.max_length,
        task.pattern if task.patterns else None,
        asker.scored_by,
        protocol(glm, asker, effort.taught),
        (
            *notes(asker, questions),
            *(effort.taught.notes(task, made_from["data"]) if effort.taught else ()),
            *of_written(asker, questions, predictions),
            *(chances(predictions) if task.kind == "association" else ()),
            *(
                f"{name}: answered where log P({NO_ANSWER}) - log P(answer) <= {it.threshold:.4g}"
                for name, it in values.items()
                if it.threshold is not None
            ),
            *(INCOMPLETE if is_new and (problems or effort.limit) else ()),
        ),
        task.status,
        request.split,
        str(request.place),
        made_from["data"],
        round(time.monotonic() - started_at, 2),
    )
    return result, problems


def chances(predictions: Sequence[Prediction]) -> Iterator[str]:
    """How many associations are more than chance."""
    p_values = [it.scores["p_value"] for it in predictions if "p_value" in it.scores]
    if p_values:
        num_low = sum(p < SIGNIFICANT for p in p_values)
        yield (
            f"p < {SIGNIFICANT} for {num_low:,} of {len(p_values):,} tests (one-sided, by "
            "permutation); predictions.jsonl has each effect with its sign"
        )


def by_part(task: TaskConfig, judged: Sequence[Judged]) -> Iterator[tuple[str, Value]]:
    """Accuracy of each part, of a task that averages over parts."""
    if "accuracy_macro" not in task.metrics:
        return
    parts: dict[str, list[Judged]] = {}
    for row in judged:
        parts.setdefault(row.part, []).append(row)
    for part, rows in parts.items():
        yield part, measure("accuracy", rows, task.label_names)


def put(
    glm: Glm,
    asker: Asker,
    questions: Sequence[Question],
    made_from: Mapping[str, Any],
    effort: Effort,
    name: str,
) -> list[Prediction]:
    """The predictions for all questions; those that were made before are not made again."""
    journal = open_journal(effort.folder / name, made_from, questions)
    if journal.changed:
        effort.note(f"{name}: starts over; not as before: {', '.join(journal.changed)}")
    if journal.done:
        effort.note(f"{name}: {len(journal.done):,} of {len(questions):,} were answered before")
    # One by one, so that no answer is lost: a processor is hardly faster with many at once, except
    # where it writes.
    is_single = effort.made_from["device"] == "cpu" and not asker.writes
    with evaluating(glm.module), effort.progress(len(questions), name) as count:
        count(len(journal.done))
        predictions = answer(
            glm.module,
            asker,
            questions,
            count,
            done=journal.done,
            keep=journal.add,
            at_once=1 if is_single else MAX_TOKENS,
        )
    journal.finish(predictions)
    return predictions


def blind_score(
    glm: Glm,
    asker: Asker,
    questions: Sequence[Question],
    made_from: Mapping[str, Any],
    effort: Effort,
) -> float:
    """The score when the words around the blanks are hidden from the model."""
    hidden = blinded(questions, asker.special)
    predictions = put(glm, asker, hidden, made_from, effort, f"{asker.task.name}/blind")
    return measure(asker.task.metrics[0], judge(predictions), ()).value


def send(folder: Path, requests: Sequence[Request]) -> str | None:
    """Pack what is to be sent in; its place."""
    files = [folder / form.file for it in requests if (form := it.submission) is not None]
    return str(pack(folder, files)) if files else None


def protocol(glm: Glm, asker: Asker, known: Taught | None) -> str:
    """How the model was asked."""
    learned = [it.removeprefix("task ") for it in glm.abilities if it.startswith("task ")]
    how = f"fine-tuned for {', '.join(learned)}," if learned else "zero-shot"
    if asker.task.name in learned:
        is_other = known is not None and known.is_other(asker.task)
        how = f"fine-tuned for another {asker.task.name}," if is_other else "fine-tuned"
    if isinstance(glm.module, Baseline):
        return f"{how}, left to right, a {glm.module.kind} by transformers"
    if asker.frame.is_causal:
        return f"{how}, left to right"
    if asker.task.head:
        return f"{how} classification"
    is_written = asker.writes and asker.task.kind in LISTED
    return f"{how} {WAYS['generate' if is_written else asker.task.kind]}"


def of_written(
    asker: Asker, questions: Sequence[Question], predictions: Sequence[Prediction]
) -> Iterator[str]:
    """How many answers were to be one of a list and are not."""
    if not asker.writes or asker.task.kind not in LISTED:
        return
    pairs = zip(questions, predictions, strict=True)
    if num_strange := sum(it.prediction not in asker.labels_of(question) for question, it in pairs):
        yield f"{num_strange:,} of {len(questions):,} answers are none of those listed, so wrong"


def average(suite: Suite, results: Mapping[str, TaskResult]) -> float | None:
    """Mean over the tasks of a suite, once all of them are there and in per cent."""
    if len(suite.main) < 2 or not {*suite.main} <= {*results}:
        return None
    shares = [
        [
            value.value
            for metric, value in results[name].metrics.items()
            if metric not in (*PLAIN, *AT_BEST)
        ]
        for name in suite.main
    ]
    return fmean(map(fmean, shares)) if all(shares) else None


def made_with(device: str) -> dict[str, Any]:
    """Versions and machine."""
    return {
        "glmctl": __version__,
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "device": device,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
