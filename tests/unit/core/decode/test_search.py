"""Beam search against every sequence there is, and against that of transformers."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor
from transformers import GenerationConfig, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from glmctl.core.decode.infill import Prompt, fill_blanks
from glmctl.core.decode.score import Candidate, sum_log_probs
from glmctl.core.decode.search import Fill
from glmctl.core.model.glm import GLM
from glmctl.core.model.sight import Segments
from glmctl.core.tokenizer.special import SpecialTokens
from glmctl.recipe.model import ModelConfig
from glmctl.recipe.schema import DecodeConfig

EOS, EOP, *WORDS, CLS, MASK, SOP = range(10)
NUM_TOKENS = CLS  # what can be chosen: ends and words
SPECIAL = SpecialTokens(
    pad=EOS, eos=EOS, sep=EOS, cls=CLS, mask=MASK, unk=CLS, sop=SOP, eop=EOP, smask=None,
    gmask=None, noise=None, sentinel_masks=(), sentinel_starts=(), strings={},
)  # fmt: skip
PROMPTS = [
    Prompt("", (CLS, 5, MASK, 6, EOS), (2,)),
    Prompt("", (CLS, MASK), (1,)),
    Prompt("", (CLS, 2, 3, 5, MASK, 6, 5, 5, 2, EOS), (4,)),
]
ONE_END = replace(SPECIAL, eos=EOP)  # transformers lists two ways to end as two sequences
TWO_BLANKS = Prompt("", (CLS, 5, MASK, 6, 6, MASK, EOS), (2, 5))


@pytest.fixture(scope="module")
def model() -> GLM:
    """Random, in float64; its ends are about as likely as its words."""
    config = ModelConfig(
        num_layers=2, hidden_size=16, num_attention_heads=2, max_positions=16, vocab_rows=10
    )
    module = GLM(config).eval()
    module.init_weights(seed=3)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if weight.dim() == 2:
                weight.mul_(15 if "embedding" in name else 20)
    return module.double()


def search(
    model: GLM, prompts: Sequence[Prompt], special: SpecialTokens = SPECIAL, **settings: float
) -> list[list[Fill]]:
    with torch.inference_mode():
        return fill_blanks(
            model, prompts, special, NUM_TOKENS, DecodeConfig(**settings), range(len(prompts))
        )


def every_fill(
    model: GLM, prompt: Prompt, length_penalty: float, longest: int = 3
) -> list[tuple[float, tuple[int, ...]]]:
    """Score and ids of all fills of the only blank, best first."""
    ids = [ids for length in range(longest + 1) for ids in product(WORDS, repeat=length)]
    options = [
        (fill, (*fill, *end))
        for fill in ids
        for end in ([(EOS,), (EOP,)] if len(fill) < longest else [()])
    ]
    place = prompt.places[0]
    with torch.inference_mode():
        totals = sum_log_probs(
            model, [Candidate(prompt.part_a, (), place, tokens) for _, tokens in options], SOP
        )
    best: dict[tuple[int, ...], float] = {}
    for (fill, _), total in zip(options, totals, strict=True):
        score = total / max(1, len(fill)) ** length_penalty
        best[fill] = max(score, best.get(fill, score))
    return sorted(((score, fill) for fill, score in best.items()), reverse=True)


@pytest.mark.parametrize("length_penalty", [0.0, 0.7, 1.0])
def test_wide_beams_find_the_best_of_all_sequences(model, length_penalty):
    found = search(
        model, PROMPTS, num_beams=400, n_best=20, max_new_tokens=3, length_penalty=length_penalty
    )
    for prompt, (fill,) in zip(PROMPTS, found, strict=True):
        expected = every_fill(model, prompt, length_penalty)[:20]
        assert [other.ids for other in fill.ranked] == [ids for _, ids in expected]
        scores = [score for score, _ in expected]
        assert [other.score for other in fill.ranked] == pytest.approx(scores, abs=1e-9)
        assert fill.ids == fill.ranked[0].ids


def test_wide_beams_find_the_best_sequence_that_is_allowed(model):
    settings = {"num_beams": 400, "max_new_tokens": 3}
    found = search(model, PROMPTS, no_repeat_ngram=1, min_new_tokens=2, **settings)
    for prompt, (fill,) in zip(PROMPTS, found, strict=True):
        allowed = (
            ids
            for _, ids in every_fill(model, prompt, 0.0)
            if len(ids) >= 2 and len(set(ids)) == len(ids)
        )
        assert fill.ids == next(allowed)


class Reference(PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """The model with one Part A, everything computed anew, as transformers wants it."""

    config_class = PretrainedConfig
    _supports_cache_class = False

    def __init__(self, model: GLM, prompt: Prompt) -> None:
        super().__init__(PretrainedConfig(vocab_size=10, num_hidden_layers=2))
        self.glm = model
        self.part_a, self.place = prompt.part_a, prompt.places[0]
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def prepare_inputs_for_generation(self, input_ids: Tensor, **_: object) -> dict[str, Tensor]:
        return {"input_ids": input_ids}

    def forward(self, input_ids: Tensor, **_: object) -> CausalLMOutput:
        num_rows, length = input_ids.shape
        a = len(self.part_a)
        part_a = torch.tensor(self.part_a).expand(num_rows, -1)
        ids = torch.cat([part_a, input_ids], 1)
        places = [[*range(a), *[self.place] * length], [*[0] * a, *range(1, length + 1)]]
        segments = Segments((a + length,) * num_rows, (a,) * num_rows)
        hidden = self.glm.hidden(ids.flatten(), torch.tensor(places).repeat(1, num_rows), segments)
        return CausalLMOutput(logits=self.glm.logits(hidden).view(num_rows, a + length, -1)[:, a:])


def transformers_fills(
    model: GLM, prompt: Prompt, num_beams: int, **settings: float
) -> list[tuple[tuple[int, ...], float]]:
    """Ids and log-probability, end included, of its beams, best first."""
    config = GenerationConfig(
        num_beams=num_beams, num_return_sequences=num_beams, eos_token_id=EOP,
        pad_token_id=EOS, suppress_tokens=[CLS, MASK, SOP], do_sample=False,
        length_penalty=0.0, use_cache=False,
        return_dict_in_generate=True, output_scores=True, **settings,
    )  # fmt: skip
    out = Reference(model, prompt).generate(torch.tensor([[SOP]]), config)
    scores = [0.0] if num_beams == 1 else out.sequences_scores.tolist()
    rows = [row[1:] for row in out.sequences.tolist()]
    stops = [next((i for i, x in enumerate(row) if x == EOP), len(row)) for row in rows]
    return [
        (tuple(row[:stop]), score) for row, stop, score in zip(rows, stops, scores, strict=True)
    ]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"min_new_tokens": 4},
        {"no_repeat_ngram": 2},
        {"no_repeat_ngram": 1, "min_new_tokens": 3},
        {"no_repeat_ngram": 3, "min_new_tokens": 8},
    ],
)
@pytest.mark.parametrize("num_beams", [2, 5])
def test_narrow_beams_find_what_transformers_finds(model, num_beams, settings):
    found = search(
        model, PROMPTS, ONE_END, num_beams=num_beams, n_best=num_beams, max_new_tokens=8, **settings
    )
    theirs = {"max_new_tokens": 8, "no_repeat_ngram_size": settings.get("no_repeat_ngram", 0)}
    theirs["min_new_tokens"] = settings.get("min_new_tokens", 0)
    for prompt, (fill,) in zip(PROMPTS, found, strict=True):
        expected = transformers_fills(model, prompt, num_beams, **theirs)
        ours = [(other.ids, pytest.approx(other.score, abs=1e-5)) for other in fill.ranked]
        assert expected == ours


@pytest.mark.parametrize("settings", [{}, {"no_repeat_ngram_size": 2, "min_new_tokens": 4}])
def test_one_beam_is_the_greedy_choice_of_transformers(model, settings):
    config = {key.removesuffix("_size"): value for key, value in settings.items()}
    found = search(model, PROMPTS, ONE_END, max_new_tokens=8, **config)
    for prompt, (fill,) in zip(PROMPTS, found, strict=True):
        ((expected, _),) = transformers_fills(model, prompt, 1, max_new_tokens=8, **settings)
        assert fill.ids == expected


def test_the_best_fill_of_a_blank_is_what_the_next_one_sees(model):
    ((first, second),) = search(model, [TWO_BLANKS], num_beams=400, n_best=3, max_new_tokens=3)
    part_b = tuple(
        (token, 2, i)
        for i, token in enumerate((SOP, *first.ids[: 2 if first.end is None else 3]), 1)
    )
    candidates = [
        Candidate(
            TWO_BLANKS.part_a, part_b, 5, (*fill.ids, *([] if fill.end is None else [fill.end]))
        )
        for fill in second.ranked
    ]
    with torch.inference_mode():
        totals = sum_log_probs(model, candidates, SOP)
    assert [fill.score for fill in second.ranked] == pytest.approx(totals, abs=1e-9)
    alone = Prompt("", TWO_BLANKS.part_a, (2,))
    assert [fill.ids for fill in first.ranked] == [
        ids for _, ids in every_fill(model, alone, 0.0)[:3]
    ]


def test_beams_of_ragged_texts_find_what_each_text_finds_alone(model):
    prompts = [PROMPTS[0], TWO_BLANKS, *PROMPTS[1:]]
    settings = {"num_beams": 3, "n_best": 3, "length_penalty": 0.7, "max_new_tokens": 9}
    together = search(model, prompts, **settings)
    for prompt, fills in zip(prompts, together, strict=True):
        (alone,) = search(model, [prompt], **settings)
        assert [[other.ids for other in fill.ranked] for fill in fills] == [
            [other.ids for other in fill.ranked] for fill in alone
        ]
    lengths = {len(other.ids) for fills in together for fill in fills for other in fill.ranked}
    assert len(lengths) > 2
