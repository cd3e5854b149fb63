"""Released folders, opened: what is derived from ids alone, and what they refuse."""

from pathlib import Path

import pytest
import torch

from glmctl.core.open import Glm, load
from glmctl.errors import InputError

SOP, MASK, GMASK = 15, 13, 12


@pytest.fixture
def chatglm(released, tmp_path: Path):
    """Opens a ChatGLM-6B folder, with other config keys."""

    def make(**values: object) -> Glm:
        config = {**released.CHATGLM_CONFIG, **values}
        tensors = released.tensors_of(released.CHATGLM)
        return load(released.write(tmp_path / "chatglm", config, tensors, kind="bin"))

    return make


@pytest.fixture
def chatglm2(released, tmp_path: Path) -> Glm:
    tensors = released.tensors_of(released.CHATGLM2)
    return load(released.write(tmp_path / "chatglm2", released.CHATGLM2_CONFIG, tensors))


@pytest.mark.parametrize(
    ("ids", "is_2d", "places", "in_span", "part_a"),
    [
        ([5, GMASK, SOP, 6, 7], True, [0, 1, 1, 1, 1], [0, 0, 1, 2, 3], 2),
        ([MASK, 5, GMASK, SOP, 6], True, [0, 1, 2, 2, 2], [0, 0, 0, 1, 2], 3),
        ([MASK, 5, 6, SOP, 7], True, [0, 1, 2, 0, 0], [0, 0, 0, 1, 2], 3),
        ([5, GMASK, SOP, 6, 7], False, [0, 1, 2, 3, 4], [0] * 5, 2),
        ([5, MASK, SOP, 6, 7], False, [0, 1, 1, 1, 1], [0] * 5, 2),
    ],
)
def test_positions_of_chatglm_come_from_its_start_token(
    chatglm, ids, is_2d, places, in_span, part_a
):
    glm = chatglm(position_encoding_2d=is_2d)
    expected = glm.logits(
        torch.tensor([ids]), torch.tensor([[places, in_span]]), torch.tensor([part_a])
    )
    assert torch.equal(glm.logits(torch.tensor([ids])), expected)
    given = glm.logits(torch.tensor([ids]), torch.tensor([[places, in_span]]))
    assert torch.equal(given, expected)  # Part A comes from the start token alone


def test_rows_of_chatglm_without_a_start_or_a_blank_are_refused(chatglm):
    glm = chatglm()
    with pytest.raises(InputError, match=r"row 2 has no 15 \(sop\), where Part A ends"):
        glm.logits(torch.tensor([[GMASK, SOP, 1], [GMASK, 1, 1]]))
    with pytest.raises(InputError, match=r"row 1 has neither 12 \(gmask\) nor 13 \(mask\)"):
        glm.logits(torch.tensor([[4, SOP, 1]]))


def test_a_saved_chatglm_derives_positions_as_before(chatglm, tmp_path):
    glm = chatglm()
    copy = load(glm.save(tmp_path / "copy"))
    ids = torch.tensor([[3, GMASK, SOP, 1]])
    assert (copy.config, copy.layout) == (glm.config, glm.layout)
    assert torch.equal(copy.logits(ids), glm.logits(ids))


def test_continued_ids_are_the_best_ones_of_the_full_pass(chatglm, chatglm2):
    for glm, rows in (
        (chatglm(), [[3, GMASK, SOP], [4, 5, 6, MASK, SOP, 2]]),
        (chatglm2, [[3], [4, 5, 6]]),
    ):
        for row, added in zip(rows, glm.continue_ids(rows, max_new_tokens=4), strict=True):
            ids = [*row]
            for token in added:
                assert token == int(glm.logits(torch.tensor([ids]))[0, -1].argmax())
                ids.append(token)
            assert len(added) == 4


def test_a_causal_model_has_no_part_a_and_fills_no_blanks(chatglm2):
    ids = torch.tensor([[3, 4, 5]])
    zero = torch.tensor([0])
    assert torch.equal(chatglm2.logits(ids, None, zero), chatglm2.logits(ids))
    with pytest.raises(InputError, match="part_a_length: has no meaning for a model of causal"):
        chatglm2.logits(ids, None, torch.tensor([2]))
    with pytest.raises(InputError, match="is a causal model: what stands behind a blank cannot"):
        chatglm2.infill(["It is [MASK]."])


def test_positions_of_one_row_are_enough_for_a_causal_model(chatglm2):
    ids, places = torch.tensor([[3, 4, 5]]), torch.tensor([[7, 9, 20]])
    both = torch.stack([places, torch.zeros_like(places)], 1)
    assert torch.equal(chatglm2.logits(ids, places), chatglm2.logits(ids, both))
    assert not torch.equal(chatglm2.logits(ids, places), chatglm2.logits(ids))


def test_the_loss_of_a_causal_model_is_that_of_its_logits(chatglm2):
    ids = torch.tensor([[3, 4, 5, 6], [7, 8, 9, 1]])
    targets, counts = ids.roll(-1, 1), torch.tensor([[1, 1, 1, 0], [0, 1, 0, 0]])
    logits = chatglm2.logits(ids)[counts.bool()]
    expected = torch.nn.functional.cross_entropy(logits, targets[counts.bool()])
    found = chatglm2.loss(ids, None, None, targets, counts)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    found.backward()
    assert chatglm2.module.output_embedding.weight.grad.abs().sum() > 0


def test_heads_of_a_task_are_saved_with_the_model(released, tmp_path):
    tensors = released.tensors_of({**released.HUB_GLM, "out_proj.bias": (3,)})
    glm = load(released.write(tmp_path / "hub", released.HUB_GLM_CONFIG, tensors))
    copy = load(glm.save(tmp_path / "copy"))
    assert copy.heads.keys() == {"classes.bias"}
    assert torch.equal(copy.heads["classes.bias"], tensors["out_proj.bias"])
