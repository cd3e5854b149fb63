"""The span sampler against what the released one recorded: bit for bit, and as a law."""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy.stats import chi2_contingency, chisquare, kstest

from glmctl.core.objective.blank_infilling import Examples
from glmctl.core.objective.corruption import Corruption
from glmctl.core.objective.draws import sample_keys
from glmctl.core.objective.released import ReleasedSampler, Row
from glmctl.core.tokenizer.special import SpecialTokens
from glmctl.recipe.schema import ObjectiveConfig

FILES = [
    "bert",
    "sentence",
    "gpt",
    "mix_10b",
    "bert_single_span",
    "bert_no_shuffle",
    "bert_no_block_position",
    "bert_random_position",
    "bert_sentinel",
    "bert_context_mask",
    "bert_block_mask",
    "bert_short_seq",
    "masked_lm",
    "gpt_all_infill",
    "gpt_no_infill",
]
MODES = {"bert": "token", "sentence": "sentence", "gpt": "document"}
ALPHA = 0.001
NUM_ROWS = 20_000


class Golden(NamedTuple):
    folder: Path
    meta: dict[str, Any]

    def options(self, name: str) -> dict[str, Any]:
        options: dict[str, Any] = self.meta["modes"][name]
        return options

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        with np.load(self.folder / f"{name}.npz") as file:
            return dict(file)

    def sentence_ends(self) -> np.ndarray:
        size = max(self.meta["vocab"], *self.meta["commands"].values()) + 1
        return np.isin(np.arange(size), self.meta["sentence_end_ids"])

    def special(self, *, task_mask: bool) -> SpecialTokens:
        ids: dict[str, int] = self.meta["commands"]
        numbers = [number for number in range(1, len(ids)) if f"MASK{number}" in ids]
        return SpecialTokens(
            pad=ids["pad"],
            eos=ids["eos"],
            sep=ids["sep"],
            cls=ids["ENC"],
            mask=ids["MASK"],
            unk=ids["unk"],
            sop=ids["sop"],
            eop=ids["eop"],
            smask=ids["sMASK"] if task_mask else None,
            gmask=ids["gMASK"] if task_mask else None,
            noise=ids["dBLOCK"],
            sentinel_masks=tuple(ids[f"MASK{number}"] for number in numbers),
            sentinel_starts=tuple(ids[f"sop{number}"] for number in numbers),
            strings={},
        )


@pytest.fixture(scope="module")
def recorded(golden: Path) -> Golden:
    folder = golden / "span_corruption"
    return Golden(folder, json.loads((folder / "meta.json").read_text()))


def config_of(options: dict[str, Any]) -> ObjectiveConfig:
    """Our names for the options of the released sampler."""
    single = options.get("single_span_prob", 0.0)
    token = options.get("bert_prob", 0.5)
    sentence = options.get("gap_sentence_prob", 0.0)
    return ObjectiveConfig(
        kind="mlm" if options.get("masked_lm") else "blank_infilling",
        token_weight=token * (1 - single),
        sentence_weight=sentence * (1 - single),
        document_weight=max(1 - token - sentence, 0.0) * (1 - single),
        single_span_weight=single,
        span_order="shuffled" if options.get("shuffle_blocks", True) else "text",
        document_min_ratio=options.get("gpt_min_ratio", 0.5),
        document_suffix_probability=options.get("gpt_infill_prob", 0.5),
        block_mask_probability=options.get("block_mask_prob", 0.0),
        context_mask_ratio=options.get("context_mask_ratio", 0.0),
        short_sequence_probability=options.get("short_seq_prob", 0.0),
        sentinel=options.get("sentinel_token", False),
        second_position=options.get("block_position_encoding", True),
        random_position=options.get("random_position", False),
    )


def replay(recorded: Golden, name: str) -> Iterator[tuple[Examples, dict[str, np.ndarray]]]:
    """Our examples and the recorded arrays, batch by batch."""
    options, arrays = recorded.options(name), recorded.arrays(f"samples_{name}")
    config = config_of(options)
    special = recorded.special(task_mask=options.get("task_mask", False))
    longest = recorded.meta["max_seq_length"]
    noise = Random(recorded.meta["random_seed_for_block_mask_prob"])
    for batch in np.unique(arrays["source_batch"]):
        given = arrays["source_batch"] == batch
        rows = [
            Row(tokens[tokens >= 0].tolist(), mask[tokens >= 0].tolist())
            for tokens, mask in zip(
                arrays["source_tokens"][given], arrays["source_loss_mask"][given], strict=True
            )
        ]
        sampler = ReleasedSampler(
            config, special, recorded.sentence_ends(), longest, Random(int(batch)), noise
        )
        examples = sampler.corrupt(rows)
        made = arrays["batch"] == batch
        yield examples, {key: arrays[key][made] for key in TARGETS}


TARGETS = ("tokens", "targets", "loss_mask", "position_ids", "sep", "mode")


def padded(values: np.ndarray, lengths: np.ndarray, width: int) -> np.ndarray:
    """Rows filled with 0 up to the longest, as released, then with -1, as recorded."""
    rows = np.split(values, np.cumsum(lengths)[:-1], axis=-1)
    blank = np.full((len(rows), *values.shape[:-1], width), -1)
    blank[..., : lengths.max()] = 0
    for target, row in zip(blank, rows, strict=True):
        target[..., : row.shape[-1]] = row
    return blank


@pytest.mark.parametrize("name", FILES)
def test_replay_gives_every_recorded_array_bit_for_bit(recorded: Golden, name: str):
    num_batches = 0
    for examples, wanted in replay(recorded, name):
        width = wanted["tokens"].shape[1]
        positions = padded(examples.position_ids, examples.lengths, width)
        if name == "masked_lm":  # recorded with one row of places
            assert not examples.position_ids[1].any()
            positions = positions[:, 0]
        made = {
            "tokens": padded(examples.input_ids, examples.lengths, width),
            "targets": padded(examples.target_ids, examples.lengths, width),
            "loss_mask": padded(examples.loss_mask, examples.lengths, width),
            "position_ids": positions,
            "sep": examples.part_a_lengths,
        }
        for key, array in made.items():
            np.testing.assert_array_equal(array, wanted[key], err_msg=key)
        num_batches += 1
    assert num_batches > 0


def test_replay_draws_the_recorded_objective(recorded: Golden):
    names = ("token", "sentence", "document", "mlm")
    for examples, wanted in replay(recorded, "mix_10b"):
        assert [names[number] for number in examples.objective] == [
            MODES[mode] for mode in wanted["mode"]
        ]


def long_rows(recorded: Golden, num_rows: int, length: int, sentence_length: float) -> np.ndarray:
    """Stretches of long documents, as the recorded rows: [CLS], then independent tokens."""
    rng = np.random.default_rng(2024)
    ends = recorded.meta["sentence_end_ids"]
    tokens = rng.integers(max(ends) + 1, recorded.meta["vocab"], (num_rows, length))
    is_end = rng.random(tokens.shape) < 1 / sentence_length
    tokens[is_end] = ends[0]
    tokens[:, 0] = recorded.meta["commands"]["ENC"]
    return tokens


def sample(
    recorded: Golden, name: str, num_rows: int, length: int, sentence_length: float
) -> Examples:
    """What the production sampler makes of such rows."""
    options = recorded.options(name)
    corruption = Corruption(
        config_of(options),
        recorded.special(task_mask=options.get("task_mask", False)),
        recorded.sentence_ends(),
        length,
    )
    tokens = long_rows(recorded, num_rows, length, sentence_length)
    keys = sample_keys(7, 0, np.arange(num_rows))
    return corruption(tokens.ravel(), np.full(num_rows, length), keys)


class Counts(NamedTuple):
    """The statistics that were recorded, of our examples."""

    span_length: np.ndarray
    spans_per_sample: np.ndarray
    masked: np.ndarray
    place: np.ndarray
    distance: np.ndarray
    descending: tuple[int, int]


def count(examples: Examples, length: int) -> Counts:
    sample, start, stop = examples.spans.T
    num_rows = len(examples.lengths)
    size = stop - start
    num_spans = np.bincount(sample, minlength=num_rows)
    masked = np.bincount(sample, size, num_rows) / length
    in_part_b = np.flatnonzero(examples.position_ids[1] == 1)  # the start token of each span
    slot = examples.position_ids[0, in_part_b]
    place = slot / examples.part_a_lengths[sample]
    same = sample[1:] == sample[:-1]
    falls = (slot[1:] < slot[:-1]) & same
    in_text = np.lexsort((slot, sample))
    gaps = np.diff(slot[in_text])[same]
    return Counts(
        np.bincount(size, minlength=length + 2),
        num_spans,
        np.histogram(masked, 200, (0, 1))[0],
        np.histogram(place, 20, (0, 1))[0],
        np.bincount(np.minimum(gaps, 11), minlength=12),
        (int(falls.sum()), int(same.sum())),
    )


def agree(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Chi-square of two histograms; neighbouring bins are joined until each expects ten."""
    both = np.zeros((2, max(len(ours), len(theirs))))
    both[0, : len(ours)], both[1, : len(theirs)] = ours, theirs
    share = ours.sum() / both.sum()
    bins, pending = [], np.zeros(2)
    for column in both.T:
        pending = pending + column
        if pending.sum() * min(share, 1 - share) >= 10:
            bins.append(pending)
            pending = np.zeros(2)
    bins[-1] = bins[-1] + pending
    assert chi2_contingency(np.array(bins), correction=False).pvalue > ALPHA


def recorded_length(theirs: dict[str, np.ndarray]) -> int:
    return int(theirs["source_tokens"] // theirs["samples"])


@pytest.fixture(scope="module", params=["bert", "sentence"])
def laws(request: pytest.FixtureRequest, recorded: Golden) -> tuple[Counts, dict[str, np.ndarray]]:
    theirs = recorded.arrays(f"hist_{request.param}")
    length = recorded_length(theirs)
    # Every recorded token ended a sentence with one chance, 1 in a whole number; the recorded
    # spans of the sentence file are sentences, so their mean length tells which.
    sentences = recorded.arrays("hist_sentence")["span_length_counts"]
    mean = (sentences * np.arange(len(sentences))).sum() / sentences.sum()
    examples = sample(recorded, request.param, NUM_ROWS, length, round(mean))
    return count(examples, length), theirs


def test_span_lengths_follow_the_recorded_law(laws):
    ours, theirs = laws
    agree(ours.span_length, theirs["span_length_counts"])


def test_spans_per_sample_follow_the_recorded_law(laws):
    ours, theirs = laws
    agree(np.bincount(ours.spans_per_sample), theirs["spans_per_sample"])


def test_masked_share_follows_the_recorded_law(laws):
    ours, theirs = laws
    agree(ours.masked, theirs["masked_ratio_hist_0_1_200bins"])


def test_blanks_stand_where_the_recorded_ones_do(laws):
    ours, theirs = laws
    agree(ours.place, theirs["slot_relative_position_hist20"])


def test_blanks_are_as_far_apart_as_the_recorded_ones(laws):
    ours, theirs = laws
    agree(ours.distance, theirs["slot_distance_hist"])


def test_part_b_is_as_shuffled_as_the_recorded_one(laws):
    ours, theirs = laws
    falls, pairs = ours.descending
    their_falls, their_pairs = theirs["adjacent_pairs_descending"], theirs["adjacent_pairs"]
    agree(np.array([falls, pairs - falls]), np.array([their_falls, their_pairs - their_falls]))


@pytest.fixture(scope="module")
def long_spans(recorded: Golden) -> tuple[Examples, dict[str, np.ndarray]]:
    theirs = recorded.arrays("hist_gpt")
    return sample(recorded, "gpt", NUM_ROWS, recorded_length(theirs), 12), theirs


def test_long_spans_are_uniform_between_the_bounds(recorded: Golden, long_spans):
    # The released sampler draws one length a batch, so its own histogram is no independent one.
    examples, theirs = long_spans
    length = recorded_length(theirs)
    size = examples.spans[:, 2] - examples.spans[:, 1]
    shortest = int(recorded.options("gpt")["gpt_min_ratio"] * length)
    assert size.min() == shortest
    assert size.max() == length - 2
    assert chisquare(np.bincount(size - shortest)).pvalue > ALPHA


def test_long_spans_end_the_text_as_often_as_recorded(long_spans):
    examples, theirs = long_spans
    length = recorded_length(theirs)
    is_suffix = examples.lengths == length + 1  # no end token
    assert set(examples.lengths.tolist()) == set(np.flatnonzero(theirs["output_length_hist"]))
    assert (examples.spans[is_suffix, 2] == length).all()
    num_suffix = int(is_suffix.sum())
    their_suffix, total = int(theirs["infill_layout_samples"]), int(theirs["samples"])
    agree(
        np.array([num_suffix, NUM_ROWS - num_suffix]),
        np.array([their_suffix, total - their_suffix]),
    )


def test_long_spans_inside_the_text_stand_anywhere(long_spans):
    examples, theirs = long_spans
    length = recorded_length(theirs)
    _, start, stop = examples.spans[examples.lengths == length + 2].T
    slack = length - 2 - (stop - start)
    spread = np.random.default_rng(0).random(len(start))  # makes a whole number continuous
    assert kstest((start - 1 + spread) / (slack + 1), "uniform").pvalue > ALPHA
