"""Conversions of recorded models: the bits of another writer, and the logits of other code."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from glmctl.core.checkpoint.find import find
from glmctl.stages import convert

ATOL = 1e-4  # of the READMEs
ORIGINALS = ["ckpt", "ckpt_half", "ckpt_mp2", "ckpt_cls3", "ckpt_writer"]
ORIGINALS += ["relative_module.pt", "noblock_module.pt"]
OTHERS = ["chatglm1", "chatglm1_int8", "chatglm1_int4", "chatglm2", "chatglm3", "glm4_remote"]
OTHERS += ["glm4_hf", "glm4_0414_hf", "hf_glm", "hf_glm_prefixed"]
TO_TRANSFORMERS = ["chatglm2", "chatglm3", "glm4_remote", "glm4_hf", "glm4_0414_hf"]
WAYS = [
    *((f"glm_orig/{name}", to) for name in ORIGINALS for to in ("glmctl", "original")),
    *((name, "glmctl") for name in OTHERS),
    *((name, "hub-glm") for name in ("hf_glm", "hf_glm_prefixed")),
    *((name, "transformers") for name in TO_TRANSFORMERS),
]


def run(source, out, to, degree=None):
    note = [].append
    convert.run(str(source), out, to=to, model_parallel=degree, model_config=None, note=note)


@pytest.mark.parametrize(("name", "to"), WAYS)
def test_every_tensor_comes_through_to_the_bit(recorded, tmp_path, name, to):
    run(recorded(name), tmp_path / "out", to)
    before, after = find(recorded(name), None), find(tmp_path / "out", None)
    for ours, theirs in ((after.tensors, before.tensors), (after.heads, before.heads)):
        assert ours.keys() == theirs.keys()
        for key in theirs:
            assert ours[key].dtype == theirs[key].dtype
            assert torch.equal(ours[key], theirs[key])


def test_two_shards_are_those_of_the_original_script(recorded, tmp_path):
    run(recorded("glm_orig/ckpt"), tmp_path / "out", "original", 2)
    (theirs,) = (path for path in recorded("glm_orig/ckpt_mp2").iterdir() if path.is_dir())
    for file in sorted(theirs.iterdir()):
        expected = torch.load(file, weights_only=True)["module"]
        written = torch.load(tmp_path / "out" / "release" / file.name, weights_only=True)["module"]
        assert [*written] == [*expected]
        assert all(torch.equal(written[name], expected[name]) for name in expected)


@pytest.mark.parametrize("name", TO_TRANSFORMERS)
def test_transformers_gives_the_logits_of_the_released_code(recorded, tmp_path, name):
    run(recorded(name), tmp_path / "out", "transformers")
    theirs, info = AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info.values())
    with np.load(recorded(f"{name}/expected.npz")) as file, torch.inference_mode():
        logits = theirs(torch.from_numpy(file["input_ids"])).logits
        np.testing.assert_allclose(logits.numpy(), file["logits"], rtol=0, atol=ATOL)
