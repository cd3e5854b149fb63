"""The training loop: one step, and all steps of a run."""

import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from glmctl.core.checkpoint.store import CheckpointStore
from glmctl.core.data.batch import SPAN_BUCKETS, StepData
from glmctl.core.model.glm import GLM
from glmctl.core.objective.blank_infilling import MLM, OBJECTIVES
from glmctl.core.objective.draws import sample_keys
from glmctl.core.train.guard import StopSignalError, StopSignals, refuse_non_finite
from glmctl.core.train.metrics import MetricsLog
from glmctl.core.train.optimizer import clip_gradients, set_learning_rate
from glmctl.core.train.precision import arithmetic
from glmctl.core.train.schedule import learning_rate
from glmctl.core.train.speed import measured_peak, needed_flops, peak_memory
from glmctl.core.train.state import TrainState
from glmctl.core.train.track import Tracker
from glmctl.errors import InputError, InterruptedRun
from glmctl.recipe.schema import Recipe, TrainConfig

Progress: TypeAlias = Callable[[int, int, float, float], None]
"""Told the steps done, the steps of the run, the loss of the step, and tokens a second."""


class Data(Protocol):
    """What a run learns from."""

    def step(self, step: int, rank: int, num_replicas: int) -> StepData:
        """What a replica trains on in step number `step`, from 0."""
        ...


class Examiner(Protocol):
    """What looks at the model now and then."""

    @property
    def is_satisfied(self) -> bool:
        """More steps are of no use; only in a run without replicas may it ever be."""
        ...

    def run(self, model: GLM, config: TrainConfig) -> dict[str, float]:
        """Keys of `metrics.jsonl`."""
        ...

    def in_words(self, record: Mapping[str, float]) -> str:
        """What `run` gave, for a reader."""
        ...


@dataclass(frozen=True)
class Outputs:
    """Where a run leaves its traces; the first replica writes them."""

    store: CheckpointStore
    log: MetricsLog
    tracker: Tracker
    progress: Progress
    note: Callable[[str], None]


@dataclass(frozen=True)
class StepMetrics:
    """What one update tells, of all replicas together."""

    loss: float
    grad_norm: float
    num_tokens: int  # source tokens, before corruption
    num_targets: int
    flops: float  # that somebody needs
    losses: dict[str, Any]  # mean per target of each objective and of each bucket of span lengths
    is_skipped: bool  # a float16 gradient overflowed, and no weight has changed


def fit(
    state: TrainState, data: Data, probe: Examiner | None, recipe: Recipe, outputs: Outputs
) -> None:
    """Train from the state's step to the last one of the recipe, of which all is settled.

    A probe that is satisfied ends the run sooner.

    Raises:
        NumericalError: before any weight has changed.
        InputError: none of a step's rows has a token to predict.
        InterruptedRun: SIGTERM, after saving.
        KeyboardInterrupt: SIGINT, after saving.
    """
    config, peak_lr = recipe.train, recipe.optimizer.peak_lr
    assert config.steps is not None
    replicas = state.replicas
    peak = measured_peak(config, state.device) * replicas.size
    with StopSignals(is_alone=replicas.size == 1) as stop:
        try:
            while not is_over(state.step, config.steps, probe):
                started_at = time.perf_counter()
                step_data = data.step(state.step, replicas.rank, replicas.size)
                data_seconds = time.perf_counter() - started_at
                rate = learning_rate(recipe.schedule, peak_lr, state.step, config.steps)
                metrics = train_step(state, step_data, config, rate, stop)
                seconds = time.perf_counter() - started_at
                if replicas.is_first:
                    record = make_record(state, metrics, rate, seconds, peak)
                    record["data_seconds"] = data_seconds
                    if probe is not None and is_due(state.step, config.probe_every, config.steps):
                        found = probe.run(state.model, config)
                        record |= found
                        outputs.note(f"step {state.step:,}  {probe.in_words(found)}")
                    outputs.log.append(record)
                    outputs.tracker.log(record)
                    speed = record["tokens_per_second"]
                    outputs.progress(state.step, config.steps, metrics.loss, speed)
                    is_last = is_over(state.step, config.steps, probe)
                    if is_last or is_due(state.step, config.save_every, config.steps):
                        save(state, outputs)
                stop.check()
        except StopSignalError:
            state.optimizer.zero_grad(set_to_none=True)
            if replicas.is_first:
                save(state, outputs)
            give_up(stop.received, state.step, config.steps, outputs)


def train_step(
    state: TrainState, data: StepData, config: TrainConfig, rate: float, stop: StopSignals
) -> StepMetrics:
    """One update on the mean loss per target token of the whole global batch."""
    replicas, device = state.replicas, state.device
    flops = needed_flops(state.model.config, data.micro_batches.values())
    counts = (data.num_targets, data.num_tokens, flops, stop.received is not None)
    num_targets, num_tokens, flops, num_asked = replicas.totals(counts, device)
    stop.agree(num_asked)
    if not num_targets:
        raise InputError(
            f"rows {data.first_row} to {data.first_row + data.num_rows - 1}",
            "hide no token at all, so there is nothing to learn; the documents are too short "
            "for objective.mask_ratio: raise it, or set data.pack = true",
        )
    state.model.train()
    sums = torch.zeros(2, len(OBJECTIVES) * len(SPAN_BUCKETS), dtype=torch.float64, device=device)
    last = max(data.micro_batches)
    for number, batch in data.micro_batches.items():
        stop.check()
        # Of dropout, which alone draws from torch's generator: no resume can change a mask.
        torch.manual_seed(int(sample_keys(config.seed, state.step, number)[0]))
        b = batch.to(device)
        with replicas.keep_apart(state.network, is_last=number == last):
            with arithmetic(config, device):
                total, losses = state.network(
                    b.input_ids, b.position_ids, b.segments, b.wanted, b.target_ids, b.choices
                )
            (total * (state.scale.value / num_targets)).backward()
        sums[0].index_add_(0, b.kinds, losses.double())
        sums[1].index_add_(0, b.kinds, torch.ones_like(losses, dtype=torch.float64))
    sums = replicas.total(sums).cpu()
    loss = sums[0].sum().item() / num_targets
    parameters = state.model.parameters()
    grad_norm = clip_gradients(parameters, config.max_grad_norm, state.scale.value).item()
    is_skipped = state.scale.can_fall and math.isfinite(loss) and not math.isfinite(grad_norm)
    if is_skipped:
        state.scale.fall()
    else:
        refuse_non_finite(state.step + 1, loss, grad_norm, rate, data.first_row, data.num_rows)
        set_learning_rate(state.optimizer, rate)
        state.optimizer.step()
        state.scale.keep()
    state.optimizer.zero_grad(set_to_none=True)
    state.step += 1
    by_kind = losses_by_kind(sums)
    return StepMetrics(
        loss, grad_norm, int(num_tokens), int(num_targets), flops, by_kind, is_skipped
    )


def losses_by_kind(sums: Tensor) -> dict[str, Any]:
    """Mean loss per target of each objective, and of each bucket of span lengths.

    Args:
        sums: losses and their number, [2, objectives * buckets].
    """
    grid = sums.view(2, len(OBJECTIVES), len(SPAN_BUCKETS))
    return {
        **{f"loss_{name}": mean for name, mean in means(OBJECTIVES, grid.sum(2))},
        "loss_by_span_length": dict(means(SPAN_BUCKETS, grid[:, :MLM].sum(1))),
    }


def means(names: Iterable[str], sums: Tensor) -> Iterator[tuple[str, float]]:
    """The mean under each name that has one, from sums and counts [2, names]."""
    for name, total, count in zip(names, *sums.tolist(), strict=True):
        if count:
            yield name, total / count


def make_record(
    state: TrainState, metrics: StepMetrics, rate: float, seconds: float, peak: float
) -> dict[str, Any]:
    """The line of `metrics.jsonl`; tokens are source tokens, before corruption."""
    record = {
        "step": state.step,
        "loss": metrics.loss,
        **metrics.losses,
        "lr": rate,
        "grad_norm": metrics.grad_norm,
        "num_tokens": metrics.num_tokens,
        "num_targets": metrics.num_targets,
        "seconds": seconds,
        "tokens_per_second": metrics.num_tokens / seconds,
        "mfu": metrics.flops / seconds / peak,
        "memory_bytes": peak_memory(state.device),
    }
    if state.scale.can_fall:
        record |= {"loss_scale": state.scale.value, "is_skipped": metrics.is_skipped}
    return record


def is_over(step: int, last: int, probe: Examiner | None) -> bool:
    return step >= last or (probe is not None and probe.is_satisfied)


def is_due(step: int, every: int | None, last: int) -> bool:
    """Every so many steps, and at the last one."""
    return every is not None and (step % every == 0 or step == last)


def save(state: TrainState, outputs: Outputs) -> None:
    if state.step:
        outputs.log.sync()
        outputs.tracker.flush()
        outputs.store.save(state.step, state.tensors())


def give_up(received: signal.Signals | None, step: int, num_steps: int, outputs: Outputs) -> None:
    """End an interrupted run the way its signal is answered."""
    done = f"step {step:,} of {num_steps:,}"
    if received is signal.SIGTERM:
        raise InterruptedRun(
            str(outputs.store.root),
            f"stopped by SIGTERM; {done} is saved and the same command continues from there",
        )
    outputs.note(f"{done} is saved; the same command continues from there")
    raise KeyboardInterrupt
