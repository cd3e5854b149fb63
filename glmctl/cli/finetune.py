"""The command `glmctl finetune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, BadParameter, Exit, Option

from glmctl.cli import options, render

if TYPE_CHECKING:
    from glmctl.core.tasks.find import Suite
    from glmctl.core.tasks.schema import TaskConfig
    from glmctl.stages.finetune import FinetuneResult

EXAMPLE = '--data FILE --pattern "{review} It was [MASK]." --verbalizer "1=good,0=bad"'
Text = str | None
File = Path | None


def finetune(
    name: Annotated[Text, Argument(metavar="TASK|TASK.toml", help="See eval --list.")] = None,
    data: Annotated[File, Option(metavar="FILE|DIR", help="Rows with labels.")] = None,
    dev: Annotated[File, Option(metavar="FILE", help="To evaluate on; else rows held out.")] = None,
    text_column: Annotated[Text, Option(metavar="A,B", help="Columns for the pattern.")] = None,
    label_column: Annotated[Text, Option(metavar="NAME", help="Of the label; else label.")] = None,
    pattern: Annotated[Text, Option(metavar="TEXT", help="Text of {columns} and [MASK].")] = None,
    verbalizer: Annotated[Text, Option(metavar="A=X,B=Y", help="Words of the labels.")] = None,
    model: options.Model = None,
    predict: Annotated[File, Option(metavar="FILE", help="New rows, to be labelled.")] = None,
    out: Annotated[File, Option(metavar="FILE", help="For the labelled rows.")] = None,
    overrides: options.Set = None,
    run_dir: options.RunDir = None,
    fresh: options.Fresh = False,
    force: options.Force = False,
    device: options.Device = None,
    as_json: options.Json = False,
) -> None:
    """Teach a model a task of your own, or a built-in one, and label new rows."""
    if (predict is None) != (out is None):
        raise BadParameter("--predict FILE and --out FILE go together")
    about = (name, data, dev, text_column, label_column, pattern, verbalizer, overrides, run_dir)
    is_training = any(about) or fresh or force
    if not is_training and (predict is None or model is None):
        raise BadParameter(f"name a task, or {EXAMPLE}, or --model RUN --predict FILE")
    source = model or "glmctl-default"
    if is_training:
        suite, task = find(name, data, text_column, label_column, pattern, verbalizer)
        from glmctl.stages import finetune as stage  # torch loads here, never for --help

        result = stage.run(
            stage.locate(suite, task, data, dev),
            model=source,
            overrides=overrides or (),
            run_dir=run_dir or Path("runs", task.name),
            fresh=fresh,
            force=force,
            device=device,
            progress=render.step_line,
            note=render.note,
        )
        render.show(result, as_json=True) if as_json else show_scores(result)
        source = result.run_dir
    if predict is not None and out is not None:
        label_rows(source, predict, out, device, as_json=as_json)


def find(
    name: Text, data: File, columns: Text, label: Text, pattern: Text, verbalizer: Text
) -> tuple[Suite, TaskConfig]:
    """The task that the command line names or describes."""
    from glmctl.core.tasks.find import find_suite, own_suite

    if name is None:
        if data is None or pattern is None or verbalizer is None:
            raise BadParameter(f"a task of your own needs {EXAMPLE}")
        suite = own_suite(data.name, columns or "", label or "label", pattern, verbalizer)
        return suite, suite.tasks[0]
    if columns or label or pattern or verbalizer:
        raise BadParameter(f"{name} says how it asks; leave out what describes a task")
    suite, names = find_suite(name)
    if len(names) > 1:
        raise BadParameter(f"{name} holds several tasks; name one: {', '.join(names)}")
    return suite, suite.choose(names)[0]


def show_scores(result: FinetuneResult) -> None:
    """Print the score, what was taken for what, and what can be done next."""
    low, high = result.interval
    known = "" if result.majority is None else f"; majority {result.majority:.2f}"
    render.say(f"{result.metric} {result.score:.2f} ({low:.2f} to {high:.2f}{known})")
    render.say(f"{result.num_dev:,} held-out rows, step {result.best_step:,} of {result.steps:,}")
    if result.confusion:
        table = [(gold, *map(str, row.values())) for gold, row in result.confusion.items()]
        render.table(("right label", *(f"said {label}" for label in result.confusion)), table)
    render.note(f"next: glmctl finetune --model {result.run_dir} --predict FILE --out FILE")


def label_rows(model: str, file: Path, out: Path, device: Text, *, as_json: bool) -> None:
    """Label new rows, and name those that could not be."""
    from glmctl.stages import predict as stage

    result = stage.run(model, file, out, device=device, progress=render.bar)
    for problem in result.problems[:10]:
        render.complain(problem)
    text = f"{out}: {result.num_rows:,} rows, {result.num_failed:,} without a prediction"
    render.show(result, as_json=True) if as_json else render.say(text)
    if result.problems:
        raise Exit(1)
