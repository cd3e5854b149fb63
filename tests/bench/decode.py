"""Greedy tokens after a context, one text, 335M parameters, float32, against models of that size.

The context is not timed. Without a checkout of the released code only GPT-2 medium is compared.
"""

from __future__ import annotations

import time

import peers
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.utils import logging

from glmctl.core.decode.infill import Prompt, fill_blanks
from glmctl.core.model.glm import GLM
from glmctl.core.tokenizer.special import SpecialTokens
from glmctl.recipe.model import ModelConfig
from glmctl.recipe.schema import DecodeConfig

NUM_NEW = 32
CONFIG = ModelConfig(
    num_layers=24,
    hidden_size=1024,
    num_attention_heads=16,
    max_positions=512,
    vocab_rows=30_592,
)
SOP = 5
NOBODY = -1
SPECIAL = SpecialTokens(
    pad=0,
    eos=NOBODY,
    sep=NOBODY,
    cls=1,
    mask=2,
    unk=3,
    sop=SOP,
    eop=NOBODY,
    smask=None,
    gmask=None,
    noise=None,
    sentinel_masks=(),
    sentinel_starts=(),
    strings={},
)


def context_ids(length: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(peers.FIRST_WORD, CONFIG.vocab_rows or 0, (1, length), generator=generator)


def ours(context: torch.Tensor) -> peers.Work:
    """`infill`'s own loop, which never ends a blank here, less its time for the first token."""
    model = GLM(CONFIG).eval()
    model.init_weights(0)
    prompt = Prompt("", tuple(context[0].tolist()), (context.shape[1] // 2,))

    def seconds(num_new: int) -> float:
        config = DecodeConfig(max_new_tokens=num_new)
        started_at = time.process_time()
        with torch.inference_mode():
            fills = fill_blanks(model, [prompt], SPECIAL, CONFIG.vocab_rows or 0, config, [0])
        assert len(fills[0][0].ids) == num_new
        return time.process_time() - started_at

    return lambda: (seconds(NUM_NEW + 1) - seconds(1)) / NUM_NEW


def original(checkout: str, context: torch.Tensor) -> peers.Work:
    model = peers.original_model(checkout, CONFIG, memory=CONFIG.max_positions).eval()
    length = context.shape[1]
    places = torch.stack([torch.arange(length), torch.zeros(length, dtype=torch.long)])

    @torch.inference_mode()
    def work() -> float:
        _, *memory = model(context, places[None], torch.tensor([length]))
        started_at = time.process_time()
        token = torch.tensor([[SOP]])
        for step in range(NUM_NEW):
            place = torch.tensor([[[length // 2], [step + 1]]])
            logits, *memory = model(token, place, torch.zeros(1, dtype=torch.long), *memory)
            token = logits[:, -1].argmax(-1, keepdim=True)
        return (time.process_time() - started_at) / NUM_NEW

    return work


def gpt2(context: torch.Tensor) -> peers.Work:
    model: nn.Module = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=CONFIG.vocab_rows,
            n_embd=CONFIG.hidden_size,
            n_layer=CONFIG.num_layers,
            n_head=CONFIG.num_attention_heads,
            n_positions=CONFIG.max_positions,
        )
    ).eval()

    @torch.inference_mode()
    def work() -> float:
        out = model(context, use_cache=True)
        started_at = time.process_time()
        for _ in range(NUM_NEW):
            token = out.logits[:, -1].argmax(-1, keepdim=True)
            out = model(token, past_key_values=out.past_key_values, use_cache=True)
        return (time.process_time() - started_at) / NUM_NEW

    return work


def main() -> None:
    parser = peers.arguments(__doc__, rounds=5)
    parser.add_argument("--context", type=int, default=384)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    logging.set_verbosity_error()
    peers.say_machine()
    context = context_ids(args.context)
    systems = {"glmctl": ours(context), "transformers GPT-2": gpt2(context)}
    if args.original:
        systems["THUDM/GLM"] = original(args.original, context)
    print(f"{NUM_NEW} tokens after {args.context}")
    peers.compare(systems, args.rounds)


if __name__ == "__main__":
    main()
