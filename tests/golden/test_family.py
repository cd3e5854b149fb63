"""The released formats against recordings of their own code; every size comes from the files."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from glmctl.core.model.cache import KeyValueCache
from glmctl.core.model.sight import Segments
from glmctl.core.open import Glm, load

ATOL = {"hf_glm": 5e-5, "hf_glm_prefixed": 5e-5}  # by the READMEs; the others:
FAMILY_ATOL, LOSS_ATOL = 1e-4, 2e-5
CHATS = ["chatglm1", "chatglm2", "chatglm3", "glm4_remote", "glm4_hf", "glm4_0414_hf"]
WITH_LOSS = [name for name in CHATS if name != "glm4_remote"]
LEFT_PADDED = ["chatglm1", "chatglm2", "chatglm3", "glm4_hf", "glm4_0414_hf"]
Arrays = dict[str, Tensor]


@pytest.fixture
def arrays(recorded) -> Callable[[str], Arrays]:
    def read(name: str) -> Arrays:
        with np.load(recorded(f"{name}/expected.npz")) as file:
            return {key: torch.from_numpy(file[key]) for key in file.files}

    return read


@pytest.fixture
def opened(recorded) -> Callable[[str], Glm]:
    return lambda name: load(recorded(name), dtype="float32")


def assert_close(ours: Tensor, theirs: Tensor, atol: float = FAMILY_ATOL) -> None:
    np.testing.assert_allclose(ours.detach().numpy(), theirs.numpy(), rtol=0, atol=atol)


@pytest.mark.parametrize("name", [*CHATS, "chatglm1_int8", "chatglm1_int4"])
def test_logits_equal_those_of_the_released_code(opened, arrays, name):
    rows = arrays(name)
    with torch.inference_mode():
        assert_close(opened(name).logits(rows["input_ids"]), rows["logits"])


@pytest.mark.parametrize("name", WITH_LOSS)
def test_losses_equal_those_of_the_released_code(opened, arrays, name):
    rows = arrays(name)
    targets = rows["labels"].roll(-1, 1)  # it shifts by one inside the model
    targets[:, -1] = -100
    counts = targets != -100
    loss = opened(name).loss(rows["input_ids"], None, None, targets.clamp(min=0), counts.int())
    assert_close(loss, rows["loss"], LOSS_ATOL)


@pytest.mark.parametrize("name", WITH_LOSS)
def test_hidden_states_after_the_first_layer_equal_those_of_the_released_code(opened, arrays, name):
    rows, glm, seen = arrays(name), opened(name), []
    glm.module.blocks[0].register_forward_hook(lambda _, __, out: seen.append(out))
    with torch.inference_mode():
        glm.logits(rows["input_ids"])
    assert_close(seen[0].view_as(rows["hidden_after_layer0"]), rows["hidden_after_layer0"])


@pytest.mark.parametrize(
    ("name", "positions", "expected"),
    [
        ("chatglm1", "far_position_ids", "far_logits"),
        *((name, "strided_position_ids", "strided_logits") for name in CHATS[3:]),
    ],
    ids=["chatglm1", *CHATS[3:]],
)
def test_far_positions_give_the_logits_of_the_released_code(
    opened, arrays, name, positions, expected
):
    rows = arrays(name)
    with torch.inference_mode():
        ours = opened(name).logits(rows["input_ids"], rows[positions])
    assert_close(ours, rows[expected])


def test_exact_frequencies_are_another_function(opened, arrays):
    rows, glm = arrays("chatglm1"), opened("chatglm1")
    exact = glm.module.rotary.settings.model_copy(update={"half_precision_frequencies": False})
    glm.module.rotary.settings = exact
    with torch.inference_mode():
        assert_close(glm.logits(rows["input_ids"]), rows["logits_exact_inv_freq"])


def real_rows(name: str, rows: Arrays) -> list[tuple[Tensor, Tensor, int, int]]:
    """Ids, places, Part A and number of padding tokens of each left-padded row."""
    if name == "chatglm1":
        ids, places = rows["padded_input_ids"], rows["padded_position_ids"]
        hidden = rows["padded_attention_mask"][:, 0]  # [B, query, key]
        padding = hidden.all(1).int().sum(1).tolist()
        seen_by_first = [int((~hidden[i, n]).sum()) for i, n in enumerate(padding)]
        return [
            (ids[i, n:], places[i, :, n:], part_a, n)
            for i, (n, part_a) in enumerate(zip(padding, seen_by_first, strict=True))
        ]
    padding = (1 - rows["attention_mask"]).sum(1).tolist()
    places = torch.stack([rows["position_ids"], torch.zeros_like(rows["position_ids"])], 1)
    return [(rows["input_ids"][i, n:], places[i, :, n:], 0, n) for i, n in enumerate(padding)]


@pytest.mark.parametrize("name", LEFT_PADDED)
def test_left_padded_rows_give_the_logits_of_the_released_code(opened, arrays, name):
    rows, glm = arrays(name), opened(name)
    packed = real_rows(name, rows)
    ids = torch.cat([row[0] for row in packed])
    places = torch.cat([row[1] for row in packed], 1)
    segments = Segments(tuple(len(row[0]) for row in packed), tuple(row[2] for row in packed))
    with torch.inference_mode():
        ours = glm.module.logits(glm.module.hidden(ids, places, segments))
    theirs = torch.cat([rows["padded_logits"][i, row[3] :] for i, row in enumerate(packed)])
    assert_close(ours, theirs)


@pytest.mark.parametrize("name", ["chatglm2", "chatglm3"])
def test_left_padded_rows_on_a_cache_give_the_logits_of_the_released_code(opened, arrays, name):
    rows, glm = arrays(name), opened(name)
    start, expected = int(rows["padded_cached_start"]), rows["padded_cached_logits"]
    packed = real_rows(name, rows)
    parts = [(ids[: start - n], places[:, : start - n]) for ids, places, _, n in packed]
    lengths = tuple(len(ids) for ids, _ in parts)
    cache = KeyValueCache(glm.config, len(parts), start, torch.float32, expected.device)
    with torch.inference_mode():
        hidden = glm.module.hidden(
            torch.cat([ids for ids, _ in parts]),
            torch.cat([places for _, places in parts], 1),
            Segments(lengths, (0,) * len(lengths)),
            torch.tensor(lengths).cumsum(0) - 1,
            cache,
        )
        found = [glm.module.logits(hidden)]
        for step in range(expected.shape[1] - 1):
            at = [start - n + step for *_, n in packed]
            ids = torch.stack([row[0][i] for row, i in zip(packed, at, strict=True)])
            places = torch.stack([row[1][:, i] for row, i in zip(packed, at, strict=True)], 1)
            found.append(glm.module.logits(glm.module.step(ids, places, cache)))
    assert_close(torch.stack(found, 1), expected)


def test_cached_steps_of_glm4_give_the_logits_of_the_released_code(opened, arrays):
    rows, glm = arrays("glm4_remote"), opened("glm4_remote")
    start, expected = int(rows["cached_start"]), rows["cached_logits"]
    ids, places = rows["input_ids"], torch.arange(rows["input_ids"].shape[1])
    number = len(ids)
    cache = KeyValueCache(glm.config, number, start, torch.float32, ids.device)
    with torch.inference_mode():
        both = torch.stack([places[:start].repeat(number)] * 2)
        segments = Segments((start,) * number, (0,) * number)
        glm.module.hidden(ids[:, :start].flatten(), both, segments, None, cache)
        found = [
            glm.module.logits(glm.module.step(ids[:, i], places[i].expand(2, number), cache))
            for i in range(start, start + expected.shape[1])
        ]
    assert_close(torch.stack(found, 1), expected)


@pytest.mark.parametrize("name", WITH_LOSS)
def test_greedy_tokens_are_those_of_the_released_code(opened, arrays, name):
    rows, glm = arrays(name), opened(name)
    (prompt,), expected = rows["greedy_prompt"].tolist(), rows["greedy_tokens"][0].tolist()
    num_tokens = len(expected) - len(prompt)
    with torch.inference_mode():
        assert glm.continue_ids([prompt], max_new_tokens=num_tokens) == [expected[len(prompt) :]]
        full = glm.logits(torch.tensor([expected]))[0, len(prompt) - 1 : -1]
    assert_close(full, rows["greedy_logits"][0])


@pytest.mark.parametrize("name", ["chatglm1", "chatglm2", "chatglm3"])
def test_a_learned_prefix_gives_the_logits_of_the_released_code(recorded, arrays, tmp_path, name):
    rows = arrays(name)
    weight = "transformer.prefix_encoder.embedding.weight"
    folder = tmp_path / name
    shutil.copytree(recorded(name), folder, copy_function=shutil.copyfile)
    Path(folder).chmod(0o755)
    index = folder / "pytorch_model.bin.index.json"
    shard = folder / "pytorch_model.bin"
    if index.exists():
        content = json.loads(index.read_text())
        shard = folder / sorted(set(content["weight_map"].values()))[-1]
        content["weight_map"][weight] = shard.name
        index.write_text(json.dumps(content))
    torch.save({**torch.load(shard, weights_only=True), weight: rows[weight]}, shard)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "pre_seq_len": len(rows[weight])}))
    glm = load(folder)
    assert glm.config.num_prefix_tokens == len(rows[weight])
    with torch.inference_mode():
        assert_close(glm.logits(rows["input_ids"]), rows["ptuning_v2_logits"])


def test_one_row_of_positions_of_chatglm_gives_the_logits_of_the_released_code(
    recorded, arrays, tmp_path
):
    rows = arrays("chatglm1")
    folder = tmp_path / "chatglm1"
    shutil.copytree(recorded("chatglm1"), folder, copy_function=shutil.copyfile)
    Path(folder).chmod(0o755)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "position_encoding_2d": False}))
    with torch.inference_mode():
        assert_close(load(folder).logits(rows["input_ids"]), rows["logits_1d_positions"])


@pytest.mark.parametrize("name", ["glm4_hf", "glm4_0414_hf"])
def test_a_config_of_version_4_says_the_same(recorded, tmp_path, name):
    folder = tmp_path / name
    shutil.copytree(recorded(name), folder, copy_function=shutil.copyfile)
    Path(folder).chmod(0o755)
    (folder / "config_v4_style.json").replace(folder / "config.json")
    assert load(folder).config == load(recorded(name)).config


@pytest.mark.parametrize("name", ["hf_glm", "hf_glm_prefixed"])
def test_logits_of_the_hubs_glm_equal_those_of_its_code(opened, arrays, name):
    rows, glm = arrays("hf_glm"), opened(name)
    with torch.inference_mode():
        ours = glm.logits(rows["input_ids"], rows["position_ids"], rows["sep"])
    assert_close(ours, rows["logits_sep"], ATOL[name])


def test_padded_contexts_of_the_hubs_glm_give_the_logits_and_loss_of_its_code(opened, arrays):
    rows, glm = arrays("hf_glm"), opened("hf_glm")
    ids, mask = rows["input_ids"], rows["gen_attention_mask"][:, 0].bool()
    total, checked = 0.0, 0
    for i in range(len(ids)):
        kept = mask[i].any(0).nonzero()[:, 0]  # keys that somebody sees
        part_a = int(mask[i, 0].sum())
        places = rows["gen_position_ids"][i, :, kept]
        segments = Segments((len(kept),), (part_a,))
        with torch.inference_mode():
            ours = glm.module.logits(glm.module.hidden(ids[i, kept], places, segments))
        assert_close(ours, rows["gen_logits"][i, kept], ATOL["hf_glm"])
        labels = rows["gen_labels"][i, kept]
        counts = labels != -100
        assert counts.sum() == (rows["gen_labels"][i] != -100).sum()
        total += torch.nn.functional.cross_entropy(ours[counts], labels[counts], reduction="sum")
        checked += int(counts.sum())
    assert_close(total / checked, rows["gen_loss"], 1e-5)


def test_rows_without_causality_give_the_logits_of_the_hubs_glm(opened, arrays):
    rows, glm = arrays("hf_glm"), opened("hf_glm")
    for i, mask in enumerate(rows["attention_mask_2d"].bool()):
        seen = mask.nonzero()[:, 0]
        places = rows["position_ids"][i, :, seen]
        segments = Segments((len(seen),), (len(seen),))
        with torch.inference_mode():
            ours = glm.module.logits(
                glm.module.hidden(rows["input_ids"][i, seen], places, segments)
            )
        assert_close(ours, rows["logits_mask2d"][i, seen], ATOL["hf_glm"])


def test_cached_steps_of_the_hubs_glm_give_the_logits_of_its_code(opened, arrays):
    rows, glm = arrays("hf_glm"), opened("hf_glm")
    start, expected = int(rows["cached_from"]), rows["cached_logits"]
    mask = rows["gen_attention_mask"][:, 0].bool()
    for i in range(len(expected)):
        context = mask[i, start].nonzero()[:, 0]
        context = context[context <= start]
        cache = KeyValueCache(glm.config, 1, len(context), torch.float32, expected.device)
        places = rows["gen_position_ids"][i]
        ids = rows["input_ids"][i]
        with torch.inference_mode():
            segments = Segments((len(context),), (int(mask[i, 0].sum()),))
            hidden = glm.module.hidden(ids[context], places[:, context], segments, None, cache)
            found = [glm.module.logits(hidden[-1:])]
            for at in range(start + 1, start + expected.shape[1]):
                one = slice(at, at + 1)
                found.append(glm.module.logits(glm.module.step(ids[one], places[:, one], cache)))
        assert_close(torch.cat(found), expected[i], ATOL["hf_glm"])


def test_choices_behind_one_context_are_scored_as_the_hubs_glm_scores_them(opened, arrays):
    rows, glm = arrays("hf_glm"), opened("hf_glm")
    scores = []
    for i, choices in enumerate(rows["mc_choice_ids"]):
        indices = rows["mc_choice_indices"][i]
        lengths = (choices >= 0).sum(1).tolist()
        part_a = int(rows["mc_attention_mask"][i, 0, 0].sum())
        first, end = int(indices[0, 0]), int(indices.max()) + 1
        kept = torch.tensor([*range(part_a), *range(first, end)])
        segments = Segments((len(kept),), (part_a,), (tuple(lengths),))
        ids, places = rows["mc_input_ids"][i, kept], rows["mc_position_ids"][i][:, kept]
        with torch.inference_mode():
            hidden = glm.module.hidden(ids, places, segments)[part_a:]
            log_probs = glm.module.logits(hidden).log_softmax(1)
        scores.append(
            [
                log_probs[at[:n] - first, tokens[:n]].sum()
                for at, tokens, n in zip(indices, choices, lengths, strict=True)
            ]
        )
    ours = torch.tensor(scores)
    assert_close(ours, rows["mc_log_probs"], ATOL["hf_glm"])
    loss = torch.nn.functional.cross_entropy(ours, rows["mc_labels"])
    assert_close(loss, rows["mc_loss"], 1e-5)
