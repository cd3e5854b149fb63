"""What a model can do whatever it was last taught: a fixed text, measured before and after.

A model that fills blanks is measured on blanks. One that reads on, or fills a single blank of a
text as ChatGLM-6B, is measured on the next token.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from glmctl.core.decode.score import Candidate, score_candidates
from glmctl.core.model.glm import GLM
from glmctl.core.open import Glm
from glmctl.core.quantization.calibration import Calibration, Quality, calibrate, pieces_of
from glmctl.core.tasks.frame import frame_of
from glmctl.core.tokenizer.special import FAMILY
from glmctl.errors import InputError

HELD_OUT = "glmctl-demo-held-out"
MAX_PIECE = 2048  # tokens of text that are measured together, where a model reads many


@dataclass(frozen=True)
class Continuation:
    """A text of which each token but the first is to be foretold."""

    windows: Sequence[Candidate]
    sop: int
    unit = "tokens"

    def measure(self, module: GLM) -> Quality:
        """Foretell every token; the module is not training."""
        scores = score_candidates(module, self.windows, self.sop)
        number = sum(window.num_predicted for window in self.windows)
        nll = -sum(score.log_prob for score in scores) / number
        share = 1 - sum(score.num_missed for score in scores) / number
        return Quality(math.exp(nll), share, number, number)


def battery_of(glm: Glm, path: str) -> Calibration | Continuation:
    """The text as it is put to a model.

    Raises:
        InputError: the model reads no text, or the text is too short to ask anything.
    """
    tokenizer = glm.scoring_tokenizer()
    is_causal = glm.config.attention == "causal"
    if not is_causal and tokenizer.config.special not in FAMILY:
        return calibrate(path, tokenizer, glm.objective, glm.config.max_positions)
    frame = frame_of(tokenizer, is_causal=is_causal)
    length = min(glm.config.max_positions, MAX_PIECE) - frame.num_around - 1
    pieces = (it.tolist() for it in pieces_of(path, tokenizer, length) if len(it) > 1)
    windows = [it for ids in pieces for it in frame.windows(ids, length, length, one_way=True)]
    if not windows:
        raise InputError(path, "has no text of two tokens; name another")
    return Continuation(windows, tokenizer.special.sop)
