"""Forward, backward and AdamW update at the size of GLM-Base, against the models of its size.

Four rows of 512 tokens, Part B included, on one thread; each system has a process of its own, and
they take turns round by round.
The first row of numbers that counts is dropout 0 on all sides; 0.1 is what the paper trains with.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import peers
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel
from transformers.utils import logging

from glmctl.core.model.glm import GLM
from glmctl.core.model.sight import Segments
from glmctl.core.train.memory import keep_freed_memory
from glmctl.core.train.optimizer import make_optimizer
from glmctl.recipe.model import ModelConfig
from glmctl.recipe.schema import OptimizerConfig

NUM_ROWS, LENGTH = 4, 512
NUM_WORDS = 30_592
NUM_CONTEXT = int(LENGTH * peers.CONTEXT_SHARE)
CASES = (("fp32", 0.0), ("bf16", 0.0), ("fp32", 0.1), ("bf16", 0.1))


def model_config(dropout: float) -> ModelConfig:
    return ModelConfig(
        num_layers=12,
        hidden_size=768,
        num_attention_heads=12,
        max_positions=512,
        vocab_rows=NUM_WORDS,
        dropout=dropout,
        attention_dropout=dropout,
    )


class Rows:
    """Random tokens with one long span each, as every system wants them."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        shape = (2, NUM_ROWS, LENGTH)
        self.ids, self.targets = torch.randint(
            peers.FIRST_WORD, NUM_WORDS, shape, generator=generator
        )
        place = torch.arange(LENGTH)
        in_span = (place - NUM_CONTEXT + 1).clamp(min=0)
        place = torch.where(in_span > 0, NUM_CONTEXT // 2, place)
        self.positions = torch.stack([place, in_span]).expand(NUM_ROWS, 2, LENGTH)
        self.has_loss = (in_span > 0).expand(NUM_ROWS, LENGTH)
        self.bert_labels = torch.where(
            torch.rand(NUM_ROWS, LENGTH, generator=generator) < 0.15, self.targets, -100
        )


def trainer(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss_of: Callable[[], Tensor],
    precision: str,
) -> peers.Work:
    """One training step."""
    model.train()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = loss_of()
        loss.backward()
        optimizer.step()

    return peers.timed(step, NUM_ROWS * LENGTH)


def ours(config: ModelConfig, precision: str) -> peers.Work:
    keep_freed_memory()  # as `glmctl pretrain` does
    rows = Rows()
    model = GLM(config)
    model.init_weights(0)
    segments = Segments((LENGTH,) * NUM_ROWS, (NUM_CONTEXT,) * NUM_ROWS)
    positions = rows.positions.transpose(0, 1).flatten(1)  # [2, T]
    wanted = rows.has_loss.flatten().nonzero()[:, 0]
    targets = rows.targets.flatten()[wanted]

    def loss() -> Tensor:
        total, _ = model.loss(rows.ids.flatten(), positions, segments, wanted, targets)
        return total / len(wanted)

    return trainer(model, make_optimizer(model, OptimizerConfig()), loss, precision)


def original(checkout: str, config: ModelConfig, precision: str) -> peers.Work:
    rows = Rows()
    model = peers.original_model(checkout, config)
    cross_entropy = peers.import_original(checkout, "mpu").vocab_parallel_cross_entropy
    num_context = torch.full((NUM_ROWS,), NUM_CONTEXT)
    weights = rows.has_loss.flatten().float()

    def loss() -> Tensor:
        logits = model(rows.ids, rows.positions, num_context)[0]
        losses: Tensor = cross_entropy(logits.contiguous().float(), rows.targets)
        return (losses.flatten() * weights).sum() / weights.sum()

    return trainer(model, torch.optim.AdamW(model.parameters()), loss, precision)


def bert(config: ModelConfig, precision: str) -> peers.Work:
    logging.set_verbosity_error()
    rows = Rows()
    model = BertForMaskedLM(
        BertConfig(
            vocab_size=NUM_WORDS,
            hidden_size=config.hidden_size,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_attention_heads,
            intermediate_size=config.ffn_width,
            max_position_embeddings=LENGTH,
            hidden_dropout_prob=config.dropout,
            attention_probs_dropout_prob=config.attention_dropout,
        )
    )
    optimizer = torch.optim.AdamW(model.parameters())
    return trainer(
        model, optimizer, lambda: model(rows.ids, labels=rows.bert_labels).loss, precision
    )


def gpt2(config: ModelConfig, precision: str) -> peers.Work:
    rows = Rows()
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=NUM_WORDS,
            n_embd=config.hidden_size,
            n_layer=config.num_layers,
            n_head=config.num_attention_heads,
            n_positions=LENGTH,
            use_cache=False,
            embd_pdrop=config.dropout,
            resid_pdrop=config.dropout,
            attn_pdrop=config.attention_dropout,
        )
    )
    optimizer = torch.optim.AdamW(model.parameters())
    return trainer(model, optimizer, lambda: model(rows.ids, labels=rows.ids).loss, precision)


def compare(checkout: str | None, precision: str, dropout: float, args: Namespace) -> None:
    work = (model_config(dropout), precision)
    systems = {
        "glmctl": (ours, *work),
        "transformers BERT": (bert, *work),
        "transformers GPT-2": (gpt2, *work),
    }
    if checkout:
        systems["THUDM/GLM"] = (partial(original, checkout), *work)
    with ExitStack() as stack:
        apart = {
            name: stack.enter_context(peers.apart(args.threads, *system))
            for name, system in systems.items()
        }
        peers.compare(apart, args.rounds)


def main() -> None:
    args = peers.arguments(__doc__, rounds=3).parse_args()
    torch.set_num_threads(args.threads)
    peers.say_machine()
    for precision, dropout in CASES:
        print(f"{precision}, dropout {dropout:g}", flush=True)
        compare(args.original, precision, dropout, args)


if __name__ == "__main__":
    main()
