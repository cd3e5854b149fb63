"""Evaluation: the tasks of a suite put to a model, scored, and written down with what made them."""

from __future__ import annotations

import json
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
from glmctl.core.data.shards import digest_of
from glmctl.core.open import Glm, evaluating, load
from glmctl.core.tasks.answer import answer, ask_all, judge, majority
from glmctl.core.tasks.ask import Asker, Prediction, Question
from glmctl.core.tasks.find import Suite, find_suite, places_of
from glmctl.core.tasks.metrics import Value, measure
from glmctl.core.tasks.read import read_examples
from glmctl.core.tasks.schema import TaskConfig
from glmctl.core.train.precision import choose_device
from glmctl.errors import InputError, UsageError

SCHEMA = "glmctl.Evaluation/1"
ZERO_SHOT, FINE_TUNED = "zero-shot cloze", "fine-tuned cloze"
PACKAGES = ("torch", "numpy", "tokenizers", "sentencepiece")
Progress = Callable[[int, str], AbstractContextManager[Callable[[int], None]]]
"""Given a count and what is counted, gives what adds to it."""


@dataclass(frozen=True)
class TaskResult:
    """The score of one task, in per cent, and what it rests on."""

    score: float
    """Of the first metric."""
    interval: tuple[float, float]
    """95 %."""
    metric: str
    metrics: Mapping[str, Value]
    majority: float | None
    """Score of always giving the most frequent label; None where answers are texts."""
    num_questions: int
    num_examples: int
    num_failed: int
    """Rows that could not be read or asked; they count in no score."""
    num_cut: int
    """Examples that were shortened."""
    max_length: int
    """Most tokens of text and answer; longer texts lose tokens from the end."""
    pattern: int
    scored_by: str
    protocol: str
    notes: tuple[str, ...]
    """What must be known to read the score."""
    status: str
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
    """Of the tasks of the suite, each the mean of its metrics, as its authors do."""
    limit: int | None
    out: str
    made_with: Mapping[str, Any]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Request:
    """A task, and the file that holds it."""

    task: TaskConfig
    file: Path


def run(
    name: str,
    *,
    model: str,
    data: Path | None,
    tasks: Sequence[str] | None,
    pattern: int | None,
    limit: int | None,
    out: Path | None,
    device: str | None,
    progress: Progress,
) -> Evaluation:
    """Evaluate a model.

    Args:
        name: a suite, a task, or a TOML file of tasks.
        model: what `load` opens.
        data: folder in the official layout or, for one task, its file.
        tasks: those of the suite; None: all.
        pattern: number of the pattern; None: that of each task.
        limit: questions of each task; None: all.
        out: folder for predictions and results; None: evals/NAME-MODEL.
        device: cpu or cuda; None: cuda when there is one.
        progress: shows how far it is.

    Raises:
        UsageError: there is no such task, or a pattern that a task does not have.
        InputError: data or model are missing or damaged.
    """
    suite, chosen = find_suite(name)
    configs = [with_pattern(task, pattern) for task in suite.choose(tuple(tasks or chosen))]
    requests = locate(suite, configs, data)
    folder = out or Path("evals") / f"{suite.name if tasks else Path(name).stem}-{Path(model).name}"
    refuse_other_files(folder)
    where = choose_device(device).type
    glm = load(model, device=where, dtype="float32" if where == "cpu" else None)
    results: dict[str, TaskResult] = {}
    problems: list[str] = []
    for request in requests:
        try:
            result, predictions, wrong = evaluate(glm, request, limit, progress)
        except InputError as problem:
            if len(requests) == 1:
                raise
            problems.append(str(problem))  # the other tasks are done all the same
            continue
        results[request.task.name] = result
        problems += wrong
        write_predictions(folder / request.task.name / "predictions.jsonl", predictions)
    if not results:
        raise InputError(suite.name, *problems)
    tensors = glm.module.state_dict()
    evaluation = Evaluation(
        suite.name,
        model,
        digest_all({key: digest(tensor) for key, tensor in tensors.items()}),
        glm.license,
        results,
        average(suite, results),
        limit,
        str(folder),
        made_with(where),
        tuple(problems),
    )
    write_json(folder / "results.json", {"schema": SCHEMA, **asdict(evaluation)})
    return evaluation


def with_pattern(task: TaskConfig, pattern: int | None) -> TaskConfig:
    """The task with another of its patterns.

    Raises:
        UsageError: it has no such pattern.
    """
    if pattern is None:
        return task
    if pattern >= len(task.patterns):
        last = len(task.patterns) - 1
        raise UsageError("--pattern", f"{task.name} has patterns 0 to {last}, not {pattern}")
    return task.model_copy(update={"pattern": pattern})


def locate(suite: Suite, tasks: Sequence[TaskConfig], data: Path | None) -> list[Request]:
    """The file of each task.

    Raises:
        InputError: naming every file that is missing, and where to get it.
    """
    requests, problems = [], []
    for task in tasks:
        places = [*places_of(suite, task, "val", data, is_single=len(tasks) == 1)]
        file = next((place for place in places if place.is_file()), None)
        if file is not None:
            requests.append(Request(task, file))
        else:
            problems.append(f"{task.name}: no {' and no '.join(map(str, places)) or 'file'}")
    if problems:
        there = ",".join(request.task.name for request in requests)
        remedy = f"get {suite.get}, unpack it and name" if suite.get else "name"
        remedy += " its folder with --data DIR" if suite.root is None else " it with --data FILE"
        remedy += f"; or evaluate what is there: --tasks {there}" if there else ""
        raise InputError(str(data or "data"), *problems, remedy)
    return requests


def refuse_other_files(folder: Path) -> None:
    """Results take the place of results only.

    Raises:
        UsageError: the folder holds something else.
    """
    if folder.exists() and not (folder / "results.json").exists() and any(folder.iterdir()):
        raise UsageError(str(folder), "holds other files; name a new folder with --out")
    folder.mkdir(parents=True, exist_ok=True)


def evaluate(
    glm: Glm, request: Request, limit: int | None, progress: Progress
) -> tuple[TaskResult, list[Prediction], list[str]]:
    """Put one task to the model; gives also what is wrong with rows of its file."""
    started_at = time.monotonic()
    task = request.task
    asker = Asker(task, glm.scoring_tokenizer(), glm.config)
    rows = read_examples(request.file, task, limit)
    questions, problems = ask_all(asker, rows)
    if not questions:
        raise InputError(str(request.file), *problems[:5])
    with evaluating(glm.module), progress(len(questions), task.name) as count:
        predictions = answer(glm.module, asker, questions, count)
    judged = judge(predictions)
    values: dict[str, Value] = {
        metric: measure(metric, judged, task.label_names) for metric in task.metrics
    }
    main = values[task.metrics[0]]
    result = TaskResult(
        main.value,
        main.interval,
        task.metrics[0],
        values,
        majority(task, judged),
        len({row.group for row in judged}),
        len(judged),
        len(problems),
        sum(question.is_cut for question in questions),
        asker.max_length,
        task.pattern,
        asker.scored_by,
        FINE_TUNED if task.ability in glm.abilities else ZERO_SHOT,
        tuple(notes(asker, questions)),
        task.status,
        str(request.file),
        digest_of(request.file),
        round(time.monotonic() - started_at, 2),
    )
    return result, predictions, problems


def notes(asker: Asker, questions: Sequence[Question]) -> Iterator[str]:
    """What must be known to read the score."""
    if asker.split_words:
        words = ", ".join(map(repr, asker.split_words))
        yield f"the tokenizer cuts {words}; words are scored by all their tokens"
    if num_cut := sum(question.is_cut for question in questions):
        yield f"{num_cut:,} of {len(questions):,} texts are cut to {asker.max_length:,} tokens"


def average(suite: Suite, results: Mapping[str, TaskResult]) -> float | None:
    """Mean over the tasks of a suite, once all of them are there."""
    if len(suite.main) < 2 or not {*suite.main} <= {*results}:
        return None
    values = [[it.value for it in results[name].metrics.values()] for name in suite.main]
    return fmean(map(fmean, values))


def write_predictions(file: Path, predictions: Sequence[Prediction]) -> None:
    """One JSON object for each example."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8") as stream:
        for it in predictions:
            values = {
                "id": it.example.id[0] if len(it.example.id) == 1 else it.example.id,
                "prediction": it.prediction,
                "golds": it.example.golds,
                "scores": it.scores,
            }
            stream.write(json.dumps(values, ensure_ascii=False) + "\n")


def made_with(device: str) -> dict[str, Any]:
    """Versions and machine."""
    return {
        "glmctl": __version__,
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "device": device,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
