"""The fast path, the all-positions path and the dense reference are one function."""

import importlib.util
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from glmctl.core.model.glm import GLM
from glmctl.core.model.sight import Segments
from glmctl.recipe.model import ModelConfig

_spec = importlib.util.spec_from_file_location("dense", Path(__file__).with_name("dense.py"))
dense = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(dense)


def reference(model: GLM, packed, number: int) -> torch.Tensor:
    ids, places, part_a = packed.sample(number)
    return dense.dense_logits(model, ids, places, dense.prefix_mask(part_a, len(ids)))


def all_logits(model: GLM, packed) -> torch.Tensor:
    return model.logits(model.hidden(packed.ids, packed.places, packed.segments))


def test_logits_of_packed_samples_equal_the_dense_reference_of_each(model, packed):
    ours = all_logits(model, packed).split(packed.segments.lengths)
    for number in range(3):
        torch.testing.assert_close(ours[number], reference(model, packed, number))


def test_a_part_a_token_sees_what_follows_in_part_a_and_part_b_never_sees_its_future(model):
    mask = dense.prefix_mask(3, 5).tolist()
    assert mask == [
        [True, True, True, False, False],
        [True, True, True, False, False],
        [True, True, True, False, False],
        [True, True, True, True, False],
        [True, True, True, True, True],
    ]


# In Part A and Part B of the first sample, part of the second, none of the third; then one row.
@pytest.mark.parametrize(
    "wanted", [[2, 7, 8, 10, 12, 17, 21], [27], [0], list(range(8, 13)), list(range(28))]
)
def test_wanted_rows_equal_the_same_rows_of_the_full_result(model, packed, wanted):
    rows = torch.tensor(wanted)
    hidden = model.hidden(packed.ids, packed.places, packed.segments, rows)
    everything = model.hidden(packed.ids, packed.places, packed.segments)
    torch.testing.assert_close(hidden, everything[rows])


def test_loss_and_every_gradient_equal_those_of_the_dense_reference(model, packed):
    wanted = torch.tensor([8, 9, 11, 12, 16, 20])  # rows of Part B of samples 0 and 1
    targets = torch.tensor([5, 90, 17, 2, 127, 64])
    total, losses = model.loss(packed.ids, packed.places, packed.segments, wanted, targets)
    total.backward()
    ours = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    first = F.cross_entropy(
        reference(model, packed, 0)[[8, 9, 11, 12]], targets[:4], reduction="none"
    )
    second = F.cross_entropy(reference(model, packed, 1)[[3, 7]], targets[4:], reduction="none")
    torch.testing.assert_close(losses, torch.cat([first, second]).detach())
    (first.sum() + second.sum()).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad, msg=name)


def test_the_gradient_of_a_loss_follows_its_share(model, packed):
    wanted, targets = torch.tensor([9, 16]), torch.tensor([1, 2])
    total, _ = model.loss(packed.ids, packed.places, packed.segments, wanted, targets)
    (total / 8).backward()
    share = model.final_norm.weight.grad.clone()
    model.zero_grad()
    model.loss(packed.ids, packed.places, packed.segments, wanted, targets)[0].backward()
    torch.testing.assert_close(8 * share, model.final_norm.weight.grad)


def test_nothing_passes_between_packed_samples(model, packed):
    seen = []
    model.blocks[0].register_full_backward_hook(lambda _, grad_in, __: seen.append(grad_in[0]))
    wanted, targets = torch.tensor([8, 12]), torch.tensor([3, 4])  # of sample 0 only
    model.loss(packed.ids, packed.places, packed.segments, wanted, targets)[0].backward()
    per_token = seen[0].abs().sum(1)
    assert torch.all(per_token[:13] > 0)
    assert torch.all(per_token[13:] == 0.0)


def test_the_same_sample_gives_the_same_result_alone_and_in_company(model, packed):
    ids, places, part_a = packed.sample(1)
    alone = model.hidden(ids, places, Segments((9,), (part_a,)))
    together = model.hidden(packed.ids, packed.places, packed.segments)[13:22]
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-12)


def test_relative_positions_isolate_packed_samples_and_give_wanted_rows(config, packed):
    model = GLM(config.model_copy(update={"position": "relative_xl"})).double().eval()
    model.init_weights(seed=2)
    ids, places, part_a = packed.sample(1)
    alone = model.hidden(ids, places, Segments((9,), (part_a,)))
    rows = torch.tensor([3, 14, 21])
    together = model.hidden(packed.ids, packed.places, packed.segments, rows)
    torch.testing.assert_close(together[1:], alone[[1, 8]], rtol=0, atol=1e-12)


def test_dropout_changes_the_result_in_training_only(config, packed):
    model = GLM(config.model_copy(update={"dropout": 0.5, "attention_dropout": 0.5}))
    model.init_weights(seed=1)
    model.train()
    assert not torch.equal(all_logits(model, packed), all_logits(model, packed))
    model.eval()
    assert torch.equal(all_logits(model, packed), all_logits(model, packed))


@pytest.mark.parametrize(
    ("layers", "hidden", "heads", "positions", "rows", "parameters"),
    [
        (12, 768, 12, 512, 30592, 109_338_624),  # GLM-Base
        (24, 1024, 16, 512, 30592, 334_688_256),  # GLM-Large, GLM-Doc, GLM-Sent
        (30, 1024, 16, 512, 30592, 410_265_600),  # GLM-410M
        (30, 1152, 18, 512, 30592, 514_632_960),  # GLM-515M
        (24, 1024, 16, 512, 50304, 354_873_344),  # GLM-RoBERTa
        (24, 1152, 18, 1024, 50304, 442_879_488),  # GLM-RoBERTa-1.25
        (24, 1024, 16, 1024, 50048, 355_659_776),  # GLM-Large-Chinese
        (36, 2048, 32, 1024, 50304, 1_920_122_880),  # GLM-2B
        (48, 4096, 64, 1024, 50304, 9_880_682_496),  # GLM-10B
        (48, 4096, 64, 1024, 50048, 9_879_633_920),  # GLM-10B-Chinese
    ],
)
def test_the_sizes_of_the_paper_have_their_number_of_parameters(
    layers, hidden, heads, positions, rows, parameters
):
    config = ModelConfig(
        num_layers=layers, hidden_size=hidden, num_attention_heads=heads,
        max_positions=positions, vocab_rows=rows,
    )  # fmt: skip
    with torch.device("meta"):
        model = GLM(config)
    assert sum(p.numel() for p in model.parameters()) == parameters
