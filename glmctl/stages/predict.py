"""Prediction: the rows of a file get the labels of a task that a model was fine-tuned for."""

import csv
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glmctl.core.open import evaluating, load
from glmctl.core.tasks.answer import answer
from glmctl.core.tasks.ask import Asker, Prediction, Question
from glmctl.core.tasks.formats import TABLES, records
from glmctl.core.tasks.learned import asker_for
from glmctl.core.tasks.read import examples_of, named
from glmctl.core.tasks.schema import TaskConfig
from glmctl.core.train.examination import probabilities
from glmctl.core.train.precision import choose_device
from glmctl.core.train.taught import taught
from glmctl.errors import InputError, UsageError

Progress = Callable[[int, str], AbstractContextManager[Callable[[int], None]]]
"""Given a count and what is counted, gives what adds to it."""


@dataclass(frozen=True)
class PredictResult:
    """New rows with the labels that a model gave them."""

    model: str
    task: str
    out: str
    labels: Mapping[str, int]
    """How often each one was predicted; empty where answers are texts."""
    num_rows: int
    num_failed: int
    """Rows that could not be read or asked; they have no prediction."""
    num_cut: int
    """Rows that were shortened."""
    problems: tuple[str, ...]


def run(
    model: str, file: Path, out: Path, *, device: str | None = None, progress: Progress
) -> PredictResult:
    """Give the rows of a file their labels.

    Args:
        model: a run of fine-tuning, or something in it.
        file: JSON Lines, CSV or TSV; nothing in it is a label yet.
        out: gets the rows with `prediction` and probabilities, in the form that its name says.
        device: cpu or cuda; None: cuda when there is one.
        progress: shows how far it is.

    Raises:
        UsageError: the model was not fine-tuned for a task.
        InputError: the file cannot be read.
    """
    if out.resolve() == file.resolve():
        raise UsageError(f"--out {out}", "is the file that is labelled; name another")
    task = task_of(model)
    glm = load(model, device=choose_device(device).type)
    asker = asker_for(glm, task)
    rows: list[tuple[Mapping[str, Any], Question | None]] = []
    problems: list[str] = []
    for number, record in records(file, task.format, columns=task.columns, quoted=task.quoted):
        try:
            rows += new_questions(asker, record, f"{file}:{number}", number)
        except (ValueError, RecursionError) as problem:
            problems.append(f"{file}:{number}: {problem}")
            rows.append(({} if isinstance(record, ValueError) else record, None))
    if len(problems) == len(rows):
        raise InputError(str(file), *named(problems) or ["is empty; it should hold rows"])
    added = {"prediction"} | ({"probability"} if task.kind == "choice" else set())
    added |= {f"probability_{it}" for it in task.label_names if task.kind == "cloze"}
    if taken := sorted(added & {name for record, _ in rows for name in record}):
        raise InputError(str(file), f"has columns {', '.join(taken)}, which are added; rename them")
    questions = [question for _, question in rows if question is not None]
    with evaluating(glm.module), progress(len(questions), "rows") as count:
        predictions = answer(glm.module, asker, questions, count)
    given = iter(predictions)
    lines = [
        {**record, **({"prediction": None} if question is None else scored(task, next(given)))}
        for record, question in rows
    ]
    write_rows(out, lines)
    labels = Counter(prediction.prediction for prediction in predictions)
    return PredictResult(
        model,
        task.name,
        str(out),
        {label: labels[label] for label in task.label_names if task.has_labels},
        len(rows),
        len(problems),
        sum(question.is_cut for question in questions),
        tuple(problems),
    )


def task_of(model: str) -> TaskConfig:
    """The task that a model was fine-tuned for: its run says so.

    Raises:
        UsageError: it is no run of fine-tuning.
    """
    if known := taught(model):
        return known.task
    if runs := sorted(it.parent.name for it in Path(model).glob("*/recipe.toml")):
        raise UsageError(model, f"holds {len(runs)} runs; name one of them: {', '.join(runs)}")
    raise UsageError(
        model, "is no run of glmctl finetune, so it has no task; train one with --data first"
    )


def new_questions(
    asker: Asker, record: Mapping[str, Any] | ValueError, place: str, number: int
) -> list[tuple[Mapping[str, Any], Question | None]]:
    """A row with each of its questions.

    Raises:
        ValueError: what is wrong with the row.
    """
    if isinstance(record, ValueError):
        raise record
    found = examples_of(record, asker.task, place, number, is_new=True)
    return [(record, asker.ask(example)) for example in found]


def scored(task: TaskConfig, prediction: Prediction) -> dict[str, str | float]:
    """What is added to a row: the prediction, and the probability of each label or of it alone."""
    if not prediction.scores:  # it is written
        return {"prediction": prediction.prediction}
    shares = {name: round(share, 6) for name, share in probabilities(prediction).items()}
    if task.kind != "cloze":  # each row has candidates of its own
        return {"prediction": prediction.prediction, "probability": max(shares.values())}
    added = {f"probability_{label}": share for label, share in shares.items()}
    return {"prediction": prediction.prediction, **added}


def write_rows(out: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """One row after another: CSV or TSV when the name says so, else JSON Lines."""
    with out.open("w", encoding="utf-8", newline="") as stream:
        if out.suffix not in TABLES:
            stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            return
        names = dict.fromkeys(name for row in rows for name in row)
        table = csv.DictWriter(stream, [*names], delimiter=TABLES[out.suffix], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
