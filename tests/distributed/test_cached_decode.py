"""Decoding with a cache against computing everything anew, on 500 prompts."""

import numpy as np
import pytest
import torch
from torch import Tensor

from glmctl.core.decode.infill import Prompt, fill_blanks, prefill
from glmctl.core.decode.search import Fill
from glmctl.core.model.cache import KeyValueCache
from glmctl.core.model.glm import GLM
from glmctl.core.model.sight import Segments
from glmctl.core.tokenizer.special import SpecialTokens
from glmctl.recipe.model import ModelConfig
from glmctl.recipe.schema import DecodeConfig

NUM_PROMPTS = 500
MAX_NEW_TOKENS = 6
ROWS = 97
SPECIAL = SpecialTokens(
    pad=0, eos=0, sep=9, cls=1, mask=2, unk=9, sop=3, eop=4, smask=None, gmask=None, noise=None,
    sentinel_masks=(), sentinel_starts=(), strings={},
)  # fmt: skip
Token = tuple[int, int, int]  # id, place, place in the span


@pytest.fixture(scope="module")
def model() -> GLM:
    config = ModelConfig(
        num_layers=3, hidden_size=32, num_attention_heads=4, max_positions=48, vocab_rows=ROWS
    )
    module = GLM(config).eval()
    module.init_weights(seed=5)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if weight.dim() == 2:
                weight.mul_(4 if "embedding" in name else 15)
        # Ends are as likely as other tokens are together, so that blanks end at many lengths.
        module.final_norm.bias.copy_(8 * module.word_embedding.weight[SPECIAL.eop])
    return module


@pytest.fixture(scope="module")
def prompts() -> list[Prompt]:
    """Texts of 2 to 40 tokens with one to three blanks."""
    random = np.random.default_rng(11)
    rows = []
    for length in random.integers(2, 41, NUM_PROMPTS).tolist():
        part_a = random.integers(10, ROWS, length)
        places = np.sort(random.permutation(length)[: random.integers(1, 4)])
        part_a[places] = SPECIAL.mask
        rows.append(Prompt("", tuple(part_a.tolist()), tuple(places.tolist())))
    return rows


def fed_tokens(prompt: Prompt, fills: list[Fill]) -> list[Token]:
    """Part B as it is fed: each blank from sop to its last token but one, or to its end."""
    tokens = []
    for place, fill in zip(prompt.places, fills, strict=False):
        ids = fill.ids[:-1] if fill.finish == "length" else fill.ids
        tokens += [(token, place, i) for i, token in enumerate((SPECIAL.sop, *ids), 1)]
    return tokens


def all_logits(model: GLM, prompts: list[Prompt], part_b: list[list[Token]]) -> list[Tensor]:
    """Logits after every token of Part B, everything computed at once and without a cache."""
    rows = [
        [(token, place, 0) for place, token in enumerate(prompt.part_a)] + tokens
        for prompt, tokens in zip(prompts, part_b, strict=True)
    ]
    packed = torch.tensor([token for row in rows for token in row])  # [T, 3]
    lengths = tuple(len(row) for row in rows)
    segments = Segments(lengths, tuple(len(prompt.part_a) for prompt in prompts))
    logits = model.logits(model.hidden(packed[:, 0], packed[:, 1:].T, segments)).split(lengths)
    return [row[len(prompt.part_a) :] for row, prompt in zip(logits, prompts, strict=True)]


def recomputed_fills(model: GLM, prompts: list[Prompt]) -> list[list[tuple[int, ...]]]:
    """Greedy filling that computes the whole row anew for every token."""
    done: list[list[tuple[int, ...]]] = [[] for _ in prompts]
    part_b: list[list[Token]] = [[] for _ in prompts]
    for blank in range(3):
        active = [i for i, prompt in enumerate(prompts) if blank < len(prompt.places)]
        spans = {i: [SPECIAL.sop] for i in active}
        while active:
            for i in active:
                token, place = spans[i][-1], prompts[i].places[blank]
                part_b[i].append((token, place, len(spans[i])))
            logits = all_logits(model, [prompts[i] for i in active], [part_b[i] for i in active])
            best = [row[-1].argmax().item() for row in logits]
            ended = {i for i, token in zip(active, best, strict=True) if token in (0, 4)}
            for i, token in zip(active, best, strict=True):
                if i not in ended:
                    spans[i].append(int(token))
            active = [i for i in active if i not in ended and len(spans[i]) <= MAX_NEW_TOKENS]
        for i, span in spans.items():
            done[i].append(tuple(span[1:]))
    return done


def test_greedy_tokens_equal_those_of_a_full_recompute(model: GLM, prompts: list[Prompt]):
    config = DecodeConfig(max_new_tokens=MAX_NEW_TOKENS)
    with torch.inference_mode():
        fills = [
            fill
            for start in range(0, NUM_PROMPTS, 50)
            for fill in fill_blanks(
                model, prompts[start : start + 50], SPECIAL, ROWS, config, range(start, start + 50)
            )
        ]
        expected = recomputed_fills(model, prompts)
    assert [[fill.ids for fill in row] for row in fills] == expected
    lengths = {len(fill.ids) for row in fills for fill in row}
    assert lengths == {0, 1, 2, 3, 4, 5, 6}  # rows get out of step


def test_cached_logits_equal_those_of_a_full_recompute(model: GLM, prompts: list[Prompt]):
    config = DecodeConfig(max_new_tokens=MAX_NEW_TOKENS)
    with torch.inference_mode():
        fills = fill_blanks(model, prompts, SPECIAL, ROWS, config, range(NUM_PROMPTS))
        part_b = [fed_tokens(prompt, fill) for prompt, fill in zip(prompts, fills, strict=True)]
        expected = all_logits(model, prompts, part_b)
        cache = KeyValueCache(model.config, NUM_PROMPTS, 64, torch.float32, torch.device("cpu"))
        hidden = prefill(model, prompts, SPECIAL.sop, cache)
        active = list(range(NUM_PROMPTS))
        error = 0.0
        for step in range(max(map(len, part_b))):
            logits = model.logits(hidden)
            for row, i in enumerate(active):
                error = max(error, (logits[row] - expected[i][step]).abs().max().item())
            staying = [row for row, i in enumerate(active) if step + 1 < len(part_b[i])]
            if not staying:
                break
            cache.keep(staying)
            active = [active[row] for row in staying]
            fed = torch.tensor([part_b[i][step + 1] for i in active])
            hidden = model.step(fed[:, 0], fed[:, 1:].T, cache)
    assert max(logits.abs().max().item() for logits in expected) > 1
    assert error < 1e-5
