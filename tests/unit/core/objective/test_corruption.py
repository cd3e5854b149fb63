from dataclasses import fields

import numpy as np
import pytest

from glmctl.core.objective.blank_infilling import Examples, restore
from glmctl.core.objective.corruption import Corruption
from glmctl.core.objective.draws import sample_keys
from glmctl.core.tokenizer.special import SpecialTokens
from glmctl.errors import UsageError
from glmctl.recipe.schema import ObjectiveConfig

NOISE = 8
SPECIAL = SpecialTokens(
    pad=0,
    eos=0,
    sep=9,
    cls=1,
    mask=2,
    unk=9,
    sop=3,
    eop=4,
    smask=5,
    gmask=6,
    noise=NOISE,
    sentinel_masks=tuple(range(2000, 2100)),
    sentinel_starts=tuple(range(2100, 2200)),
    strings={},
)
SENTENCE_ENDS = np.isin(np.arange(2200), range(10, 20))
NUM_SAMPLES = 300
LONGEST = 128
MIX = {"token_weight": 0.5, "sentence_weight": 0.3, "document_weight": 0.2}
OPTIONS = {
    "token": {},
    "sentence": {"token_weight": 0.0, "sentence_weight": 1.0},
    "document": {"token_weight": 0.0, "document_weight": 1.0},
    "mix": MIX,
    "single": {"token_weight": 0.5, "single_span_weight": 0.5},
    "mlm": {"kind": "mlm"},
    "noise": {**MIX, "block_mask_probability": 0.2, "context_mask_ratio": 0.05},
    "shifted": {**MIX, "random_position": True},
    "sentinel": {"sentinel": True, "random_position": True},
    "text order": {**MIX, "span_order": "text"},
    "short": {**MIX, "short_sequence_probability": 0.5},
}


def samples() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    lengths = rng.integers(1, LONGEST + 1, NUM_SAMPLES)
    tokens = rng.integers(10, 210, lengths.sum())
    tokens[np.cumsum(lengths) - 1] = np.where(rng.random(NUM_SAMPLES) < 0.5, 0, 50)
    tokens[np.cumsum(lengths) - lengths] = SPECIAL.cls
    return tokens, lengths


TOKENS, LENGTHS = samples()
KEYS = sample_keys(11, 3, np.arange(NUM_SAMPLES))


def corruption(**options: object) -> Corruption:
    return Corruption(ObjectiveConfig.model_validate(options), SPECIAL, SENTENCE_ENDS, LONGEST)


def corrupt(order: list[int], **options: object) -> Examples:
    rows = np.split(TOKENS, np.cumsum(LENGTHS)[:-1])
    tokens = np.concatenate([rows[number] for number in order])
    return corruption(**options)(tokens, LENGTHS[order], KEYS[order])


def one_by_one(examples: Examples) -> list[list[object]]:
    """Plain values of each example."""
    values: list[list[object]] = []
    stop = 0
    for number, length in enumerate(examples.lengths.tolist()):
        here = slice(stop, stop := stop + length)
        spans = examples.spans[examples.spans[:, 0] == number, 1:]
        flat = (examples.input_ids, examples.target_ids, examples.loss_mask)
        values.append(
            [
                *(array[here].tolist() for array in flat),
                examples.position_ids[:, here].tolist(),
                examples.part_a_lengths[number].item(),
                examples.objective[number].item(),
                spans.tolist(),
            ]
        )
    return values


@pytest.mark.parametrize("name", OPTIONS)
def test_a_sample_is_corrupted_alike_in_any_batch(name: str):
    together = one_by_one(corrupt([*range(NUM_SAMPLES)], **OPTIONS[name]))
    split: list[list[object]] = []
    for start, stop in ((0, 1), (1, 8), (8, 150), (150, NUM_SAMPLES)):
        split += one_by_one(corrupt([*range(start, stop)], **OPTIONS[name]))
    assert split == together
    backwards = one_by_one(corrupt([*reversed(range(NUM_SAMPLES))], **OPTIONS[name]))
    if name != "short":  # there, a sample may become several examples
        assert backwards[::-1] == together
    assert sorted(backwards, key=repr) == sorted(together, key=repr)


@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "short"])
def test_the_source_comes_back_from_any_example(name: str):
    examples = corrupt([*range(NUM_SAMPLES)], **OPTIONS[name])
    rows = np.split(TOKENS, np.cumsum(LENGTHS)[:-1])
    for row, (_, targets, _, _, part_a_length, _, spans) in zip(
        rows, one_by_one(examples), strict=True
    ):
        assert restore(targets, part_a_length, spans) == row.tolist()


def test_other_seeds_and_epochs_hide_other_tokens():
    spans = [
        corruption()(TOKENS, LENGTHS, sample_keys(seed, epoch, np.arange(NUM_SAMPLES))).spans
        for seed, epoch in ((1, 0), (1, 1), (2, 0))
    ]
    first, second, third = [{tuple(span) for span in found.tolist()} for found in spans]
    assert len(first & second) < 0.2 * len(first)
    assert len(first & third) < 0.2 * len(first)


def test_the_mix_has_the_shares_of_its_weights():
    lengths = np.full(10_000, 20)
    tokens = np.tile(TOKENS[:20], 10_000)
    keys = sample_keys(0, 0, np.arange(10_000))
    weights = {"token_weight": 5, "sentence_weight": 3, "document_weight": 2}
    objective = corruption(**weights)(tokens, lengths, keys).objective
    shares = np.bincount(objective, minlength=4) / 10_000
    assert abs(shares - [0.5, 0.3, 0.2, 0]).max() < 0.02


def test_the_single_span_objective_hides_one_span():
    examples = corrupt([*range(NUM_SAMPLES)], token_weight=0.0, single_span_weight=1.0)
    has_room = LENGTHS > 2
    num_spans = np.bincount(examples.spans[:, 0], minlength=NUM_SAMPLES)
    assert (num_spans == has_room).all()
    assert examples.objective.max() == 0


def test_spans_stand_in_text_order_when_asked():
    sample, start, _ = corrupt([*range(NUM_SAMPLES)], span_order="text").spans.T
    assert (np.diff(start)[np.diff(sample) == 0] > 0).all()


def test_the_share_of_noise_in_part_b_is_that_of_the_option():
    examples = corrupt([*range(NUM_SAMPLES)], block_mask_probability=0.3)
    is_fed = examples.position_ids[1] > 1
    assert abs((examples.input_ids[is_fed] == NOISE).mean() - 0.3) < 0.04
    assert (examples.input_ids[examples.position_ids[1] == 0] != NOISE).all()
    assert (examples.target_ids != NOISE).all()


def test_context_noise_is_a_share_of_the_text_next_to_blanks():
    tokens = np.tile(np.arange(20, 147), 50)
    tokens = np.insert(tokens.reshape(50, 127), 0, SPECIAL.cls, axis=1).ravel()
    examples = corruption(context_mask_ratio=0.05)(tokens, np.full(50, 128), KEYS[:50])
    for ids, targets, _, positions, part_a_length, _, _ in one_by_one(examples):
        noisy = {place for place, token in enumerate(ids) if token == NOISE}
        blanks = set(positions[0][part_a_length:])
        assert len(noisy) == 6
        near = {blank + step for blank in blanks for step in (-3, -2, -1, 1, 2, 3)}
        assert noisy <= near | set(range(part_a_length - 3, part_a_length))
        assert targets[:part_a_length].count(NOISE) == 0


def test_shifted_places_stay_in_the_table():
    examples = corrupt([*range(NUM_SAMPLES)], random_position=True)
    begins = np.cumsum(examples.lengths) - examples.lengths
    offsets = examples.position_ids[0, begins]
    last = begins + examples.part_a_lengths - 1
    assert (examples.position_ids[0, last] < LONGEST).all()
    assert (examples.position_ids[0, last] - examples.part_a_lengths + 1 == offsets).all()
    assert offsets.max() > 100


def test_cut_samples_become_pieces_with_their_own_cls():
    tokens = np.tile(np.arange(10, 210)[: LONGEST - 1], 40)
    tokens = np.insert(tokens.reshape(40, LONGEST - 1), 0, SPECIAL.cls, axis=1).ravel()
    examples = corruption(short_sequence_probability=1.0)(tokens, np.full(40, LONGEST), KEYS[:40])
    sources = [
        restore(targets, part_a_length, spans)
        for _, targets, _, _, part_a_length, _, spans in one_by_one(examples)
    ]
    assert 40 < len(sources) <= 120
    assert all(source[0] == SPECIAL.cls for source in sources)
    for source in sources:  # a stretch of the text
        assert np.diff(source[1:]).tolist() == [1] * (len(source) - 2)
    assert max(map(len, sources)) <= LONGEST


def test_the_released_mode_depends_on_the_first_key_alone():
    options = {**MIX, "draw_mode": "batch"}
    rows = [number for number in range(NUM_SAMPLES) if LENGTHS[number] > 60][:6]
    first = corrupt(rows, **options)
    again = corrupt(rows, **options)
    assert one_by_one(first) == one_by_one(again)
    assert len(set(first.objective.tolist())) == 1


def test_the_released_mode_may_leave_out_every_sample():
    text = np.array([1, *range(30, 35), 0])
    kept = [
        len(corruption(draw_mode="batch")(text, np.array([7]), KEYS[[number]]).lengths)
        for number in range(NUM_SAMPLES)
    ]
    assert 0 < kept.count(0) < 100


@pytest.mark.parametrize(
    ("options", "missing", "message"),
    [
        ({"block_mask_probability": 0.1}, {"noise": None}, "set tokenizer.noise_token = true"),
        ({"sentinel": True}, {"sentinel_masks": ()}, "set tokenizer.num_sentinels"),
        ({"short_sequence_probability": 0.1}, {}, "which 16 positions do not hold"),
        ({"kind": "mlm", "sentinel": True}, {}, "sentinel: means nothing to kind 'mlm'"),
        ({"kind": "mlm", "random_position": True}, {}, "random_position: means nothing"),
        ({"kind": "mlm", "sentence_weight": 0.1}, {}, "sentence_weight: means nothing"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    options: dict[str, object], missing: dict[str, object], message: str
):
    values = {field.name: getattr(SPECIAL, field.name) for field in fields(SPECIAL)}
    special = SpecialTokens(**{**values, **missing})
    max_positions = 16 if "short_sequence_probability" in options else LONGEST
    with pytest.raises(UsageError, match=message):
        Corruption(ObjectiveConfig.model_validate(options), special, SENTENCE_ENDS, max_positions)


def test_every_mistake_is_reported_at_once():
    config = ObjectiveConfig(kind="mlm", second_position=False, document_weight=1.0)
    with pytest.raises(UsageError) as error:
        Corruption(config, SPECIAL, SENTENCE_ENDS, LONGEST)
    assert len(error.value.problems) == 2
