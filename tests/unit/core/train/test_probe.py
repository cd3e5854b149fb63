"""The probe: when a blank counts as filled."""

import torch

from glmctl.core.data.batch import Batch
from glmctl.core.model.attention import Segments
from glmctl.core.train.probe import Probe, ProbeResult, count_whole, split_blanks
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
    return Batch(ids, torch.zeros(2, count), Segments((count,), (1,)), wanted, ids, count)


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
    probe = Probe([blanks(5, 6, EOP, 3, EOP)], EOP, frequent=3)
    result = probe.run(Parrot([5, 4, 0, 3, 0]), CONFIG)
    assert result.probe_blanks == 2
    assert result.probe_exact_match_share == 0.5
    assert result.probe_baseline_share == 0.5
    assert 24.9 < result.probe_nll < 25.1  # one token of probability e^-50 in two blanks


def test_the_progress_line_shows_both_shares():
    line = str(ProbeResult(0.3125, 0.0406, 1.0, 64))
    assert line == "probe 31.2 % (most frequent token 4.1 %)"
