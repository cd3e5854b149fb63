"""Pretraining: from a recipe to a run folder with a model in it."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from glmctl.core.checkpoint.find import find
from glmctl.core.checkpoint.folder import Found, write_model_folder
from glmctl.core.checkpoint.store import CheckpointStore
from glmctl.core.data.batch import TrainingData
from glmctl.core.data.order import RowOrder
from glmctl.core.data.shards import TokenStore
from glmctl.core.data.sources import DataSources, data_fingerprint
from glmctl.core.model.glm import GLM
from glmctl.core.objective.corruption import Corruption
from glmctl.core.objective.words import find_words
from glmctl.core.open import build, without_integers
from glmctl.core.parallel.launch import Say, run_replicas
from glmctl.core.parallel.replicas import ALONE, Replicas
from glmctl.core.tokenizer.base import Tokenizer
from glmctl.core.tokenizer.load import load_tokenizer, rows_for
from glmctl.core.train.length import settle_length, settle_micro_batch
from glmctl.core.train.loop import Outputs, Progress, fit
from glmctl.core.train.memory import keep_freed_memory
from glmctl.core.train.metrics import MetricsLog
from glmctl.core.train.optimizer import make_optimizer
from glmctl.core.train.precision import LossScale, choose_device, place
from glmctl.core.train.probe import make_probe
from glmctl.core.train.run import RunFolder, describe_run
from glmctl.core.train.state import TrainState
from glmctl.core.train.track import require_packages, tracking
from glmctl.errors import InputError, MachineError, UsageError
from glmctl.recipe.load import expand_path
from glmctl.recipe.model import ModelConfig
from glmctl.recipe.schema import ObjectiveConfig, Recipe


@dataclass(frozen=True)
class PretrainResult:
    run_dir: str
    steps: int
    loss: float  # of the last step
    num_parameters: int
    num_tokens: int  # source tokens read
    elapsed_seconds: float  # in steps, without starts, probes and saves
    parameter_digest: str  # equal runs have equal ones
    probe_exact_match_share: float | None = None
    probe_baseline_share: float | None = None


def run(
    recipe: Recipe,
    *,
    run_dir: Path,
    fresh: bool = False,
    force: bool = False,
    device: str | None = None,
    progress: Progress,
    note: Callable[[str], None],
) -> PretrainResult:
    """Train, or continue the run that the folder holds; `fresh` starts over, with `force` only.

    The device is a GPU when there is one, unless it is named. `progress` is told after every step.
    """
    if recipe.recipe.stage == "record":
        raise UsageError(
            "recipe.stage",
            f"is 'record': nothing runs it, a run would need {recipe.recipe.needs}; --dry-run "
            "prints the plan, and a recipe that extends it runs with its own and stage = "
            '"pretrain"',
        )
    require_packages(recipe.track)
    chosen = choose_device(device)
    refuse_other_layouts(recipe, chosen, is_asked=device is not None)
    folder = RunFolder(run_dir)
    with folder.locked():
        folder.settle(recipe, fresh=fresh, force=force)
        finished = folder.read_manifest().get("finished")
        if finished is not None and finished["steps"] == recipe.train.steps:
            note(f"{run_dir} is finished; more steps continue it, --fresh --force starts over")
            return PretrainResult(run_dir=str(run_dir), **finished)
        if recipe.topology.world_size > 1:
            return train_replicas(recipe, folder, chosen, progress, note)
        result = train(recipe, folder, chosen, ALONE, progress, note)
        assert result is not None
        return result


def refuse_other_layouts(recipe: Recipe, device: torch.device, *, is_asked: bool) -> None:
    """Replicas are whole, and need a GPU each; on a CPU they are asked for by name."""
    topology = recipe.topology
    if topology.sharding != "none" or topology.replica_size > 1:
        raise UsageError(
            "topology",
            f"sharding = {topology.sharding}, tensor_parallel_size = "
            f"{topology.tensor_parallel_size}, pipeline_parallel_size = "
            f"{topology.pipeline_parallel_size}: this version trains whole replicas and splits no "
            "model; --dry-run prints the plan",
        )
    found = torch.cuda.device_count() if device.type == "cuda" else 0
    fits = found >= topology.gpus_per_node or (not found and is_asked)
    if topology.world_size == 1 or (topology.nodes == 1 and fits):
        return
    rows = recipe.train.global_batch_size // recipe.train.rows_at_once
    fitting = next((n for n in range(found, 0, -1) if rows % n == 0), 1)
    raise MachineError(
        "topology",
        f"asks for {topology.nodes} x {topology.gpus_per_node} GPUs; this machine has {found}; "
        f"the same experiment runs with --gpus {fitting}, the global batch stays; --device cpu "
        "--gpus N trains with N processes on the CPU",
    )


def train_replicas(
    recipe: Recipe,
    folder: RunFolder,
    device: torch.device,
    progress: Progress,
    note: Callable[[str], None],
) -> PretrainResult:
    """Train in one process per replica; this one prepares the text, and passes on what they say."""
    tokenizer = load_tokenizer(recipe.tokenizer)
    is_first = not folder.manifest.exists()
    sources = DataSources(recipe.data, tokenizer, folder.data, verify=is_first, note=note)
    sources.corpora()
    if recipe.data.probe is not None:
        sources.held_out()
    results: list[PretrainResult] = []

    def hear(message: PretrainResult | tuple[int, int, float, float] | str) -> None:
        if isinstance(message, PretrainResult):
            results.append(message)
        elif isinstance(message, tuple):
            progress(*message)
        else:
            note(message)

    arguments = (recipe, folder.root, device.type)
    run_replicas(train_replica, arguments, recipe.topology.gpus_per_node, folder.logs, hear)
    return results[0]


def train_replica(recipe: Recipe, run_dir: Path, device_type: str, say: Say) -> None:
    """One of the replicas; the first one says what all of them do."""
    device = torch.device(device_type)
    if device_type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    replicas = Replicas.join(device)
    speak: Say = say if replicas.is_first else lambda _: None
    speak(train(recipe, RunFolder(run_dir), device, replicas, lambda *done: speak(done), speak))


def train(
    recipe: Recipe,
    folder: RunFolder,
    device: torch.device,
    replicas: Replicas,
    progress: Progress,
    note: Callable[[str], None],
) -> PretrainResult | None:
    """Build everything, go on from the newest checkpoint, train, and leave a model folder.

    The first replica alone has a result: it has the records.
    """
    tokenizer = load_tokenizer(recipe.tokenizer)
    known = folder.read_manifest()
    # Every start of a run but the first is quick: sizes and digests in manifests are compared.
    verify = not known and replicas.size == 1
    sources = DataSources(recipe.data, tokenizer, folder.data, verify=verify, note=note)
    stores = sources.corpora()
    order = row_order(recipe, stores)
    recipe = recipe.model_copy(update={"model": sized_for(recipe.model, tokenizer)})
    recipe, end_row = settle_length(recipe, order)
    recipe = settle_micro_batch(recipe, known.get("micro_batch_size"), device, note)
    corruption = Corruption(
        recipe.objective,
        tokenizer.special,
        tokenizer.sentence_ends(),
        recipe.model.max_positions,
        find_words(tokenizer) if recipe.objective.whole_words else None,
    )
    rows, rows_at_once = recipe.train.global_batch_size, recipe.train.rows_at_once
    special = tokenizer.special
    data = TrainingData(stores, order, corruption, special, rows, rows_at_once, end_row)
    probe = None
    if recipe.data.probe is not None and recipe.train.probe_every is not None:
        probe = make_probe(sources.held_out(), data, tokenizer)
    model = first_model(recipe, tokenizer, folder)
    place(model, recipe.train, device)
    if device.type == "cpu":
        keep_freed_memory()
    optimizer = make_optimizer(model, recipe.optimizer)
    state = TrainState(model, optimizer, LossScale.of(recipe.train), replicas=replicas)
    manifest = make_manifest(recipe, folder, known, state, tokenizer, stores)
    fingerprint = data_fingerprint(recipe.data, stores, recipe.train.seed)
    store = CheckpointStore(folder.checkpoints, recipe.train.keep, fingerprint)
    if steps := store.steps():
        state.restore(steps[-1], store.load(steps[-1]))
        note(f"continuing after step {state.step:,}")
    log = MetricsLog(folder.metrics)
    if replicas.is_first:
        log.truncate(state.step)
        if known:
            manifest["restarts"] = [*known.get("restarts", []), state.step]
        folder.write_manifest(manifest)
    try:
        with tracking(recipe, folder.root, state.step, is_first=replicas.is_first) as tracker:
            fit(state, data, probe, recipe, Outputs(store, log, tracker, progress, note))
    except torch.OutOfMemoryError as error:
        raise MachineError(
            "train.micro_batch_size",
            f"{recipe.train.micro_batch_size} rows at once do not fit into the GPU's memory; set a "
            "smaller one: the global batch stays and the same command continues the run",
        ) from error
    if not replicas.is_first:
        return None
    found = Found(
        recipe.model,
        state.weights(),
        tokenizer,
        recipe.objective,
        abilities=tuple(trained_objectives(recipe.objective)),
        provenance={"recipe": recipe.recipe.source, "steps": state.step, "data": manifest["data"]},
    )
    write_model_folder(folder.model, found)
    finished = summarize(log, state)
    folder.write_manifest(manifest | {"finished": finished})
    return PretrainResult(run_dir=str(folder.root), **finished)


def first_model(recipe: Recipe, tokenizer: Tokenizer, folder: RunFolder) -> GLM:
    """The weights that a run starts from: random ones, or those of another run."""
    path = recipe.train.initial_model
    if path is None or CheckpointStore(folder.checkpoints, recipe.train.keep).steps():
        model = GLM(recipe.model)
        model.init_weights(recipe.train.seed)
        return model
    found = without_integers(find(expand_path(path, "train.initial_model"), None))
    config, wanted = found.config, recipe.model
    pairs: dict[str, tuple[object, object]] = {
        "attention heads": (config.num_attention_heads, wanted.num_attention_heads),
        "positions": (config.position, wanted.position),
    }
    if found.tokenizer is not None:
        pairs["tokenizer"] = found.tokenizer.fingerprint, tokenizer.fingerprint
    problems = [
        f"its {name}: {has}; the recipe asks for {asked}; change train.initial_model or that"
        for name, (has, asked) in pairs.items()
        if has != asked
    ]
    if problems:
        raise InputError(path, *problems)
    return build(replace(found, config=wanted), path)


def sized_for(config: ModelConfig, tokenizer: Tokenizer) -> ModelConfig:
    """Fill in the rows of the word embedding."""
    if config.vocab_rows is None:
        return config.model_copy(update={"vocab_rows": rows_for(tokenizer.size)})
    if config.vocab_rows < tokenizer.size:
        raise UsageError(
            "model.vocab_rows",
            f"{config.vocab_rows} is less than the {tokenizer.size} tokens of the tokenizer; "
            "leave it out",
        )
    return config


def row_order(recipe: Recipe, stores: Sequence[TokenStore]) -> RowOrder:
    """Which stretch of which document each row is."""
    section = recipe.data
    lengths = np.concatenate([store.lengths for store in stores])
    weights = np.repeat(
        [corpus.weight for corpus in section.corpus], [len(store.lengths) for store in stores]
    )
    return RowOrder(lengths, section.sequence_length, section.pack, recipe.train.seed, weights)


def make_manifest(
    recipe: Recipe,
    folder: RunFolder,
    known: dict[str, Any],
    state: TrainState,
    tokenizer: Tokenizer,
    stores: Sequence[TokenStore],
) -> dict[str, Any]:
    """What the run is made with; tokenizer and data must be what they were."""
    manifest = describe_run(recipe, state.device) | {
        "tokenizer": tokenizer.fingerprint,
        "num_parameters": state.num_parameters,
        "micro_batch_size": recipe.train.micro_batch_size,
        "data": {
            corpus.name: [shard["digest"] for shard in store.manifest["shards"]]
            for corpus, store in zip(recipe.data.corpus, stores, strict=True)
        },
        "finished": None,
    }
    if not known:
        return manifest
    for key in ("tokenizer", "data"):
        if known[key] != manifest[key]:
            raise InputError(
                str(folder.root),
                f"the {key} is not what the run began with: digests {known[key]}, now "
                f"{manifest[key]}; bring it back, or start over with --fresh --force",
            )
    return manifest | {"started_at": known["started_at"]}


def trained_objectives(config: ObjectiveConfig) -> list[str]:
    """What a model trained with this mix can do."""
    if config.kind == "mlm":
        return ["mlm"]
    weights = {
        "token": config.token_weight + config.single_span_weight,
        "sentence": config.sentence_weight,
        "document": config.document_weight,
    }
    return [name for name, weight in weights.items() if weight]


def summarize(log: MetricsLog, state: TrainState) -> dict[str, Any]:
    """The result of a run, from its records and its weights."""
    num_tokens, seconds = 0, 0.0
    last: dict[str, Any] = {}
    for record in log.records():
        num_tokens += record["num_tokens"]
        seconds += record["seconds"]
        last |= record
    return {
        "steps": state.step,
        "loss": last["loss"],
        "num_parameters": state.num_parameters,
        "num_tokens": num_tokens,
        "elapsed_seconds": seconds,
        "parameter_digest": state.parameter_digest(),
        "probe_exact_match_share": last.get("probe_exact_match_share"),
        "probe_baseline_share": last.get("probe_baseline_share"),
    }
