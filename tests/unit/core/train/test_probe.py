"""The probe: when a blank counts as filled."""

import numpy as np
import torch

from glmctl.core.data.batch import Batch
from glmctl.core.model.sight import Segments
from glmctl.core.train.probe import Probe, as_record, count_whole, split_blanks
from glmctl.recipe.schema import TrainConfig

EOP = 9
CONFIG = TrainConfig(steps=1, global_batch_size=1, micro_batch_size=1)


class Parrot(torch.nn.Module):
    """Predicts the given tokens, whatever it reads."""

    def __init__(self, answers: list[int]) -> None:
        super().__init__()
        self.word_embedding = torch.nn.Embedding(10, 10)
        self.answers = torch.tensor(answers)

    def hidden(self, *_: object) -> torch.Tensor:
        return torch.nn.functional.one_hot(self.answers, 10).float()

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return 50 * hidden


def blanks(*targets: int) -> Batch:
    count = len(targets)
    wanted, ids = torch.arange(count), torch.tensor(targets)
    places, kinds = torch.zeros(2, count), torch.zeros(count, dtype=torch.int64)
    return Batch(ids, places, Segments((count,), (1,)), wanted, ids, kinds, count)


def test_the_end_token_belongs_to_no_blank():
    blank, is_text = split_blanks(torch.tensor([5, 6, EOP, 3, EOP]), EOP)
    assert blank.tolist() == [0, 0, 1]
    assert is_text.tolist() == [True, True, False, True, False]


def test_in_masked_language_models_each_target_is_a_blank():
    blank, is_text = split_blanks(torch.tensor([5, 6, 7]), None)
    assert blank.tolist() == [0, 1, 2]
    assert is_text.all()


def test_a_blank_is_filled_when_all_of_its_tokens_are_right():
    blank = torch.tensor([0, 0, 1, 2, 2])
    assert count_whole(blank, torch.tensor([True, False, True, True, True])) == 2


def test_the_probe_counts_filled_blanks_and_those_of_the_most_frequent_token():
    # Blanks: (5 6) and (3); all right but the 6. The end tokens are wrong and do not count.
    probe = Probe({"en": [blanks(5, 6, EOP, 3, EOP)]}, EOP, frequent=3)
    record = probe.run(Parrot([5, 4, 0, 3, 0]), CONFIG)
    assert record["probe_blanks"] == 2
    assert record["probe_exact_match_share"] == 0.5
    assert record["probe_baseline_share"] == 0.5
    assert 24.9 < record["probe_nll"] < 25.1  # one token of probability e^-50 in two blanks


def test_languages_are_told_apart_and_summed():
    # Blanks, filled, guessed as the most frequent token, and nats.
    record = as_record({"en": np.array([4, 1, 0, 8.0]), "zh": np.array([1, 1, 1, 1.0])})
    assert record["probe_exact_match_share"] == 0.4
    assert record["probe_exact_match_share_en"] == 0.25
    assert record["probe_exact_match_share_zh"] == 1.0
    assert record["probe_nll"] == 1.8
    assert record["probe_nll_en"] == 2.0


def test_the_progress_line_shows_both_shares():
    record = as_record({"en": np.array([64, 20, 3, 64.0])})
    assert Probe({}, EOP, frequent=3).in_words(record) == "probe 31.2 % (most frequent token 4.7 %)"
