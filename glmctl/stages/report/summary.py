"""What a run is and how far it came, in words and figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from glmctl.recipe.keys import flatten, values_of
from glmctl.stages.report.read import Run

HEADINGS = (
    "run",
    "steps",
    "tokens",
    "loss",
    "smoothed",
    "blanks filled",
    "most frequent token",
    "tokens/s",
    "elapsed",
)
OBJECTIVES = ("token", "sentence", "document", "single_span")


@dataclass(frozen=True)
class RunSummary:
    """One row of the table."""

    name: str
    steps: int
    planned_steps: int | None  # None where tokens or epochs end the run
    num_tokens: int  # source tokens read
    loss: float  # of the last step
    smoothed_loss: float  # mean over the last 1 % of the steps
    probe_exact_match_share: float | None
    probe_baseline_share: float | None
    tokens_per_second: float  # over all steps
    elapsed_seconds: float  # in steps, without starts, probes and saves


def summarize(run: Run) -> RunSummary:
    loss, tokens = run.columns["loss"], int(run.columns["num_tokens"].values.sum())
    seconds = float(run.columns["seconds"].values.sum())
    probes = {
        key: float(run.columns[key].values[-1]) if key in run.columns else None
        for key in ("probe_exact_match_share", "probe_baseline_share")
    }
    return RunSummary(
        name=run.name,
        steps=run.step,
        planned_steps=run.recipe.train.steps,
        num_tokens=tokens,
        loss=float(loss.values[-1]),
        smoothed_loss=float(loss.smooth()[-1]),
        tokens_per_second=tokens / seconds,
        elapsed_seconds=seconds,
        **probes,
    )


def cells(row: RunSummary) -> tuple[str, ...]:
    """The figures of a row under `HEADINGS`, as they are read."""
    minutes, seconds = divmod(round(row.elapsed_seconds), 60)
    return (
        row.name,
        f"{row.steps:,}/{row.planned_steps:,}" if row.planned_steps else f"{row.steps:,}",
        f"{row.num_tokens:,}",
        f"{row.loss:.4f}",
        f"{row.smoothed_loss:.4f}",
        percent(row.probe_exact_match_share),
        percent(row.probe_baseline_share),
        f"{row.tokens_per_second:,.0f}",
        f"{minutes // 60:,}:{minutes % 60:02}:{seconds:02}",
    )


def percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def facts(run: Run) -> dict[str, str]:
    """What the recipe and the manifest say, by heading."""
    recipe, manifest = run.recipe, run.manifest
    model, train, optimizer, schedule = (
        recipe.model,
        recipe.train,
        recipe.optimizer,
        recipe.schedule,
    )
    hardware, topology, packages = manifest["hardware"], recipe.topology, manifest["packages"]
    corpora = ", ".join(f"{corpus.name} x {corpus.weight:g}" for corpus in recipe.data.corpus)
    commit = f" at {manifest['commit'][:10]}" if manifest["commit"] else ""
    return {
        "Recipe": recipe.recipe.source,
        "Model": f"{manifest['num_parameters']:,} parameters: {model.num_layers} layers, width "
        f"{model.hidden_size}, {model.num_attention_heads} heads, {model.max_positions} positions",
        "Objective": objective_words(run),
        "Data": f"{corpora}; rows of {recipe.data.sequence_length} tokens",
        "Batch": f"{train.global_batch_size:,} rows a step, {train.micro_batch_size} at once",
        "Optimizer": f"{optimizer.kind}, rate {optimizer.peak_lr:g}, {schedule.kind}, "
        f"{schedule.warmup_steps:,} steps of warm-up, {train.precision}, seed {train.seed}",
        "Hardware": f"{topology.nodes} x {topology.gpus_per_node} {hardware['device']}, "
        f"{hardware['cpus']} CPU cores, {hardware['threads']} threads, {hardware['platform']}",
        "Versions": f"glmctl {manifest['glmctl']}{commit}, Python {manifest['python']}, "
        + ", ".join(f"{name} {version}" for name, version in packages.items()),
        "Started": manifest["started_at"].replace("T", " ").replace("+00:00", " UTC"),
        "State": state_words(run),
    }


def differences(runs: Sequence[Run]) -> list[tuple[str, ...]]:
    """The keys whose values the recipes do not share, each with the value of every run."""
    recipes = [flatten(values_of(run.recipe)) for run in runs]
    keys = dict.fromkeys(chain.from_iterable(recipes))
    rows = [(key, *(json.dumps(recipe.get(key)) for recipe in recipes)) for key in keys]
    return [row for row in rows if len(set(row[1:])) > 1]


def objective_words(run: Run) -> str:
    objective = run.recipe.objective
    if objective.kind == "mlm":
        return f"masked tokens, {objective.mask_ratio:.0%} hidden"
    weights = {name: getattr(objective, f"{name}_weight") for name in OBJECTIVES}
    shares = ", ".join(
        f"{name.replace('_', ' ')} {weight / objective.total_weight:.0%}"
        for name, weight in weights.items()
        if weight
    )
    return f"blank infilling: {shares}; {objective.mask_ratio:.0%} hidden in short blanks"


def state_words(run: Run) -> str:
    train, finished = run.recipe.train, run.manifest["finished"]
    durations = {"steps": train.steps, "tokens": train.tokens, "epochs": train.epochs}
    planned = next(f"{count:,} {unit}" for unit, count in durations.items() if count is not None)
    is_finished = finished is not None and finished["steps"] == run.step
    state = f"{planned}, {'finished' if is_finished else f'now at step {run.step:,}'}"
    restarts = ", ".join(f"{step:,}" for step in run.restarts)
    return f"{state}; taken up again after step {restarts}" if restarts else state
