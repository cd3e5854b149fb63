import inspect
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from glmctl.core.checkpoint.folder import Found, write_model_folder
from glmctl.core.checkpoint.store import CheckpointStore
from glmctl.core.open import Glm, load
from glmctl.errors import GlmctlError, InputError, UsageError
from glmctl.recipe.schema import DecodeConfig, ObjectiveConfig

IDS = torch.tensor([[321, 10, 323, 30, 320, 326, 40, 41, 42], [321, 323, 320, 326, 50, 0, 0, 0, 0]])
POSITIONS = torch.tensor(
    [
        [[0, 1, 2, 3, 4, 2, 2, 2, 2], [0, 0, 0, 0, 0, 1, 2, 3, 4]],
        [[0, 1, 2, 1, 1, 0, 0, 0, 0], [0, 0, 0, 1, 2, 0, 0, 0, 0]],
    ]
)
PART_A = torch.tensor([5, 3])
TARGETS = torch.tensor([[0, 0, 0, 0, 0, 40, 41, 327, 0], [0, 0, 0, 50, 327, 0, 0, 0, 0]])
LOSS_MASK = torch.tensor([[0, 0, 0, 0, 0, 1, 1, 1, 0], [0, 0, 0, 1, 1, 0, 0, 0, 0]])


@pytest.fixture
def glm(tiny_model: Path) -> Glm:
    return load(tiny_model)


@pytest.fixture
def original_copy(golden: Path, tmp_path: Path) -> Path:
    """A checkpoint of the original code without the sizes beside it."""
    folder = tmp_path / "a" / "b" / "c"
    folder.mkdir(parents=True)
    shutil.copy(golden / "glm_orig/ckpt/1000/mp_rank_00_model_states.pt", folder / "model.pt")
    return folder / "model.pt"


def test_a_saved_model_loads_to_the_same_logits_and_licence(glm: Glm, tmp_path: Path):
    copy = load(glm.save(tmp_path / "copy"))
    assert torch.equal(copy.logits(IDS, POSITIONS, PART_A), glm.logits(IDS, POSITIONS, PART_A))
    assert copy.config == glm.config
    assert copy.license == "none"
    assert copy.tokenizer.encode("The cat") == glm.tokenizer.encode("The cat")


def test_a_model_without_a_tokenizer_is_saved_and_loaded_without_one(golden: Path, tmp_path: Path):
    copy = load(load(golden / "glm_orig" / "ckpt").save(tmp_path / "copy"))
    assert copy.tokenizer is None
    with pytest.raises(InputError, match="copy: has no tokenizer, so text cannot be read"):
        copy.infill(["[MASK]"])


def test_logits_without_positions_take_them_from_the_ids(glm: Glm):
    expected = glm.logits(IDS[:1], POSITIONS[:1], PART_A[:1])
    assert torch.equal(glm.logits(IDS[:1]), expected)
    assert torch.equal(glm.logits(IDS[:1], POSITIONS[:1]), expected)


def test_the_loss_is_the_mean_over_the_targets_of_all_rows(glm: Glm):
    logits = glm.logits(IDS, POSITIONS, PART_A)
    counts = LOSS_MASK.bool()
    expected = cross_entropy(logits[counts], TARGETS[counts])
    loss = glm.loss(IDS, POSITIONS, PART_A, TARGETS, LOSS_MASK)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-6)
    glm_grad = torch.autograd.grad(loss, glm.module.word_embedding.weight)[0]
    expected_grad = torch.autograd.grad(expected, glm.module.word_embedding.weight)[0]
    torch.testing.assert_close(glm_grad, expected_grad, rtol=1e-4, atol=2e-6)


def test_a_row_without_a_target_takes_no_part_in_the_loss(glm: Glm):
    mask = LOSS_MASK * torch.tensor([[1], [0]])
    loss = glm.loss(IDS, POSITIONS, PART_A, TARGETS, mask)
    alone = glm.loss(IDS[:1], POSITIONS[:1], PART_A[:1], TARGETS[:1], LOSS_MASK[:1])
    assert loss.item() == alone.item()


def test_a_loss_without_a_target_is_refused(glm: Glm):
    with pytest.raises(InputError, match="loss_mask: is 0 everywhere"):
        glm.loss(IDS, POSITIONS, PART_A, TARGETS, 0 * LOSS_MASK)


def test_the_type_of_the_weights_can_be_chosen(tiny_model: Path):
    glm = load(tiny_model, dtype="bfloat16")
    assert glm.module.word_embedding.weight.dtype == torch.bfloat16
    assert glm.logits(IDS, POSITIONS, PART_A).dtype == torch.float32
    with pytest.raises(UsageError, match="dtype: 'int3' is not known; use one of float32"):
        load(tiny_model, dtype="int3")


RECIPE = """
[recipe]
source = "test"
[model]
num_layers = 2
hidden_size = 32
num_attention_heads = {heads}
max_positions = 64
[tokenizer]
path = "{path}"
[data]
sequence_length = 64
corpus = [{{ name = "none", path = "none" }}]
[train]
steps = 1
global_batch_size = 1
micro_batch_size = 1
"""


def test_a_run_gives_its_model_or_its_newest_checkpoint(glm: Glm, tiny_model: Path, tmp_path: Path):
    recipe = RECIPE.format(heads=4, path=tiny_model / "tiny.model")
    (tmp_path / "recipe.toml").write_text(recipe)
    store = CheckpointStore(tmp_path / "checkpoints", keep=2)
    for step, factor in ((1, 0.5), (2, 1.0)):
        tensors = {f"model.{n}": factor * w for n, w in glm.module.state_dict().items()}
        store.save(step, tensors | {"optimizer.step.x": torch.zeros(1)})
    weight = glm.module.word_embedding.weight
    newest = load(tmp_path)
    assert torch.equal(newest.module.word_embedding.weight, weight)
    assert newest.config == glm.config.model_copy(update={})
    older = load(tmp_path / "checkpoints" / "step-00000001")
    assert torch.equal(older.module.word_embedding.weight, weight / 2)
    load(older.source).save(tmp_path / "model")
    assert torch.equal(load(tmp_path).module.word_embedding.weight, weight / 2)


def test_an_unknown_name_lists_the_built_in_ones():
    with pytest.raises(InputError, match=r"nowhere: no such file.*built-in: glmctl-default"):
        load("nowhere")


def test_a_folder_without_a_model_says_what_was_looked_for(tmp_path: Path):
    with pytest.raises(InputError, match=r"holds no model: looked for config\.toml with model\."):
        load(tmp_path)


def test_a_checkpoint_without_sizes_takes_heads_of_64_with_a_warning(original_copy: Path):
    with pytest.warns(UserWarning, match="took 1 of size 64; give model= a recipe"):
        glm = load(original_copy)
    assert glm.config.num_attention_heads == 1


def test_the_sizes_can_be_given_as_a_config_file_or_a_recipe(
    golden: Path, original_copy: Path, tmp_path: Path
):
    given = golden / "glm_orig" / "config.json"
    heads = json.loads(given.read_bytes())["num_attention_heads"]
    assert load(original_copy, model=str(given)).config.num_attention_heads == heads
    (tmp_path / "recipe.toml").write_text(RECIPE.format(heads=4, path="x"))
    with pytest.raises(InputError, match=r"num_layers is 2 in .*recipe\.toml and \d+ in the che"):
        load(original_copy, model=str(tmp_path / "recipe.toml"))


def test_sizes_that_contradict_the_checkpoint_are_named(original_copy: Path):
    (original_copy.parent / "config.json").write_text(
        json.dumps({"num_attention_heads": 4, "num_layers": 99})
    )
    with pytest.raises(InputError, match=r"num_layers is 99 in .*config\.json and \d+ in the che"):
        load(original_copy)


def test_sizes_are_not_taken_for_a_format_that_holds_them(tiny_model: Path):
    with pytest.raises(UsageError, match="holds its own sizes; leave out model 'glm-base'"):
        load(tiny_model, model="glm-base")


def test_a_checkpoint_that_lacks_tensors_is_refused_with_their_names(
    golden: Path, original_copy: Path
):
    content = torch.load(original_copy, weights_only=True)
    del content["module"]["transformer.layers.1.mlp.dense_h_to_4h.bias"]
    torch.save(content, original_copy)
    with pytest.raises(InputError, match=r"tensor blocks\.1\.ffn\.up\.bias is missing"):
        load(original_copy, model=str(golden / "glm_orig" / "config.json"))


def test_a_tokenizer_with_more_ids_than_the_model_has_rows_is_refused(glm: Glm, tmp_path: Path):
    weights = glm.module.state_dict()
    rows = weights["word_embedding.weight"][:128]
    config = glm.config.model_copy(update={"vocab_rows": 128})
    tensors = {**weights, "word_embedding.weight": rows}
    folder = write_model_folder(tmp_path / "m", Found(config, tensors, glm.tokenizer))
    with pytest.raises(InputError, match=r"the tokenizer has \d+ ids and the model 128 rows; use"):
        load(folder)


def test_a_damaged_model_folder_is_refused(tiny_model: Path, tmp_path: Path):
    folder = Path(shutil.copytree(tiny_model, tmp_path / "copy"))
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(GlmctlError, match="expected digest") as caught:
        load(folder)
    assert caught.value.exit_code == 3


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu_is_named(tiny_model: Path):
    with pytest.raises(GlmctlError, match="device cuda: this machine has no usable GPU; use cpu"):
        load(tiny_model, device="cuda")


def test_loading_a_model_leaves_the_compiler_of_torch_alone(tiny_model: Path):
    # It takes longer to load than everything else that a filled blank needs.
    code = "import glmctl, sys; glmctl.load(sys.argv[1]); sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code, tiny_model]).returncode == 0


def test_a_flipped_bit_in_the_tokenizer_is_found(tiny_model: Path, tmp_path: Path):
    copy = shutil.copytree(tiny_model, tmp_path / "copy")
    data = (copy / "tiny.model").read_bytes()
    (copy / "tiny.model").write_bytes(data.replace(b"oven", b"oveo"))
    with pytest.raises(InputError, match="copy: the tokenizer is damaged: expected digest"):
        load(copy)


def saved_with(glm: Glm, folder: Path, **objective: object) -> Glm:
    section = ObjectiveConfig.model_validate(objective)
    return load(replace(glm, objective=section).save(folder))


def test_a_model_of_one_place_a_span_is_filled_and_scored_with_that_place(
    glm: Glm, tiny_model: Path, tmp_path: Path
):
    one = saved_with(glm, tmp_path / "one", second_position=False)
    ones = POSITIONS.clone()
    ones[:, 1] = ones[:, 1].clamp(max=1)
    assert torch.equal(one.logits(IDS, POSITIONS, PART_A), glm.logits(IDS, ones, PART_A))
    assert not torch.equal(one.logits(IDS, POSITIONS, PART_A), glm.logits(IDS, POSITIONS, PART_A))
    again = load(one.save(tmp_path / "again"))
    assert torch.equal(again.logits(IDS, POSITIONS, PART_A), one.logits(IDS, POSITIONS, PART_A))


def test_a_model_of_numbered_blanks_is_not_filled_in_silence(glm: Glm, tmp_path: Path):
    numbered = saved_with(glm, tmp_path / "numbered", sentinel=True)
    with pytest.raises(InputError, match=r"objective.sentinel.*is not offered"):
        numbered.infill(["The [MASK] sleeps."])


def test_blanks_are_filled_by_rotary_positions_of_two_places_too(glm: Glm, tmp_path: Path):
    config = glm.config.model_copy(update={"position": "rotary_2d"})
    tensors = {n: w for n, w in glm.module.state_dict().items() if "position" not in n}
    folder = write_model_folder(tmp_path / "r", Found(config, tensors, glm.tokenizer))
    turned = load(folder)
    (row,) = turned.infill(["The [MASK] sleeps."], max_new_tokens=3)
    (blank,) = row.blanks
    special = turned.tokenizer.special
    part_a = [special.cls, *turned.tokenizer.encode("The [MASK] sleeps."), special.eos]
    fed = torch.tensor([[*part_a, special.sop, *blank.ids]])
    logits = turned.logits(fed)[0, len(part_a) :].log_softmax(1)
    best = sum(logits[i, token].item() for i, token in enumerate(blank.ids))
    assert blank.log_prob == pytest.approx(best, abs=1e-5)
    chosen = logits[: len(blank.ids), : turned.tokenizer.size].argmax(1)
    assert chosen.tolist() == [*blank.ids]


def test_infill_takes_what_decoding_takes_by_the_same_defaults():
    parameters = [*inspect.signature(Glm.infill).parameters.values()][4:]
    stated = {it.name: it.default for it in parameters}
    assert stated == DecodeConfig().model_dump()
