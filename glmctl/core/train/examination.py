"""Held-out questions, put to the model during a fine-tuning; the best model is kept."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from glmctl.core.decode.score import score_candidates
from glmctl.core.model.glm import GLM
from glmctl.core.open import evaluating
from glmctl.core.tasks.answer import answer, judge
from glmctl.core.tasks.ask import Asker, Prediction, Question
from glmctl.core.tasks.metrics import measure
from glmctl.core.tasks.schema import WRITTEN
from glmctl.core.train.lessons import place_on_scale, right_places
from glmctl.core.train.precision import arithmetic
from glmctl.recipe.schema import TrainConfig

TINY = 1e-30  # of a question without a right candidate


@dataclass
class Examination:
    """Scores the model, and remembers when it was best."""

    asker: Asker
    questions: Sequence[Question]
    patience: int | None
    """Evaluations in a row without a better score that are enough; None: never."""
    keep: Callable[[], object]
    """Called while the model is the best so far."""
    best: Mapping[str, float] | None = None
    """The record of that step."""
    num_worse: int = 0
    """Evaluations since the score was last a better one."""

    @property
    def is_satisfied(self) -> bool:
        return self.patience is not None and self.num_worse >= self.patience

    def run(self, model: GLM, config: TrainConfig) -> dict[str, float]:
        """Keys of `metrics.jsonl`: each metric of the task, and the loss of the right answers."""
        device = model.word_embedding.weight.device
        with evaluating(model), arithmetic(config, device):
            predictions = answer(model, self.asker, self.questions, lambda _: None)
            if self.asker.task.kind in WRITTEN:
                dev_loss = self.token_loss(model)
            else:
                dev_loss = self.mean_loss(predictions)
        task, judged = self.asker.task, judge(predictions)
        record = {f"dev_{it}": measure(it, judged, task.label_names).value for it in task.metrics}
        record["dev_loss"] = dev_loss
        if self.see(record):
            self.keep()
        return record

    def mean_loss(self, predictions: Sequence[Prediction]) -> float:
        """Of the right answers, as in training."""
        shares = []
        for question, prediction in zip(self.questions, predictions, strict=True):
            share = probabilities(prediction)
            if self.asker.task.scale:
                place, logs = place_on_scale(question), np.log([*share.values()])
                shares.append(np.exp(np.interp(place, range(len(logs)), logs)))
                continue
            right = {question.answers[place] for place in right_places(self.asker, question)}
            if right or not self.asker.task.first_is_claim:  # nothing is right beside a false claim
                shares.append(sum(share[text] for text in right))
        return float(-np.log(np.maximum(shares, TINY)).mean())

    def token_loss(self, model: GLM) -> float:
        """Of the tokens of right answers, as in training without smoothing."""
        right = [it for question in self.questions for it in self.asker.answers_to(question)]
        scores = score_candidates(model, right, self.asker.special.sop)
        num_tokens = sum(candidate.num_predicted for candidate in right)
        return -sum(score.log_prob for score in scores) / num_tokens

    def see(self, record: Mapping[str, float]) -> bool:
        """Take note of what was measured; gives whether it is the best."""
        is_best = self.best is None or self.rank(record) > self.rank(self.best)
        scores_more = self.best is None or self.rank(record)[0] > self.rank(self.best)[0]
        self.num_worse = 0 if scores_more else self.num_worse + 1
        self.best = record if is_best else self.best
        return is_best

    def rank(self, record: Mapping[str, float]) -> tuple[float, float]:
        """The first metric decides, then the loss."""
        return record[f"dev_{self.asker.task.metrics[0]}"], -record["dev_loss"]

    def in_words(self, record: Mapping[str, float]) -> str:
        name = self.asker.task.metrics[0]
        assert self.best is not None
        best = self.best[f"dev_{name}"]
        return f"{name} {record[f'dev_{name}']:.2f} (best {best:.2f})"


def probabilities(prediction: Prediction) -> dict[str, float]:
    """What the scores of the answers say once they add up to 1."""
    scores = np.array([*prediction.scores.values()])
    shares = np.exp(scores - scores.max())
    return dict(zip(prediction.scores, (shares / shares.sum()).tolist(), strict=True))
