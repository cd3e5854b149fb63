"""The training loop: one step, and all steps of a run."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch

from glmctl.core.checkpoint.store import CheckpointStore
from glmctl.core.data.batch import StepData, TrainingData
from glmctl.core.objective.draws import sample_keys
from glmctl.core.train.guard import StopSignalError, StopSignals, refuse_non_finite
from glmctl.core.train.metrics import MetricsLog
from glmctl.core.train.optimizer import clip_gradients, set_learning_rate
from glmctl.core.train.precision import arithmetic
from glmctl.core.train.probe import Probe
from glmctl.core.train.state import TrainState
from glmctl.errors import InterruptedRun
from glmctl.recipe.schema import TrainConfig


class Progress(Protocol):
    """Where the loop says that a step is done."""

    def update(self, step: int, loss: float, tokens_per_second: float) -> None: ...


@dataclass(frozen=True)
class Outputs:
    """Where a run leaves its traces."""

    store: CheckpointStore
    log: MetricsLog
    progress: Progress
    note: Callable[[str], None]


@dataclass(frozen=True)
class StepMetrics:
    """What one update tells."""

    loss: float
    grad_norm: float


def fit(
    state: TrainState,
    data: TrainingData,
    probe: Probe | None,
    config: TrainConfig,
    rate_at: Callable[[int], float],
    outputs: Outputs,
) -> None:
    """Train from the state's step to the last one of the recipe.

    Args:
        state: changed in place.
        data: what each step reads.
        probe: the held text, when the recipe asks for it.
        config: length, precision and rhythm of the run.
        rate_at: learning rate of an update from the number of updates before it.
        outputs: checkpoints, metrics and the progress line.

    Raises:
        NumericalError: before any weight has changed.
        InterruptedRun: SIGTERM, after saving.
        KeyboardInterrupt: SIGINT, after saving.
    """
    with StopSignals() as stop:
        try:
            while state.step < config.steps:
                started_at = time.perf_counter()
                step_data = data.step(state.step)
                rate = rate_at(state.step)
                metrics = train_step(state, step_data, config, rate, stop)
                record = make_record(state.step, metrics, rate, step_data, started_at)
                if probe is not None and is_due(state.step, config.probe_every, config.steps):
                    result = probe.run(state.model, config)
                    record |= asdict(result)
                    outputs.note(f"step {state.step:,}  {result}")
                outputs.log.append(record)
                outputs.progress.update(state.step, metrics.loss, record["tokens_per_second"])
                if is_due(state.step, config.save_every, config.steps):
                    save(state, outputs)
                stop.check()
        except StopSignalError:
            state.optimizer.zero_grad(set_to_none=True)
            save(state, outputs)
            give_up(stop.received, state.step, config.steps, outputs)


def train_step(
    state: TrainState, data: StepData, config: TrainConfig, rate: float, stop: StopSignals
) -> StepMetrics:
    """One update on the mean loss per target token of the whole global batch.

    Raises:
        NumericalError: before any weight has changed.
        StopSignalError: between two micro steps; no weight has changed.
    """
    num_targets = sum(batch.num_targets for batch in data.micro_batches)
    device = state.device
    state.model.train()
    loss = torch.zeros((), dtype=torch.float64, device=device)
    for micro_step, batch in enumerate(data.micro_batches):
        stop.check()
        # Of dropout, which alone draws from torch's generator: no resume can change a mask.
        torch.manual_seed(int(sample_keys(config.seed, state.step, micro_step)[0]))
        b = batch.to(device)
        with arithmetic(config, device):
            total, _ = state.model.loss(
                b.input_ids, b.position_ids, b.segments, b.wanted, b.target_ids
            )
        share = total / num_targets
        share.backward()
        loss += share.detach()
    grad_norm = clip_gradients(state.model.parameters(), config.max_grad_norm)
    metrics = StepMetrics(loss.item(), grad_norm.item())
    refuse_non_finite(
        state.step + 1, metrics.loss, metrics.grad_norm, rate, data.first_row, data.num_rows
    )
    set_learning_rate(state.optimizer, rate)
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    state.step += 1
    return metrics


def make_record(
    step: int, metrics: StepMetrics, rate: float, data: StepData, started_at: float
) -> dict[str, Any]:
    """The line of `metrics.jsonl`; tokens are source tokens, before corruption."""
    seconds = time.perf_counter() - started_at
    return {
        "step": step,
        "loss": metrics.loss,
        "lr": rate,
        "grad_norm": metrics.grad_norm,
        "num_tokens": data.num_tokens,
        "num_targets": sum(batch.num_targets for batch in data.micro_batches),
        "seconds": seconds,
        "tokens_per_second": data.num_tokens / seconds,
    }


def is_due(step: int, every: int | None, last: int) -> bool:
    """Every so many steps, and at the last one."""
    return every is not None and (step % every == 0 or step == last)


def save(state: TrainState, outputs: Outputs) -> None:
    if state.step:
        outputs.log.sync()
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
