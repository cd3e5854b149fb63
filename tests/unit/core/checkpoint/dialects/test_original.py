"""Original checkpoints are read as data; whatever else a file holds is refused."""

import os
from pathlib import Path

import pytest
import torch

from glmctl.core.checkpoint.dialects.original import (
    find_shards,
    our_name,
    read_with_heads,
)
from glmctl.core.checkpoint.find import find
from glmctl.errors import InputError


def save(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("word_embeddings.weight", "word_embedding.weight"),
        ("transformer.position_embeddings.weight", "position_embedding.weight"),
        ("transformer.block_position_embeddings.weight", "span_position_embedding.weight"),
        ("transformer.layers.11.mlp.dense_4h_to_h.bias", "blocks.11.ffn.down.bias"),
        ("transformer.layers.0.attention.dense.weight", "blocks.0.attention.output.weight"),
        ("transformer.final_layernorm.bias", "final_norm.bias"),
        ("transformer.r_w_bias", "relative.content_bias"),
        ("prompt_spell.spell_embeddings.weight", None),
    ],
)
def test_each_name_has_its_counterpart(theirs, ours):
    assert our_name(theirs) == ours


def test_the_tracker_names_the_folder_and_ranks_come_in_order(tmp_path):
    for rank in (1, 0):
        save(tmp_path / "300" / f"mp_rank_0{rank}_model_states.pt", {"module": {}})
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("300")
    names = [path.name for path in find_shards(tmp_path)]
    assert names == ["mp_rank_00_model_states.pt", "mp_rank_01_model_states.pt"]
    assert find_shards(tmp_path / "300") == find_shards(tmp_path)


def test_a_tracker_that_names_nothing_is_an_error(tmp_path):
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("best")
    with pytest.raises(InputError, match="names the tag 'best'"):
        find_shards(tmp_path)


def test_shards_merge_query_key_and_value_each_on_their_own(tmp_path):
    name = "transformer.layers.0.attention.query_key_value.bias"
    for rank, values in enumerate(([1, 2, 3], [10, 20, 30])):
        module = {name: torch.tensor(values), "transformer.final_layernorm.bias": torch.ones(2)}
        save(tmp_path / f"mp_rank_0{rank}_model_states.pt", {"module": module})
    tensors = read_with_heads(tmp_path)[0]
    merged = tensors["blocks.0.attention.query_key_value.bias"]
    assert merged.tolist() == [1, 10, 2, 20, 3, 30]
    assert tensors["final_norm.bias"].tolist() == [1, 1]


def test_shards_merge_linears_along_the_side_that_was_split(tmp_path):
    names = ["mlp.dense_h_to_4h.weight", "mlp.dense_4h_to_h.weight", "attention.dense.bias"]
    for rank in range(2):
        module = {f"transformer.layers.0.{n}": torch.full((2, 3), rank) for n in names[:2]}
        module[f"transformer.layers.0.{names[2]}"] = torch.ones(2)
        module["word_embeddings.weight"] = torch.full((4, 3), rank)
        save(tmp_path / f"mp_rank_0{rank}_model_states.pt", {"module": module})
    tensors = read_with_heads(tmp_path)[0]
    assert tensors["blocks.0.ffn.up.weight"].tolist() == [[0] * 3, [0] * 3, [1] * 3, [1] * 3]
    assert tensors["blocks.0.ffn.down.weight"].tolist() == [[0, 0, 0, 1, 1, 1]] * 2
    assert tensors["blocks.0.attention.output.bias"].tolist() == [1, 1]
    assert tensors["word_embedding.weight"].shape == (8, 3)


class RunsWhenUnpickled:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_code_in_a_pickle_is_refused_and_never_runs(tmp_path):
    trap = tmp_path / "trap"
    file = save(tmp_path / "evil.pt", {"module": {}, "lr_scheduler": RunsWhenUnpickled(trap)})
    with pytest.raises(InputError, match="nothing in it was executed") as error:
        read_with_heads(file)
    assert error.value.place == str(file)
    assert not trap.exists()


def test_a_cut_file_is_an_error_that_names_it(tmp_path):
    file = save(tmp_path / "model.pt", {"module": {"word_embeddings.weight": torch.ones(64, 64)}})
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(InputError, match="not a checkpoint"):
        read_with_heads(file)


def test_a_file_without_a_module_is_no_glm_checkpoint(tmp_path):
    with pytest.raises(InputError, match="holds no 'module' part"):
        read_with_heads(save(tmp_path / "other.pt", {"state_dict": {}}))


def test_heads_of_a_task_and_of_a_prompt_are_handed_on(tmp_path):
    module = {
        "model.word_embeddings.weight": torch.ones(4, 2),
        "pool_layer.weight": torch.full((2, 2), 2.0),
        "multichoice_head.bias": torch.full((3,), 3.0),
        "prompt_spell.lstm_head.bias_ih_l1_reverse": torch.full((8,), 4.0),
        "prompt_spell.mlp_head.2.weight": torch.full((2, 2), 5.0),
    }
    tensors, heads = read_with_heads(save(tmp_path / "cls.pt", {"module": module}))
    assert tensors.keys() == {"word_embedding.weight"}
    assert {name: tensor.flatten()[0].item() for name, tensor in heads.items()} == {
        "pool.weight": 2.0,
        "classes.bias": 3.0,
        "prompt.lstm.bias_ih_l1_reverse": 4.0,
        "prompt.second.weight": 5.0,
    }


def test_a_file_without_a_model_says_what_it_holds(tmp_path):
    module = {"prompt_spell.spell_embeddings.weight": torch.ones(2, 2)}
    file = save(tmp_path / "prompt.pt", {"module": module})
    with pytest.raises(InputError, match=r"no word embedding, only prompt\.embedding\.weight"):
        find(file, None)


def test_tensors_of_no_glm_are_named(tmp_path):
    file = save(tmp_path / "other.pt", {"module": {"visual.weight": torch.ones(2, 2)}})
    with pytest.raises(InputError, match=r"first 'visual\.weight'"):
        read_with_heads(file)


def test_a_missing_rank_is_named(tmp_path):
    module = {"transformer.final_layernorm.bias": torch.ones(2)}
    for rank in (0, 2, 3):
        save(tmp_path / f"mp_rank_0{rank}_model_states.pt", {"module": module})
    with pytest.raises(InputError, match=r"shard mp_rank_01_model_states\.pt is missing"):
        read_with_heads(tmp_path)


def test_one_shard_of_two_is_not_taken_for_a_model(tmp_path):
    content = {"module": {"transformer.final_layernorm.bias": torch.ones(2)}, "mp_world_size": 2}
    file = save(tmp_path / "mp_rank_00_model_states.pt", content)
    for path in (file, tmp_path):
        with pytest.raises(InputError, match=r"is one of 2 shards \(mp_world_size\), and 1 are"):
            read_with_heads(path)


def test_a_shard_of_another_model_is_named(tmp_path):
    name = "transformer.layers.0.mlp.dense_h_to_4h.bias"
    norm = {"transformer.final_layernorm.bias": torch.ones(2)}
    save(tmp_path / "mp_rank_00_model_states.pt", {"module": {name: torch.ones(8), **norm}})
    save(tmp_path / "mp_rank_01_model_states.pt", {"module": {name: torch.ones(6)}})
    with pytest.raises(InputError) as caught:
        read_with_heads(tmp_path)
    assert caught.value.problems == (
        "tensor transformer.final_layernorm.bias is (2,) in mp_rank_00_model_states.pt and missing "
        "in mp_rank_01_model_states.pt",
        f"tensor {name} is (8,) in mp_rank_00_model_states.pt and (6,) in "
        "mp_rank_01_model_states.pt",
    )
