from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from glmctl.core.data.batch import Batch
from glmctl.core.model.sight import Segments
from glmctl.core.open import Glm, load
from glmctl.core.quantization.calibration import Calibration, calibrate
from glmctl.errors import InputError

END = 3


@pytest.fixture
def glm(tiny_model: Path) -> Glm:
    return load(tiny_model)


def calibrated(glm: Glm, path: Path) -> Calibration:
    return calibrate(str(path), glm.tokenizer, None, glm.config.max_positions)


def test_perplexity_counts_every_target_and_a_blank_counts_when_all_its_words_are_likeliest():
    # Two blanks: [0, 1, end] and [2, end]. Rows: what each of four tokens is given.
    probabilities = torch.tensor(
        [
            [0.5, 0.25, 0.125, 0.125],  # 0, likeliest
            [0.5, 0.25, 0.125, 0.125],  # 1, not the likeliest
            [0.5, 0.25, 0.125, 0.125],  # end, not the likeliest: not a word of a blank
            [0.125, 0.25, 0.5, 0.125],  # 2, likeliest
            [0.125, 0.25, 0.125, 0.5],  # end
        ]
    )
    module = SimpleNamespace(
        word_embedding=SimpleNamespace(weight=torch.zeros(1)),
        hidden=lambda *_: None,
        logits=lambda _: probabilities.log() + 7,
    )
    none = torch.zeros(0, dtype=torch.int64)
    targets = torch.tensor([0, 1, END, 2, END])
    batch = Batch(none, none, Segments((1,), (1,)), none, targets, none, 5)
    quality = Calibration([batch, batch], END).measure(module)
    # Bits: 1 + 2 + 3 + 1 + 1 of five targets.
    assert quality.perplexity == pytest.approx(2 ** (8 / 5))
    assert (quality.exact_match_share, quality.num_blanks, quality.num_targets) == (0.5, 4, 10)


def test_the_blanks_of_a_text_are_the_same_each_time(glm: Glm, tmp_path: Path):
    (tmp_path / "a.txt").write_text("The grey cat sleeps beside the oven.\n" * 20)
    first, again = (calibrated(glm, tmp_path / "a.txt") for _ in range(2))
    assert first.measure(glm.module) == again.measure(glm.module)
    assert first.end == glm.tokenizer.special.eop
    assert len(first.batches) == 2


def test_a_long_text_is_cut_to_the_places_of_the_model(glm: Glm, tmp_path: Path):
    (tmp_path / "a.txt").write_text("The grey cat sleeps beside the oven. " * 20 + "\n")
    calibration = calibrated(glm, tmp_path / "a.txt")
    assert max(calibration.batches[0].position_ids[0].tolist()) < glm.config.max_positions
    assert len(calibration.batches[0].segments.lengths) > 3


def test_only_the_first_texts_are_read(glm: Glm, tmp_path: Path):
    (tmp_path / "a.jsonl").write_text('{"text": "The cat sleeps beside the oven."}\n' * 300)
    calibration = calibrated(glm, tmp_path / "a.jsonl")
    assert sum(len(batch.segments.lengths) for batch in calibration.batches) == 256


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_a_source_without_a_text_is_refused(text: str, glm: Glm, tmp_path: Path):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(InputError, match=r"a\.txt: has no text in which a blank could be made"):
        calibrated(glm, tmp_path / "a.txt")
