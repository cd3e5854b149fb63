"""Task heads and prompt encoders of the original against its recordings."""

import numpy as np
import pytest
import torch
from torch import Tensor

from glmctl.core.checkpoint.dialects.original import find_shards
from glmctl.core.model.prompt import ClassificationHead
from glmctl.core.model.sight import Segments
from glmctl.core.open import Glm, load

ATOL = 3e-5


@pytest.fixture
def arrays(recorded):
    def read(name: str) -> dict[str, Tensor]:
        with np.load(recorded(name)) as file:
            return {key: torch.from_numpy(file[key]) for key in file.files}

    return read


def hidden(glm: Glm, ids: Tensor, places: Tensor, sep: Tensor) -> Tensor:
    """[B, S, H]."""
    segments = Segments((ids.shape[1],) * len(ids), tuple(sep.tolist()))
    packed = ids.flatten(), places.transpose(0, 1).flatten(1)
    with torch.inference_mode():
        return glm.module.hidden(*packed, segments).view(*ids.shape, -1)


def pooled(states: Tensor, sep: Tensor, pool: str) -> Tensor:
    """The state that is pooled: of the first token, of the start token, or of the one before."""
    place = {"cls": torch.zeros_like(sep), "start": sep, "pad": sep - 1}[pool]
    return states[torch.arange(len(states)), place]


@pytest.mark.parametrize("pool", ["cls", "start", "pad"])
def test_classes_are_scored_as_the_original_scores_them(recorded, arrays, pool):
    rows, glm = arrays("glm_orig/classification.npz"), load(recorded("glm_orig/ckpt_cls3"))
    states = hidden(glm, rows["input_ids"], rows["position_ids"], rows["sep"])
    with torch.inference_mode():
        ours = ClassificationHead.of(glm.heads)(pooled(states, rows["sep"], pool))
    torch.testing.assert_close(ours, rows[f"logits_{pool}_class3"], rtol=0, atol=ATOL)


@pytest.mark.parametrize("pool", ["cls", "start", "pad"])
def test_choices_are_scored_as_the_original_scores_them(recorded, arrays, pool):
    rows, glm = arrays("glm_orig/classification.npz"), load(recorded("glm_orig/ckpt"))
    theirs = {"pool_layer": "pool", "multichoice_head": "classes"}
    head = ClassificationHead.of(
        {
            f"{ours}.{kind}": rows[f"choice_head:{name}.{kind}"]
            for name, ours in theirs.items()
            for kind in ("weight", "bias")
        }
    )
    ids, sep = rows["choice_input_ids"].flatten(0, 1), rows["choice_sep"].flatten()
    states = hidden(glm, ids, rows["choice_position_ids"].flatten(0, 1), sep)
    expected = rows[f"logits_{pool}_choices"]
    with torch.inference_mode():
        ours = head(pooled(states, sep, pool)).view_as(expected)
    torch.testing.assert_close(ours, expected, rtol=0, atol=ATOL)


@pytest.mark.parametrize("kind", ["lstm", "mlp", "none"])
def test_prompts_give_the_logits_of_the_original(recorded, arrays, tmp_path, kind):
    rows = arrays("glm_orig/prompt.npz")
    content = torch.load(find_shards(recorded("glm_orig/ckpt"))[0], weights_only=True)
    prompt = torch.load(recorded(f"glm_orig/prompt_{kind}.pt"), weights_only=True)
    torch.save({"module": {**content["module"], **prompt}}, tmp_path / "tuned.pt")
    glm = load(tmp_path / "tuned.pt", model=str(recorded("glm_orig/config.json")))
    glm.module.attach(glm.heads)
    with torch.inference_mode():
        vectors = glm.module.prompt()
    torch.testing.assert_close(vectors, rows[f"prompt_embeds_{kind}"][0], rtol=0, atol=ATOL)
    numbers = torch.arange(len(vectors)).expand_as(rows["prompt_pos"])
    ids = rows["input_ids"].scatter(1, rows["prompt_pos"], -1 - numbers)
    states = hidden(glm, ids, rows["position_ids"], rows["sep"])
    with torch.inference_mode():
        ours = glm.module.logits(states)
    torch.testing.assert_close(ours, rows[f"logits_{kind}"], rtol=0, atol=ATOL)


def test_the_head_of_the_hubs_glm_gives_its_logits(recorded, arrays):
    rows, glm = arrays("hf_glm/expected.npz"), load(recorded("hf_glm"))
    theirs = {"dense": "pool", "out_proj": "classes"}
    head = ClassificationHead.of(
        {
            f"{ours}.{kind}": rows[f"seqcls_head:{name}.{kind}"]
            for name, ours in theirs.items()
            for kind in ("weight", "bias")
        }
    )
    states = hidden(glm, rows["input_ids"], rows["position_ids"], rows["sep"])
    with torch.inference_mode():
        ours = head(states[:, 0])
    torch.testing.assert_close(ours, rows["seqcls_logits"], rtol=0, atol=5e-5)
