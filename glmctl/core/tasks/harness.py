"""A GLM as a model of lm-evaluation-harness, by the scoring of our own tasks.

The context of a request is Part A and its continuation fills the blank at the end of it; a causal
model reads on.
"""

from collections.abc import Sequence
from typing import Any

try:
    from lm_eval.api.model import LM
except ImportError as error:
    raise ImportError("this needs lm-eval: pip install 'glmctl[harness]'") from error

from glmctl.core.decode.infill import Prompt, fill_blanks
from glmctl.core.decode.score import Candidate, score_candidates
from glmctl.core.open import Glm, evaluating
from glmctl.core.tasks.frame import Ids, frame_of
from glmctl.recipe.schema import DecodeConfig

MAX_NEW_TOKENS = 256  # where a request does not say


class HarnessModel(LM):  # type: ignore[misc]
    """For `lm_eval.simple_evaluate(model=HarnessModel(glmctl.load(...)), tasks=[...])`."""

    def __init__(self, glm: Glm) -> None:
        super().__init__()
        self.glm = glm
        self.tokenizer = glm.scoring_tokenizer()
        self.frame = frame_of(self.tokenizer, is_causal=glm.config.attention == "causal")
        self.blank = self.tokenizer.special.mask_for("document")
        self.room = glm.config.max_positions - self.frame.num_around
        """Most tokens of a context and its continuation."""

    def encode(self, text: str) -> Ids:
        return tuple(self.tokenizer.encode(text, special=False))

    def candidate(self, context: Ids, continuation: Ids) -> Candidate:
        """A continuation behind as much of the end of its context as there is room for."""
        kept = max(self.room - len(continuation), 0)
        known = context[max(len(context) - kept, 0) :]
        return self.frame.candidate(known, self.blank, (), continuation, ends=False)

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Log-probability of each continuation, and whether greedy decoding would write it."""
        candidates = [
            self.candidate(self.encode(context), self.encode(continuation))
            for context, continuation in (request.args for request in requests)
        ]
        with evaluating(self.glm.module):
            scores = score_candidates(self.glm.module, candidates, self.tokenizer.special.sop)
        return [(score.log_prob, not score.num_missed) for score in scores]

    def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
        """Log-probability of each whole text, each token once, in windows."""
        totals = []
        with evaluating(self.glm.module):
            for (text,) in (request.args for request in requests):
                ids = (self.tokenizer.special.eos, *self.encode(text))
                new = max(self.room // 2, 1)
                windows = [*self.frame.windows(ids, self.room, new, one_way=False)]
                scores = score_candidates(self.glm.module, windows, self.tokenizer.special.sop)
                totals.append(sum(score.log_prob for score in scores))
        return totals

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """What the model writes, the best token each time, up to one of the strings that end it."""
        return [self.write(*request.args) for request in requests]

    def write(self, context: str, settings: dict[str, Any]) -> str:
        number = min(settings.get("max_gen_toks") or MAX_NEW_TOKENS, self.room - 1)
        known = self.encode(context)[-(self.room - number) :]
        with evaluating(self.glm.module):
            if self.frame.is_causal:
                ids = [*self.frame.lead, *known]
                ends = (self.tokenizer.special.eos,)
                (written,) = self.glm.continue_ids([ids], max_new_tokens=number, ends=ends)
            else:
                laid_out = self.frame.candidate(known, self.blank, (), (), ends=False)
                assert laid_out.place is not None
                prompt = Prompt("", laid_out.part_a, (laid_out.place,))
                config = DecodeConfig(max_new_tokens=number)
                special, size = self.tokenizer.special, self.tokenizer.size
                ((fill,),) = fill_blanks(
                    self.glm.module, [prompt], special, size, config, numbers=[1]
                )
                written = [*fill.ids]
        text = self.tokenizer.decode(written)
        for end in settings.get("until") or ():
            text = text.partition(end)[0]
        return text
