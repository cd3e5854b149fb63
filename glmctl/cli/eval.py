"""The command `glmctl eval`."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import BadParameter, Exit, Option

from glmctl.cli import options, render
from glmctl.cli.options import DEFAULT, value, word
from glmctl.cli.recipe import show_published

if TYPE_CHECKING:
    from glmctl.stages.evaluate import Evaluation, TaskResult


Suite = Annotated[str | None, word("SUITE|TASK|TASK.toml|RECIPE", "What to evaluate; see --list.")]
Policy = Annotated[
    Literal["auto", "encode", "decode"] | None,
    value(None, "Score listed answers (encode), or write one (decode)."),
]
Lists = Annotated[bool, Option("--list", help="List suites and tasks, and stop.")]


def eval(
    suite: Suite = None,
    checkpoint: Annotated[str, word("CKPT", "A folder, a checkpoint, or a name.")] = DEFAULT,
    data: Annotated[Path | None, value("DIR|FILE", "Data in its official layout.")] = None,
    tasks: Annotated[str | None, value("A,B", "Only these tasks of the suite.")] = None,
    split: Annotated[str | None, value("NAME", "train, val or test, which is sent in.")] = None,
    pattern: Annotated[int | None, value("N", "Ask with this pattern.", 0)] = None,
    policy: Policy = None,
    limit: Annotated[int | None, value("N", "So many questions of each task.", 1)] = None,
    out: Annotated[Path | None, value("DIR", "For results; else one in evals/.")] = None,
    offline: options.Offline = False,
    lists: Lists = False,
    device: options.Device = None,
    as_json: options.Json = False,
) -> None:
    """Score a model on a suite, a task, or a task of your own."""
    if lists:
        list_tasks(as_json=as_json)
        return
    if suite is None:
        raise BadParameter("name a suite, a task or a TASK.toml; --list shows what there is")
    if offline:
        os.environ["GLMCTL_OFFLINE"] = "1"
    from glmctl.core.tasks.read import named
    from glmctl.stages import evaluate as stage  # torch loads here, never for --help

    try:
        result = stage.run(
            suite,
            model=checkpoint,
            data=data,
            tasks=None if tasks is None else [name.strip() for name in tasks.split(",")],
            split=split,
            pattern=pattern,
            policy=policy,
            limit=limit,
            out=out,
            device=device,
            progress=render.bar,
            note=render.note,
        )
    except KeyboardInterrupt:
        again = shlex.join(["glmctl", *sys.argv[1:]])
        render.note(f"what is answered is kept; the same command continues from there: {again}")
        raise
    for problem in named(result.problems):
        render.complain(problem)
    if as_json:
        render.show(result, as_json=True)
    else:
        show_scores(result)
    if result.problems:
        raise Exit(1)


def show_scores(result: Evaluation) -> None:
    """Print a line for each task, and what must be known to read it."""
    from glmctl.core.tasks.metrics import PLAIN

    columns = ("task", "metric", "score", "95 % interval", "baseline", "questions", "pattern")
    render.table(columns, [row(name, task) for name, task in result.tasks.items()])
    if result.average is not None:
        render.say(f"average of the suite: {result.average:.2f}")
    show_published(result.published)
    for protocol in dict.fromkeys(task.protocol for task in result.tasks.values()):
        names = (name for name, task in result.tasks.items() if task.protocol == protocol)
        render.say(f"{protocol}: {', '.join(names)}")
    for metric in sorted({it for task in result.tasks.values() for it in task.metrics} & {*PLAIN}):
        render.say(f"{metric}: less is better; not in per cent")
    for name, note in ((name, note) for name, task in result.tasks.items() for note in task.notes):
        render.note(f"{name}: {note}")
    if result.submission is not None:
        render.say(f"to be sent in: {result.submission}")
    render.note(f"predictions and results: {result.out}")


def row(name: str, task: TaskResult) -> tuple[str, ...]:
    """What the table says about a task; other metrics stand beside the score."""
    scores = "/".join(f"{it.value:.2f}" for it in task.metrics.values())
    interval = "" if task.interval is None else "{:.2f} to {:.2f}".format(*task.interval)
    known = task.majority if task.blind is None else task.blind
    baseline = "" if known is None else f"{known:.2f}"
    what = (name, "/".join(task.metrics), scores, interval, baseline)
    return (*what, f"{task.num_questions:,}", "" if task.pattern is None else f"{task.pattern}")


def list_tasks(*, as_json: bool) -> None:
    """Print the suites of the package with their tasks."""
    from glmctl.core.tasks.find import builtin_suites

    columns = ("suite", "task", "kind", "metrics", "patterns", "status")
    tasks = ((suite.name, task) for suite in builtin_suites() for task in suite.tasks)
    rows = [
        (suite, it.name, it.kind, "/".join(it.metrics), f"{len(it.patterns)}", it.status)
        for suite, it in tasks
    ]
    if as_json:
        render.emit("TaskList", {"tasks": [dict(zip(columns, it, strict=True)) for it in rows]})
    else:
        render.table(columns, rows)
