"""Checkpoints: whole or absent, and proved when they are loaded."""

import errno
import json
import os

import pytest
import torch
from torch import Tensor

from glmctl.core.checkpoint import durable
from glmctl.core.checkpoint.store import CheckpointStore
from glmctl.errors import InputError, MachineError


def state(value: float) -> dict[str, Tensor]:
    return {
        "model.weight": torch.full((4, 3), value),
        "optimizer.step.weight": torch.tensor(value),
        "half": torch.full((2,), value, dtype=torch.bfloat16),
    }


@pytest.fixture
def store(tmp_path):
    return CheckpointStore(tmp_path / "checkpoints", keep=2)


def names(store: CheckpointStore) -> list[str]:
    return sorted(path.name for path in store.root.iterdir())


def flip_bit(path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def fail_with(number: int):
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_a_checkpoint_comes_back_bit_for_bit(store):
    store.save(7, state(1.5))
    loaded = store.load(7)
    assert loaded.keys() == state(1.5).keys()
    for name, tensor in state(1.5).items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)


def test_a_checkpoint_is_a_folder_of_safetensors_and_json(store):
    folder = store.save(100, state(1.0))
    assert folder.name == "step-00000100"
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "state.safetensors"]


def test_only_the_newest_checkpoints_stay(store):
    for step in (1, 2, 3):
        store.save(step, state(step))
    assert names(store) == ["step-00000002", "step-00000003"]


def test_a_store_that_is_not_there_yet_has_no_steps(store):
    assert store.steps() == []


def test_saving_a_step_again_leaves_it_alone(store):
    store.save(1, state(1.0))
    store.save(1, state(1.0))
    assert store.steps() == [1]


@pytest.mark.parametrize("offset", [-1, -30])
def test_a_flipped_bit_is_found_and_an_earlier_checkpoint_is_named(store, offset):
    store.save(1, state(1.0))
    folder = store.save(2, state(2.0))
    flip_bit(folder / "state.safetensors", offset)
    with pytest.raises(
        InputError,
        match=r"step-00000002/state\.safetensors(.|\n)*expected digest \w{32}, found \w{32}"
        r"(.|\n)*remove the folder step-00000002 to continue from step-00000001",
    ):
        store.load(2)
    assert store.load(1)["model.weight"][0, 0] == 1.0


def test_a_flipped_bit_names_the_tensor(store):
    folder = store.save(1, {"only.one": torch.ones(3)})
    flip_bit(folder / "state.safetensors", -1)
    with pytest.raises(InputError, match=r"tensor only\.one: expected digest"):
        store.load(1)


def test_every_flipped_bit_of_a_checkpoint_is_found(store):
    folder = store.save(1, {"a": torch.ones(2, 1)})
    for name in ("state.safetensors", "manifest.json"):
        path = folder / name
        whole = path.read_bytes()
        for place in range(len(whole)):
            if whole[place : place + 1].isspace() or whole[place] == ord("e"):
                continue  # JSON reads another space, or 1E5 for 1e5, alike
            flip_bit(path, place)
            with pytest.raises(InputError):
                store.load(1)
            path.write_bytes(whole)


def test_without_an_earlier_checkpoint_the_remedy_is_to_start_over(store):
    folder = store.save(1, state(1.0))
    (folder / "state.safetensors").unlink()
    with pytest.raises(InputError, match=r"is missing; .*--fresh --force"):
        store.load(1)


def test_a_truncated_file_is_damaged(store):
    path = store.save(1, state(1.0)) / "state.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match="is damaged"):
        store.load(1)


def test_a_newer_format_is_refused(store):
    path = store.save(1, state(1.0)) / "manifest.json"
    path.write_text(path.read_text().replace('"format": 2', '"format": 9'))
    with pytest.raises(InputError, match="format is 9, expected 2"):
        store.load(1)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("call", ["fsync", "mkdir", "rename"])
def test_a_failing_disk_leaves_the_older_checkpoint_and_nothing_half_written(
    store, monkeypatch, number, call
):
    store.save(1, state(1.0))
    monkeypatch.setattr(os, call, fail_with(number))
    with pytest.raises(MachineError, match=f"step-00000002.*{os.strerror(number)}"):
        store.save(2, state(2.0))
    monkeypatch.undo()
    assert names(store) == ["step-00000001"]
    assert store.load(1)["model.weight"][0, 0] == 1.0


def test_what_a_killed_process_left_is_swept_away(store):
    store.save(1, state(1.0))
    (store.root / "step-00000002.partial").mkdir()
    (store.root / "step-00000002.partial" / "state.safetensors").write_bytes(b"half")
    durable.sweep(store.root)
    assert names(store) == ["step-00000001"]
    assert store.steps() == [1]


def test_a_digest_depends_on_type_and_shape_too():
    tensors = [torch.zeros(4), torch.zeros(2, 2), torch.zeros(4, dtype=torch.int32)]
    assert len({durable.digest(tensor) for tensor in tensors}) == 3


def test_a_checkpoint_of_other_data_is_refused_with_both_fingerprints(tmp_path):
    CheckpointStore(tmp_path, keep=2, data="aaaa").save(7, state(1.0))
    assert CheckpointStore(tmp_path, keep=2, data="aaaa").load(7)
    with pytest.raises(
        InputError,
        match=r"step-00000007: trained on data of the fingerprint aaaa, and the run now has bbbb; "
        r"bring its shards, weights, rows and seed back, or start over with --fresh --force",
    ):
        CheckpointStore(tmp_path, keep=2, data="bbbb").load(7)
    assert CheckpointStore(tmp_path, keep=2).load(7)  # nobody trains


def test_a_checkpoint_of_the_format_without_data_goes_on(tmp_path):
    folder = CheckpointStore(tmp_path, keep=2).save(7, state(1.0))
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["data"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="holds no fingerprint of the data; there is no earlier"):
        CheckpointStore(tmp_path, keep=2, data="aaaa").load(7)
    (folder / "manifest.json").write_text(json.dumps(manifest | {"format": 1}))
    assert CheckpointStore(tmp_path, keep=2, data="aaaa").load(7)
