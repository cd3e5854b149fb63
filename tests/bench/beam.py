"""Beam search after a context, one text, 335M parameters, float32, against GPT-2 of that size.

Both write the same number of tokens with the same number of beams; the context is not timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import decode
import peers
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from glmctl.core.decode.infill import Prompt, fill_blanks
from glmctl.core.model.glm import GLM
from glmctl.recipe.model import ModelConfig
from glmctl.recipe.schema import DecodeConfig


def ours(config: ModelConfig, context: torch.Tensor, num_beams: int) -> Callable[[int], None]:
    """`infill`'s own loop; a blank never ends here."""
    model = GLM(config).eval()
    model.init_weights(0)
    prompt = Prompt("", tuple(context[0].tolist()), (context.shape[1] // 2,))
    words = config.vocab_rows or 0

    @torch.inference_mode()
    def write(num_new: int) -> None:
        settings = DecodeConfig(num_beams=num_beams, max_new_tokens=num_new)
        fills = fill_blanks(model, [prompt], decode.SPECIAL, words, settings, [0])
        assert len(fills[0][0].ids) == num_new

    return write


def gpt2(config: ModelConfig, context: torch.Tensor, num_beams: int) -> Callable[[int], None]:
    model: nn.Module = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=config.vocab_rows,
            n_embd=config.hidden_size,
            n_layer=config.num_layers,
            n_head=config.num_attention_heads,
            n_positions=2 * config.max_positions,
            bos_token_id=None,
            eos_token_id=None,
        )
    ).eval()
    mask = torch.ones_like(context)

    @torch.inference_mode()
    def write(num_new: int) -> None:
        out = model.generate(
            context, attention_mask=mask, num_beams=num_beams, max_new_tokens=num_new,
            do_sample=False, pad_token_id=0,
        )  # fmt: skip
        assert out.shape[1] == context.shape[1] + num_new

    return write


def per_token(write: Callable[[int], None], num_new: int) -> peers.Work:
    """CPU seconds a token, without those of the context and the first token."""

    def seconds(number: int) -> float:
        started_at = time.process_time()
        write(number)
        return time.process_time() - started_at

    return lambda: (seconds(num_new + 1) - seconds(1)) / num_new


def main() -> None:
    parser = peers.arguments(__doc__, rounds=5)
    parser.add_argument("--context", type=int, default=384)
    parser.add_argument("--beams", type=int, default=5)
    parser.add_argument("--new", type=int, default=32)
    parser.add_argument("--layers", type=int, default=decode.CONFIG.num_layers)
    parser.add_argument("--hidden", type=int, default=decode.CONFIG.hidden_size)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    peers.say_machine()
    config = ModelConfig(
        num_layers=args.layers,
        hidden_size=args.hidden,
        num_attention_heads=args.hidden // 64,
        max_positions=decode.CONFIG.max_positions,
        vocab_rows=decode.CONFIG.vocab_rows,
    )
    context = decode.context_ids(args.context)
    systems = {
        "glmctl": per_token(ours(config, context, args.beams), args.new),
        "transformers GPT-2": per_token(gpt2(config, context, args.beams), args.new),
    }
    print(f"{args.new} tokens after {args.context}, {args.beams} beams")
    peers.compare(systems, args.rounds)


if __name__ == "__main__":
    main()
