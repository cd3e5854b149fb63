"""Pretraining on one device: from a recipe to a run folder with a model in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from glmctl.core.checkpoint.folder import write_model_folder
from glmctl.core.checkpoint.store import CheckpointStore
from glmctl.core.data.batch import TrainingData
from glmctl.core.data.order import RowOrder
from glmctl.core.data.shards import TokenStore
from glmctl.core.data.sources import DataSources
from glmctl.core.model.glm import GLM
from glmctl.core.objective.corruption import Corruption
from glmctl.core.tokenizer.base import Tokenizer
from glmctl.core.tokenizer.load import load_tokenizer
from glmctl.core.tokenizer.rows import rows_for
from glmctl.core.train.loop import Outputs, Progress, fit
from glmctl.core.train.metrics import MetricsLog
from glmctl.core.train.optimizer import make_optimizer
from glmctl.core.train.precision import choose_device, place
from glmctl.core.train.probe import Probe, make_probe
from glmctl.core.train.run import RunFolder, describe_run
from glmctl.core.train.schedule import learning_rate
from glmctl.core.train.state import TrainState
from glmctl.errors import InputError, MachineError, UsageError
from glmctl.recipe.schema import ModelConfig, ObjectiveConfig, Recipe

PROBE_SHARES = ("probe_exact_match_share", "probe_baseline_share")


@dataclass(frozen=True)
class PretrainResult:
    """A finished run."""

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
    """Train, or continue the run that the folder holds.

    Args:
        recipe: the experiment.
        run_dir: where it lives.
        fresh: start over instead of continuing.
        force: let `fresh` delete the run that is there.
        device: cpu or cuda; None: cuda when there is one.
        progress: told after every step.
        note: takes the lines that a reader may want to see.
    """
    chosen = choose_device(device)
    refuse_many_gpus(recipe, chosen)
    folder = RunFolder(run_dir)
    with folder.locked():
        folder.settle(recipe, fresh=fresh, force=force)
        finished = folder.read_manifest().get("finished")
        if finished is not None and finished["steps"] == recipe.train.steps:
            note(f"{run_dir} is finished; more steps continue it, --fresh --force starts over")
            return PretrainResult(run_dir=str(run_dir), **finished)
        return train(recipe, folder, chosen, progress, note)


def refuse_many_gpus(recipe: Recipe, device: torch.device) -> None:
    """This version trains on one device.

    Raises:
        MachineError: the recipe asks for more.
    """
    topology = recipe.topology
    if topology.world_size == 1:
        return
    found = torch.cuda.device_count() if device.type == "cuda" else 0
    raise MachineError(
        "topology",
        f"asks for {topology.nodes} x {topology.gpus_per_node} GPUs; this machine has {found} and "
        "this version trains on one device; the same experiment fits with --gpus 1 --set "
        f"train.micro_batch_size={recipe.train.micro_batch_size} (a smaller one needs less memory)",
    )


def train(
    recipe: Recipe,
    folder: RunFolder,
    device: torch.device,
    progress: Progress,
    note: Callable[[str], None],
) -> PretrainResult:
    """Build everything, go on from the newest checkpoint, train, and leave a model folder."""
    tokenizer = load_tokenizer(recipe.tokenizer)
    config = sized_for(recipe.model, tokenizer)
    # Every start of a run but the first is quick: sizes and digests in manifests are compared.
    is_first = not folder.manifest.exists()
    sources = DataSources(recipe.data, tokenizer, folder.data, verify=is_first, note=note)
    stores = sources.corpora()
    data = training_data(recipe, stores, tokenizer)
    probe = None
    if recipe.data.probe is not None and recipe.train.probe_every is not None:
        probe = probe_of(recipe, sources.held_out(), data, tokenizer)
    model = GLM(config)
    model.init_weights(recipe.train.seed)
    place(model, recipe.train, device)
    state = TrainState(model, make_optimizer(model, recipe.optimizer))
    manifest = begin_manifest(recipe, folder, state, tokenizer, stores)
    outputs = Outputs(
        CheckpointStore(folder.checkpoints, recipe.train.keep),
        MetricsLog(folder.metrics),
        progress,
        note,
    )
    resume(state, outputs)
    rate_at = partial(rate_of_update, recipe)
    try:
        fit(state, data, probe, recipe.train, rate_at, outputs)
    except torch.OutOfMemoryError as error:
        raise MachineError(
            "train.micro_batch_size",
            f"{recipe.train.micro_batch_size} rows at once do not fit into the GPU's memory; set a "
            "smaller one: the global batch stays and the same command continues the run",
        ) from error
    write_model_folder(
        folder.model,
        state.weights(),
        config,
        tokenizer,
        provenance={"recipe": recipe.recipe.source, "steps": state.step, "data": manifest["data"]},
        abilities=trained_objectives(recipe.objective),
    )
    finished = summarize(outputs.log, state)
    folder.write_manifest(manifest | {"finished": finished})
    return PretrainResult(run_dir=str(folder.root), **finished)


def rate_of_update(recipe: Recipe, step: int) -> float:
    return learning_rate(recipe.schedule, recipe.optimizer.peak_lr, step, recipe.train.steps)


def sized_for(config: ModelConfig, tokenizer: Tokenizer) -> ModelConfig:
    """Fill in the rows of the word embedding.

    Raises:
        UsageError: the recipe gives the vocabulary too few.
    """
    if config.vocab_rows is None:
        return config.model_copy(update={"vocab_rows": rows_for(tokenizer.size)})
    if config.vocab_rows < tokenizer.size:
        raise UsageError(
            "model.vocab_rows",
            f"{config.vocab_rows} is less than the {tokenizer.size} tokens of the tokenizer; "
            "leave it out",
        )
    return config


def training_data(
    recipe: Recipe, stores: Sequence[TokenStore], tokenizer: Tokenizer
) -> TrainingData:
    """The rows of all steps."""
    train, section = recipe.train, recipe.data
    lengths = np.concatenate([store.lengths for store in stores])
    weights = np.repeat(
        [corpus.weight for corpus in section.corpus], [len(store.lengths) for store in stores]
    )
    return TrainingData(
        stores,
        RowOrder(lengths, section.sequence_length, section.pack, train.seed, weights),
        corruption_of(recipe, recipe.objective, tokenizer),
        tokenizer.special,
        train.global_batch_size,
        train.micro_batch_size,
    )


def probe_of(recipe: Recipe, held: TokenStore, data: TrainingData, tokenizer: Tokenizer) -> Probe:
    """Short blanks in the held text, whatever mix of blanks the run trains on."""
    objective = recipe.objective
    short = ObjectiveConfig(
        kind=objective.kind,
        mask_ratio=objective.mask_ratio,
        mean_span_length=objective.mean_span_length,
        max_span_length=objective.max_span_length,
    )
    end = tokenizer.special.eop if objective.kind == "blank_infilling" else None
    return make_probe(held, data, corruption_of(recipe, short, tokenizer), end)


def corruption_of(recipe: Recipe, objective: ObjectiveConfig, tokenizer: Tokenizer) -> Corruption:
    return Corruption(
        objective, tokenizer.special, tokenizer.sentence_ends(), recipe.model.max_positions
    )


def begin_manifest(
    recipe: Recipe,
    folder: RunFolder,
    state: TrainState,
    tokenizer: Tokenizer,
    stores: Sequence[TokenStore],
) -> dict[str, Any]:
    """Write down what the run is made with; the data must be what it was.

    Raises:
        InputError: a corpus holds other text than when the run began.
    """
    known = folder.read_manifest()
    manifest = describe_run(recipe, state.device) | {
        "tokenizer": tokenizer.fingerprint,
        "num_parameters": sum(weight.numel() for weight in state.weights().values()),
        "data": {
            corpus.name: [shard["digest"] for shard in store.manifest["shards"]]
            for corpus, store in zip(recipe.data.corpus, stores, strict=True)
        },
        "finished": None,
    }
    for key in ("tokenizer", "data"):
        if known and known[key] != manifest[key]:
            raise InputError(
                str(folder.root),
                f"the {key} is not what the run began with: digests {known[key]}, now "
                f"{manifest[key]}; bring it back, or start over with --fresh --force",
            )
    if known:
        manifest["started_at"] = known["started_at"]
    folder.write_manifest(manifest)
    return manifest


def resume(state: TrainState, outputs: Outputs) -> None:
    """Go on from the newest checkpoint, if there is one."""
    steps = outputs.store.steps()
    if steps:
        checkpoint = outputs.store.load(steps[-1])
        state.restore(checkpoint.step, checkpoint.tensors)
        outputs.note(f"continuing after step {state.step:,}")
    outputs.log.truncate(state.step)


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
        "num_parameters": sum(weight.numel() for weight in state.weights().values()),
        "num_tokens": num_tokens,
        "elapsed_seconds": seconds,
        "parameter_digest": state.parameter_digest(),
        **{key: last.get(key) for key in PROBE_SHARES},
    }
