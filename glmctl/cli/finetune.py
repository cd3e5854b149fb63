"""The command `glmctl finetune`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import BadParameter, Exit

from glmctl.cli import options, render
from glmctl.cli.options import DEFAULT, value, word
from glmctl.cli.recipe import show_published
from glmctl.recipe.find import find_recipe, recipe_name

if TYPE_CHECKING:
    from glmctl.core.tasks.find import Suite
    from glmctl.core.tasks.schema import TaskConfig
    from glmctl.stages.finetune import FinetuneResult, MatrixResult

EXAMPLE = '--data FILE --pattern "{review} It was [MASK]." --verbalizer "1=good,0=bad"'
NEXT = "next: glmctl finetune --model {} --predict FILE --out FILE"
Text = str | None
File = Path | None
Name = Annotated[
    Text,
    word("RECIPE|TASK|TASK.toml", "What to learn; see eval --list.", options.complete_recipe),
]


def finetune(
    name: Name = None,
    data: Annotated[File, value("FILE|DIR", "Rows with labels.")] = None,
    dev: Annotated[File, value("FILE", "Rows to evaluate on; else some are held out.")] = None,
    text_column: Annotated[Text, value("A,B", "Columns with text, else all.")] = None,
    label_column: Annotated[Text, value("NAME", "Column with the label, else label.")] = None,
    pattern: Annotated[Text, value("TEXT", "A question of {columns} and [MASK].")] = None,
    verbalizer: Annotated[Text, value("A=X,B=Y", "The word of each label.")] = None,
    model: options.Model = None,
    predict: Annotated[File, value("FILE", "New rows, to be labelled.")] = None,
    out: Annotated[File, value("FILE", "Where they go, with their labels.")] = None,
    overrides: options.Set = None,
    run_dir: options.RunDir = None,
    fresh: options.Fresh = False,
    force: options.Force = False,
    dry_run: options.DryRun = False,
    device: options.Device = None,
    as_json: options.Json = False,
) -> None:
    """Teach a model a task of your own, or a built-in one, and label new rows."""
    if (predict is None) != (out is None):
        raise BadParameter("--predict FILE and --out FILE go together")
    describes = (text_column, label_column, pattern, verbalizer)
    about = (name, data, dev, *describes, overrides, run_dir, fresh, force, dry_run)
    if not any(about) and (predict is None or model is None):
        raise BadParameter(f"name a task, or {EXAMPLE}, or --model RUN --predict FILE")
    if name is not None and any(describes):
        raise BadParameter(f"{name} says how it asks; leave out what describes a task")
    from glmctl.recipe.load import stage_of

    recipe = name if name is not None and stage_of(name) is not None else None
    if dry_run:
        if recipe is None:
            raise BadParameter("--dry-run lists the runs of a recipe; name one")
        show_runs(recipe, overrides or (), as_json=as_json)
        return
    source, is_forgetful = model or DEFAULT, False
    if any(about):
        if recipe is None:
            suite, task = find(name, data, *describes)
            place = task.name
        from glmctl.stages import finetune as stage  # torch loads here, never for --help

        if recipe is None:
            jobs = [stage.Job(stage.locate(suite, task, data, dev), source, overrides or ())]
        else:
            jobs = stage.jobs_of(recipe, overrides or (), model=model, data=data, dev=dev)
            place = recipe_name(recipe)
        if predict is not None and len(jobs) > 1:
            raise BadParameter(f"{name} makes {len(jobs)} models; run --predict with one of them")
        result = stage.run(
            jobs,
            run_dir=run_dir or Path("runs", place),
            fresh=fresh,
            force=force,
            device=device,
            progress=render.step_line,
            note=render.note,
        )
        source, is_forgetful = result.run_dir, show(result, as_json=as_json)
    if predict is not None and out is not None:
        label_rows(source, predict, out, device, as_json=as_json)
    if is_forgetful:
        raise Exit(1)


def show(result: FinetuneResult | MatrixResult, *, as_json: bool) -> bool:
    """Print what came of it; gives whether a model has forgotten more than it may."""
    from glmctl.stages.finetune import MatrixResult

    if as_json:
        render.show(result, as_json=True)
    elif isinstance(result, MatrixResult):
        show_matrix(result)
    else:
        show_scores(result)
    runs = [*result.runs.values()] if isinstance(result, MatrixResult) else [result]
    if not as_json:
        show_published([row for it in runs for row in it.published])
    for warning in dict.fromkeys(warning for it in runs for warning in it.warnings):
        render.warn(warning)
    forgetful = [it for it in runs if it.is_forgetful]
    for it in forgetful:
        render.complain(
            f"{it.run_dir}: perplexity of other text rose by {100 * it.forgetting:.1f} %, more "
            "than train.max_forgetting; train less, at a lower rate, or with an adapter"
        )
    return bool(forgetful)


def show_runs(name: str, overrides: Sequence[str], *, as_json: bool) -> None:
    """List what a recipe would run."""
    from glmctl.core.tasks.find import task_of_recipe
    from glmctl.recipe.finetune import runs_of, trace_finetuning

    recipe, _ = trace_finetuning(name, overrides)
    rows = []
    for run in runs_of(recipe, name):
        train = run.recipe.train
        _, task = task_of_recipe(run.recipe.task, find_recipe(name))
        rows.append(
            {
                "run": run.name or recipe_name(name),
                "task": task.name,
                "model": train.initial_model or DEFAULT,
                "length": f"{train.steps:,} steps" if train.steps else f"{train.epochs:g} epochs",
                "batch": train.global_batch_size,
                "peak_lr": run.recipe.optimizer.peak_lr,
                "seed": train.seed,
            }
        )
    if as_json:
        render.emit("FinetunePlan", {"runs": rows})
        return
    lines = [["by width" if it is None else str(it) for it in row.values()] for row in rows]
    render.table([*rows[0]], lines)


def show_matrix(result: MatrixResult) -> None:
    """Print the mean of each setting, and which is the best of its task."""
    lines = [
        (
            *map(str, row.values.values()),
            row.metric,
            f"{row.mean:.2f}",
            "" if row.deviation is None else f"{row.deviation:.2f}",
            f"{row.num_runs}",
            "best" if row.is_best else "",
        )
        for row in result.rows
    ]
    heads = ("metric", "mean", "deviation", "runs", "")
    render.table((*result.rows[0].values, *heads), lines)
    best = max(result.runs.values(), key=lambda run: run.score)
    render.note(NEXT.format(best.run_dir))


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
    suite, names = find_suite(name)
    if len(names) > 1:
        raise BadParameter(f"{name} holds several tasks; name one: {', '.join(names)}")
    return suite, suite.choose(names)[0]


def show_scores(result: FinetuneResult) -> None:
    """Print the score, what was taken for what, and what can be done next."""
    low, high = result.interval
    known = "" if result.majority is None else f"; majority {result.majority:.2f}"
    render.say(f"{result.metric} {result.score:.2f} ({low:.2f} to {high:.2f}{known})")
    for name in [*result.metrics][1:]:
        render.say(f"{name} {result.metrics[name]:.2f}")
    render.say(f"{result.num_dev:,} held-out rows, step {result.best_step:,} of {result.steps:,}")
    if result.confusion:
        table = [(gold, *map(str, row.values())) for gold, row in result.confusion.items()]
        render.table(("right label", *(f"said {label}" for label in result.confusion)), table)
    before, after = result.perplexity_before, result.perplexity_after
    change = f"{before:.2f} before, {after:.2f} after ({100 * result.forgetting:+.1f} %)"
    render.say(f"perplexity of other text {change}")
    render.note(NEXT.format(result.run_dir))


def label_rows(model: str, file: Path, out: Path, device: Text, *, as_json: bool) -> None:
    """Label new rows, and name those that could not be."""
    from glmctl.core.tasks.read import named
    from glmctl.stages import predict as stage

    result = stage.run(model, file, out, device=device, progress=render.bar)
    for problem in named(result.problems):
        render.complain(problem)
    text = f"{out}: {result.num_rows:,} rows, {result.num_failed:,} without a prediction"
    if result.num_cut:
        text += f", {result.num_cut:,} cut to what the model reads"
    render.show(result, as_json=True) if as_json else render.say(text)
    if result.problems:
        raise Exit(1)
