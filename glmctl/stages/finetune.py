"""Fine-tuning: a model learns a task by the scoring with which it is evaluated."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from glmctl.core.checkpoint.durable import digest_all
from glmctl.core.checkpoint.store import CheckpointStore
from glmctl.core.model.glm import GLM
from glmctl.core.model.prompt import apart
from glmctl.core.open import Glm, evaluating, load
from glmctl.core.tasks.answer import answer, judge, majority
from glmctl.core.tasks.ask import Asker, Prediction
from glmctl.core.tasks.battery import battery_of
from glmctl.core.tasks.find import Suite, places_of, task_of_recipe
from glmctl.core.tasks.metrics import measure
from glmctl.core.tasks.schema import TaskConfig
from glmctl.core.train.adapter import merged_weights, require_peft, save_adapter
from glmctl.core.train.examination import Examination
from glmctl.core.train.length import with_train
from glmctl.core.train.lessons import LessonData
from glmctl.core.train.loop import Outputs, Progress, fit
from glmctl.core.train.matrix import MatrixRow, compare
from glmctl.core.train.memory import keep_freed_memory
from glmctl.core.train.metrics import MetricsLog
from glmctl.core.train.optimizer import make_optimizer
from glmctl.core.train.parts import add_parts, usual_rate
from glmctl.core.train.precision import LossScale, choose_device, place
from glmctl.core.train.preflight import Material, prepare, task_to_learn
from glmctl.core.train.run import REMEDY, RunFolder, describe_run
from glmctl.core.train.state import TrainState
from glmctl.core.train.track import require_packages, tracking
from glmctl.errors import InputError, UsageError
from glmctl.recipe.find import find_recipe
from glmctl.recipe.finetune import EPOCHS, USUAL, lay, runs_of, trace_finetuning
from glmctl.recipe.keys import values_of
from glmctl.recipe.load import expand_path, make_recipe
from glmctl.recipe.published import compare_numbers
from glmctl.recipe.schema import Recipe

DEFAULT_MODEL = "glmctl-default"


@dataclass(frozen=True)
class FinetuneResult:
    """A finished fine-tuning, and the scores of its best model on held-out rows, in per cent."""

    run_dir: str
    model: str
    task: str
    metric: str
    score: float
    interval: tuple[float, float]
    """95 %."""
    majority: float | None
    """Score of always giving the most frequent label; None where answers are texts."""
    metrics: Mapping[str, float]
    confusion: Mapping[str, Mapping[str, int]]
    """For each label how often which one was predicted; empty where answers are texts."""
    num_train: int
    num_dev: int
    num_cut: int
    """Training rows that were shortened."""
    steps: int
    best_step: int
    loss: float  # of the last step
    elapsed_seconds: float  # in steps
    perplexity_before: float
    """On data.battery, a text of no task."""
    perplexity_after: float
    forgetting: float
    """Relative rise of that perplexity."""
    is_forgetful: bool
    """Whether it rose by more than train.max_forgetting."""
    parameter_digest: str  # after the last step; equal runs have equal ones
    warnings: tuple[str, ...] = ()
    """What must be known to read the score."""
    published: Sequence[Mapping[str, Any]] = ()
    """Those scores for which the recipe states numbers of the literature, beside these."""


@dataclass(frozen=True)
class MatrixResult:
    """All fine-tunings of a recipe."""

    run_dir: str
    rows: tuple[MatrixRow, ...]
    runs: Mapping[str, FinetuneResult]
    """By the names of their folders."""


@dataclass(frozen=True)
class Source:
    """A task and its files."""

    task: TaskConfig
    train: Path
    dev: Path | None
    """None: rows of train are held out."""
    settings: Mapping[str, Any]
    """Sections of a recipe that the task brings."""


@dataclass(frozen=True)
class Job:
    """A fine-tuning that is asked for."""

    source: Source
    model: str
    """What `load` opens."""
    overrides: Sequence[str] = ()
    """``section.key=value`` each."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """By axis of the matrix; empty without one."""
    name: str = ""
    """Of its folder among those of the matrix."""


def locate(suite: Suite, task: TaskConfig, data: Path | None, dev: Path | None) -> Source:
    """The files of a task.

    Raises:
        InputError: there is none to train on.
    """
    places = [*places_of(suite, task, "train", data, is_single=True)]
    train = next((place for place in places if place.is_file()), None)
    named = task.files.get("val", "") if train else task.files.get("train", "")
    if "*" in named and (train is None or (dev is None and train != data)):
        option = "--dev" if train else "--data"
        problem = f"has its rows in several files, {named}, and fine-tuning reads one"
        raise InputError(task.name, f"{problem}; join them, and name the file with {option} FILE")
    if train is None:
        missing = f"no {' and no '.join(map(str, places)) or 'file to train on'}"
        remedy = "name one with --data FILE"
        remedy += f", or get {suite.get} and name its folder" if suite.get else ""
        raise InputError(task.name, f"{missing}; {remedy}")
    if dev is None and train != data:
        found = places_of(suite, task, "val", data, is_single=True)
        dev = next((place for place in found if place.is_file()), None)
    return Source(task, train, dev, suite.settings)


def jobs_of(
    path_or_name: str,
    overrides: Sequence[str],
    *,
    model: str | None = None,
    data: Path | None = None,
    dev: Path | None = None,
) -> list[Job]:
    """The runs of a recipe: one, or all those of its matrix.

    Args:
        path_or_name: a file, or the name of a built-in recipe.
        overrides: ``section.key=value`` each.
        model: what `load` opens; None: what the recipe names, else the default model.
        data: a file of rows, or a folder of data sets; None: where the tasks look.
        dev: rows to evaluate on; None: those of the task.

    Raises:
        UsageError: the recipe is wrong, or names a task that cannot be learned.
        InputError: data of one of the tasks is missing.
    """
    recipe, _ = trace_finetuning(path_or_name, overrides)
    if model is not None and "model" in recipe.matrix:
        raise UsageError("--model", "and matrix.model both name models; leave one out")
    file = find_recipe(path_or_name)
    jobs: list[Job] = []
    missing: dict[str, None] = {}
    for run in runs_of(recipe, path_or_name):
        suite, task = task_of_recipe(run.recipe.task, file)
        settings = {k: it for k, it in values_of(run.recipe).items() if k not in ("task", "matrix")}
        try:
            source = replace(locate(suite, task, data, dev), settings=settings)
        except InputError as error:
            missing |= {str(error): None}
            continue
        chosen = model or run.recipe.train.initial_model or DEFAULT_MODEL
        jobs.append(Job(source, chosen, (), run.values, run.name))
    if missing:
        raise InputError(path_or_name, *missing)
    return jobs


def run(
    jobs: Sequence[Job],
    *,
    run_dir: Path,
    fresh: bool = False,
    force: bool = False,
    device: str | None = None,
    progress: Callable[[int], AbstractContextManager[Progress]],
    note: Callable[[str], None],
) -> FinetuneResult | MatrixResult:
    """Fine-tune, or continue; those of a matrix in folders of their own, one after another.

    A run that is finished is not done again.

    Args:
        jobs: of one recipe, or a single one.
        run_dir: where the run lives, or all of them.
        fresh: start over instead of continuing.
        force: let `fresh` delete the runs that are there.
        device: cpu or cuda; None: cuda when there is one.
        progress: given how often to speak, gives what is told after every step.
        note: takes the lines that a reader may want to see.

    Raises:
        UsageError: a task cannot be learned this way, or a setting is wrong.
        InputError: model or data are missing or damaged, or would teach nothing.
    """
    results: dict[str, FinetuneResult] = {}
    before: dict[tuple[str, str], float] = {}
    for number, job in enumerate(jobs, 1):
        if job.name:
            note(f"run {number:,} of {len(jobs):,}: {job.name}")
        folder = RunFolder(run_dir / job.name)
        results[job.name] = run_one(job, folder, fresh, force, device, before, progress, note)
    if not jobs[0].name:
        return results[""]
    scores = [(it.values, results[it.name].metric, results[it.name].score) for it in jobs]
    return MatrixResult(str(run_dir), compare(scores), results)


def run_one(
    job: Job,
    folder: RunFolder,
    fresh: bool,
    force: bool,
    device: str | None,
    before: dict[tuple[str, str], float],
    progress: Callable[[int], AbstractContextManager[Progress]],
    note: Callable[[str], None],
) -> FinetuneResult:
    """Fine-tune, or continue the run that the folder holds.

    `before` holds the perplexity of models on texts, by both, and gets that of this one.
    """
    source, model = job.source, job.model
    chosen = choose_device(device)
    base = load(model, device=chosen.type, dtype="float32")
    recipe = recipe_for(source, base, model, job.overrides)
    require_packages(recipe.track)
    if recipe.adapter is not None:
        require_peft(recipe.adapter)
    task = task_to_learn(recipe)
    asker = Asker(task, base.scoring_tokenizer(), base.config, "auto", recipe.adapter)
    material = prepare(recipe, asker, source.train, source.dev, note)
    recipe, end_row = settle(recipe, len(material.lessons))
    with folder.locked():
        folder.settle(recipe, fresh=fresh, force=force)
        refuse_other_rows(folder, source, material)
        finished = folder.read_manifest().get("finished")
        if finished is not None and finished["steps"] == recipe.train.steps:
            note(f"{folder.root} is finished; --fresh --force starts over")
            return FinetuneResult(run_dir=str(folder.root), **finished)
        for warning in material.warnings:
            note(f"warning: {warning}")
        with progress(recipe.train.log_every) as tell:
            return train(recipe, base, material, end_row, folder, chosen, before, tell, note)


def refuse_other_rows(folder: RunFolder, source: Source, material: Material) -> None:
    """A run goes on with the rows that it began with.

    Raises:
        InputError: naming the file that is another one now.
    """
    files = {"train": source.train, "dev": source.dev}
    for name, digest in folder.read_manifest().get("files", {}).items():
        if digest != material.files[name]:
            raise InputError(
                str(files[name]),
                f"has other rows than when {folder.root} was begun; bring them back, or {REMEDY}",
            )


def recipe_for(source: Source, base: Glm, model: str, overrides: Sequence[str]) -> Recipe:
    """The recipe of a fine-tuning: the model as it is, and settings that usually do."""
    task = source.task
    tokenizer = base.scoring_tokenizer()
    length = min(task.max_length, base.config.max_positions)
    file = tokenizer.vocabulary.files[0].resolve()
    tables: dict[str, Any] = deepcopy(USUAL)
    tables["train"] |= {"epochs": EPOCHS}
    tables |= {
        "recipe": {"stage": "finetune", "source": f"{task.name}, learned by {model}"},
        "model": base.config.model_dump(mode="json", exclude_none=True),
        "tokenizer": tokenizer.config.model_dump(mode="json") | {"path": str(file)},
        "data": {
            "sequence_length": length,
            "pack": False,
            "corpus": [{"name": "train", "path": str(source.train)}],
        },
        "task": task.model_dump(mode="json", exclude_defaults=True, exclude_none=True),
    }
    if base.objective is not None:
        tables["objective"] = base.objective.model_dump(mode="json")
    if source.dev is not None:
        tables["data"]["probe"] = str(source.dev)
    lay(tables, source.settings)
    tables["train"]["initial_model"] = model
    if any(text.startswith("train.steps") for text in overrides):
        tables["train"].pop("epochs", None)
    adapter = make_recipe(tables, task.name, overrides).adapter
    is_alone = adapter is not None and adapter.is_alone
    tables["optimizer"].setdefault("peak_lr", usual_rate(base.config.hidden_size, is_alone))
    return make_recipe(tables, task.name, overrides)


def settle(recipe: Recipe, num_lessons: int) -> tuple[Recipe, int]:
    """Fill in the steps of the run and between evaluations; gives also where its rows end.

    Raises:
        UsageError: the recipe asks for replicas.
    """
    if recipe.topology.world_size > 1:
        raise UsageError(
            "topology",
            f"{recipe.topology.nodes} x {recipe.topology.gpus_per_node} GPUs: this version "
            "fine-tunes on one, with the same batch; --set topology.nodes=1 "
            "--set topology.gpus_per_node=1",
        )
    train = recipe.train
    size = train.global_batch_size
    if train.epochs is None:
        assert train.steps is not None
        num_rows = train.steps * size
    else:
        num_rows = max(1, round(train.epochs * num_lessons))
    settled = {
        "steps": -(-num_rows // size),
        "epochs": None,
        "probe_every": train.probe_every or -(-num_lessons // size),
    }
    return with_train(recipe, settled), num_rows


def train(
    recipe: Recipe,
    base: Glm,
    material: Material,
    end_row: int,
    folder: RunFolder,
    device: torch.device,
    before: dict[tuple[str, str], float],
    progress: Progress,
    note: Callable[[str], None],
) -> FinetuneResult:
    """Go on from the newest checkpoint, train, and keep the best model."""
    config, task = recipe.train, material.asker.task
    state = first_state(recipe, base, material.asker, device)
    adapter = recipe.adapter
    tuned = replace(
        base,
        config=recipe.model,
        module=state.model,
        heads={},
        adapter=adapter if adapter is not None and adapter.kind == "p_tuning" else None,
        source=f"{base.source}, fine-tuned for {task.name}",
        abilities=tuple(dict.fromkeys((*base.abilities, task.ability))),
    )
    exam = Examination(
        material.asker, material.held, config.patience, lambda: keep(tuned, recipe, folder)
    )
    note(f"trains {state.num_trained_parameters:,} of {state.num_parameters:,} parameters")
    known = folder.read_manifest()
    store = CheckpointStore(folder.checkpoints, config.keep, digest_all(material.files))
    if steps := store.steps():
        state.restore(steps[-1], store.load(steps[-1]))
        note(f"continuing after step {state.step:,}")
    log = MetricsLog(folder.metrics)
    log.truncate(state.step)
    if steps:
        for record in examined(log):
            exam.see(record)
    manifest = describe_run(recipe, device) | {
        "num_parameters": state.num_parameters,
        "num_trained_parameters": state.num_trained_parameters,
        "files": material.files,
        "finished": None,
    }
    if known:
        manifest |= {
            "started_at": known["started_at"],
            "restarts": [*known.get("restarts", []), state.step],
        }
    folder.write_manifest(manifest)
    sizes = (config.global_batch_size, config.rows_at_once)
    data = LessonData(material.lessons, material.asker, config.seed, *sizes, end_row)
    path = expand_path(recipe.data.battery, "data.battery")
    battery = battery_of(base, str(path))
    asked = (base.source, str(path))
    if asked not in before:
        with evaluating(base.module):
            before[asked] = battery.measure(base.module).perplexity
    with tracking(recipe, folder.root, state.step, is_first=True) as tracker:
        fit(state, data, exam, recipe, Outputs(store, log, tracker, progress, note))
    best_step = max(examined(log), key=exam.rank)["step"]
    best = load(folder.model, device=device.type)
    best.module.attach(best.heads)
    with evaluating(best.module):
        after = battery.measure(best.module).perplexity
        judged = judge_best(best.module, material, recipe)
    forgetting = after / before[asked] - 1
    finished = judged | {
        "model": str(folder.model),
        "perplexity_before": before[asked],
        "perplexity_after": after,
        "forgetting": forgetting,
        "is_forgetful": config.max_forgetting is not None and forgetting > config.max_forgetting,
        "best_step": best_step,
        "parameter_digest": state.parameter_digest(),
        **totals(log),
    }
    folder.write_manifest(manifest | {"finished": finished})
    return FinetuneResult(run_dir=str(folder.root), **finished)


def first_state(recipe: Recipe, base: Glm, asker: Asker, device: torch.device) -> TrainState:
    """The weights of the model, ready to be trained."""
    model = GLM(recipe.model)
    model.load_state_dict(base.module.state_dict())
    model.counts_in_span = base.module.counts_in_span
    add_parts(model, recipe.adapter, asker, recipe.train.seed)
    place(model, recipe.train, device)
    if device.type == "cpu":
        keep_freed_memory()
    return TrainState(model, make_optimizer(model, recipe.optimizer), LossScale.of(recipe.train))


def keep(tuned: Glm, recipe: Recipe, folder: RunFolder) -> None:
    """Save the model as it is now; one with LoRA as a plain model, and the updates alone."""
    if recipe.adapter is not None and recipe.adapter.kind == "lora":
        assert recipe.train.initial_model is not None
        save_adapter(folder.adapter, tuned.module, recipe.adapter, recipe.train.initial_model)
        plain = GLM(recipe.model)
        weights, heads = apart(merged_weights(tuned.module))
        plain.load_state_dict(weights)
        plain.attach(heads)
        tuned = replace(tuned, module=plain)
    tuned.save(folder.model)


def examined(log: MetricsLog) -> list[dict[str, Any]]:
    """The records of steps with an evaluation."""
    return [record for record in log.records() if "dev_loss" in record]


def totals(log: MetricsLog) -> dict[str, Any]:
    records = [*log.records()]
    return {
        "steps": records[-1]["step"],
        "loss": records[-1]["loss"],
        "elapsed_seconds": sum(record["seconds"] for record in records),
    }


def judge_best(model: GLM, material: Material, recipe: Recipe) -> dict[str, Any]:
    """What the model that was kept says to the held-out questions."""
    task = material.asker.task
    predictions = answer(model, material.asker, material.held, lambda _: None)
    judged = judge(predictions)
    values = {metric: measure(metric, judged, task.label_names) for metric in task.metrics}
    main = values[task.metrics[0]]
    ours = {f"{task.name}/{metric}": value.value for metric, value in values.items()}
    return {
        "task": task.name,
        "metric": task.metrics[0],
        "score": main.value,
        "interval": main.interval,
        "majority": majority(task, judged),
        "metrics": {metric: value.value for metric, value in values.items()},
        "confusion": confusion(task, predictions),
        "num_train": len(material.lessons),
        "num_dev": len(material.held),
        "num_cut": sum(lesson.question.is_cut for lesson in material.lessons),
        "warnings": material.warnings,
        "published": compare_numbers(recipe.published, recipe.train.initial_model, ours),
    }


def confusion(task: TaskConfig, predictions: Sequence[Prediction]) -> dict[str, dict[str, int]]:
    """For each label how often which one was predicted."""
    pairs = Counter((it.example.golds[0], it.prediction) for it in predictions if it.example.golds)
    labels = task.label_names if task.has_labels else ()
    return {gold: {label: pairs[gold, label] for label in labels} for gold in labels}
