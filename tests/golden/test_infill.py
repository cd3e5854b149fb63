"""Filling and scoring blanks against recordings of the original."""

import numpy as np
import pytest
import torch

from glmctl.core.decode.infill import Prompt, fill_blanks
from glmctl.core.decode.score import Candidate, score_candidates
from glmctl.core.open import load
from glmctl.core.tokenizer.special import SpecialTokens
from glmctl.recipe.schema import DecodeConfig


def special_tokens(sop: int, mask: int, eop: int, eos: int) -> SpecialTokens:
    return SpecialTokens(
        pad=eos, eos=eos, sep=eos, cls=eos, mask=mask, unk=eos, sop=sop, eop=eop, smask=None,
        gmask=None, noise=None, sentinel_masks=(), sentinel_starts=(), strings={},
    )  # fmt: skip


def test_greedy_filling_of_several_blanks_gives_the_tokens_of_the_original(recorded):
    glm = load(recorded("glm_orig/greedy_module.pt"))
    with np.load(recorded("glm_orig/greedy_fill.npz")) as arrays:
        numbers = range(sum(name.startswith("context") for name in arrays))
        prompts = [
            Prompt(
                "",
                tuple(arrays[f"context{i}"].tolist()),
                tuple(arrays[f"mask_positions{i}"].tolist()),
            )
            for i in numbers
        ]
        sop, mask = int(arrays["sop"]), int(arrays["mask"])
        special = special_tokens(sop, mask, *arrays["end_tokens"].tolist())
        config = DecodeConfig(max_new_tokens=int(arrays["out_seq_length"]))
        expected = [arrays[f"output{i}"].tolist() for i in numbers]
    with torch.inference_mode():
        fills = fill_blanks(
            glm.module, prompts, special, glm.module.word_embedding.num_embeddings, config, numbers
        )
    outputs = [
        [*prompt.part_a, *(token for fill in row for token in (sop, *fill.ids))]
        for prompt, row in zip(prompts, fills, strict=True)
    ]
    assert outputs == expected


@pytest.mark.parametrize("checkpoint", ["ckpt", "ckpt_mp2"])
def test_scores_of_candidates_of_several_tokens_equal_the_original(recorded, checkpoint):
    glm = load(recorded(f"glm_orig/{checkpoint}"))
    candidates = []
    with np.load(recorded("glm_orig/cloze_multi.npz")) as arrays:
        num_questions, num_choices = arrays["sep"].shape
        for question, choice in np.ndindex(num_questions, num_choices):
            at = (question, choice)
            sep = int(arrays["sep"][at])
            ids = arrays["input_ids"][at]
            targets = arrays["target_ids"][at][arrays["logit_mask"][at] == 1]
            place = int(arrays["position_ids"][at][0, sep])
            candidates.append(
                Candidate(tuple(ids[:sep].tolist()), (), place, tuple(targets.tolist()))
            )
        sop, expected = int(ids[sep]), arrays["scores"].ravel()
        by_length = arrays["scores_length_penalty1"].ravel()
        logits = arrays["scores_raw_logits"].ravel()
    scores = score_candidates(glm.module, candidates, sop)
    ours = [score.log_prob for score in scores]
    np.testing.assert_allclose(ours, expected, rtol=0, atol=3e-5)
    means = [
        total / len(candidate.targets) for total, candidate in zip(ours, candidates, strict=True)
    ]
    np.testing.assert_allclose(means, by_length, rtol=0, atol=3e-5)
    np.testing.assert_allclose([score.logit for score in scores], logits, rtol=0, atol=3e-5)


def test_scores_of_candidates_of_one_token_equal_the_original(recorded):
    glm = load(recorded("glm_orig/ckpt"))
    candidates = []
    with np.load(recorded("glm_orig/cloze_single.npz")) as arrays:
        for sep, ids, places, targets in zip(
            *(arrays[name] for name in ("sep", "input_ids", "position_ids", "target_ids")),
            strict=True,
        ):
            part_a, place = tuple(ids[:sep].tolist()), int(places[0, sep])
            candidates += [Candidate(part_a, (), place, (int(token),)) for token in targets]
        sop, log_probs = int(ids[sep]), arrays["scores_log_softmax"].ravel()
        logits = arrays["scores"].ravel()
    scores = score_candidates(glm.module, candidates, sop)
    ours = [score.log_prob for score in scores]
    np.testing.assert_allclose(ours, log_probs, rtol=0, atol=3e-5)
    np.testing.assert_allclose([score.logit for score in scores], logits, rtol=0, atol=3e-5)
