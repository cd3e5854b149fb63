"""Rows -> questions -> the model's predictions, many side by side."""

import string
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from glmctl.core.decode.classify import class_scores
from glmctl.core.decode.infill import fill_blanks, insert
from glmctl.core.decode.score import MAX_TOKENS, Candidate, Score, score_candidates, sum_log_probs
from glmctl.core.decode.search import Fill
from glmctl.core.model.glm import GLM
from glmctl.core.tasks.ask import NO_EVIDENCE, Asker, Evidence, Prediction, Question
from glmctl.core.tasks.association import associations, effect_size, means, p_value
from glmctl.core.tasks.metrics import Judged, measure
from glmctl.core.tasks.pattern import fill
from glmctl.core.tasks.read import Rows
from glmctl.core.tasks.schema import CHOICE, FIELD, SETS, TaskConfig
from glmctl.core.tasks.text_metrics import NO_ANSWER
from glmctl.core.tokenizer.special import SpecialTokens

EDGES = string.punctuation + string.whitespace


def ask_all(asker: Asker, rows: Rows) -> tuple[list[Question], list[str]]:
    """The questions of a file, and what is wrong with its other rows."""
    questions: list[Question] = []
    problems = [*rows.problems]
    for example in rows.examples:
        try:
            questions.append(asker.ask(example))
        except ValueError as problem:
            problems.append(f"{example.place}: {problem}")
    return questions, problems


def notes(asker: Asker, questions: Sequence[Question]) -> Iterator[str]:
    """How the model is asked otherwise than the task says."""
    if asker.missing_blank and not asker.frame.is_causal:
        yield f"the model has no {asker.missing_blank}; asked with [MASK]"
    if asker.split_words:
        words = ", ".join(map(repr, asker.split_words))
        yield f"the tokenizer cuts {words}; words are scored by all their tokens"
    if wanted := asker.task.num_shots:
        few = [question.num_shots for question in questions]
        yield f"worked examples before a question: {min(few)} to {max(few)} of {wanted}"
    if num_cut := sum(question.is_cut for question in questions):
        yield f"{num_cut:,} of {len(questions):,} texts are cut to {asker.max_length:,} tokens"
    asked = [name for name, _ in FIELD.findall("".join(asker.pattern.parts)) if name != CHOICE]
    texts = (("".join(it.example.fields.get(name, "-") for name in asked), it) for it in questions)
    if asked and (empty := [it.example.place for text, it in texts if not text.strip()]):
        yield f"{len(empty):,} of {len(questions):,} texts are empty, as in {empty[0]}"
    ids = Counter(chain.from_iterable(it.part_a for it in questions))
    if num_unknown := ids[asker.special.unk]:
        yield (
            f"{num_unknown / ids.total():.1%} of the tokens are unknown: the tokenizer cannot "
            "spell these texts; take a model that learned their language"
        )


def answer(
    model: GLM,
    asker: Asker,
    questions: Sequence[Question],
    count: Callable[[int], None],
    *,
    done: Mapping[int, Prediction] | None = None,
    keep: Callable[[Mapping[int, Prediction]], None] | None = None,
    at_once: int = MAX_TOKENS,
) -> list[Prediction]:
    """The predictions for all questions, in their order; the model is in evaluation mode.

    Those of one shape stand side by side, so that the model takes them together. The longest come
    first: memory runs out at once or never, and the time left is not more than it seems.

    Args:
        model: that is asked.
        asker: who laid the questions out.
        questions: any number.
        count: told how many more are done.
        done: predictions that are there already, by the number of the question.
        keep: given new predictions, a batch at a time.
        at_once: tokens that make a batch. A batch is computed whole, also when some of it is done,
            because the last bits of a score depend on what stands beside it.
    """
    order = sorted(range(len(questions)), key=lambda i: shape_of(questions[i]), reverse=True)
    predictions = dict(done or {})
    for batch in batches(order, questions, at_once):
        missing = [number for number in batch if number not in predictions]
        if not missing:
            continue
        given = write if asker.writes else choose
        found = given(model, asker, questions, batch)
        made = {number: found[number] for number in missing}
        if keep is not None:
            keep(made)
        predictions |= made
        count(len(made))
    return [predictions[number] for number in range(len(questions))]


def choose(
    model: GLM, asker: Asker, questions: Sequence[Question], batch: Sequence[int]
) -> dict[int, Prediction]:
    """Predictions for questions whose candidates are scored, or classes of them, by numbers."""
    if asker.task.kind == "association":
        return {number: associate(model, questions[number]) for number in batch}
    if asker.task.head:
        rows = [it for number in batch for it in asker.texts(questions[number])]
        classes = class_scores(model, rows, is_causal=asker.frame.is_causal).flatten().tolist()
        scores = iter([Score(0.0, it, 0) for it in classes])
    else:
        candidates = [it for number in batch for it in questions[number].candidates]
        scores = iter(score_candidates(model, candidates, asker.special.sop))
    return {
        number: read(asker, questions[number], [next(scores) for _ in questions[number].candidates])
        for number in batch
    }


def associate(model: GLM, question: Question) -> Prediction:
    """The effect size of a question of four sets, and how likely it is by chance."""
    of_text = dict(zip(question.answers, means(model, question.candidates), strict=True))
    sets = (dict.fromkeys(question.example.fields[name].splitlines()) for name in SETS)
    x, y, a, b = (np.array([of_text[text] for text in texts]) for texts in sets)
    near_x, near_y = associations(x, a, b), associations(y, a, b)
    scores = {"effect_size": effect_size(near_x, near_y), "p_value": p_value(near_x, near_y)}
    return Prediction(question.example, "", scores)


def write(
    model: GLM, asker: Asker, questions: Sequence[Question], batch: Sequence[int]
) -> dict[int, Prediction]:
    """Predictions for questions whose blanks the model fills, by their numbers."""
    asked = [questions[number] for number in batch]
    prompts = [it.prompt for it in asked if it.prompt is not None]
    fills = fill_blanks(
        model, prompts, asker.special, asker.tokenizer.size, asker.task.decode, batch
    )
    scores: Sequence[float | None] = [None] * len(batch)
    if asker.task.weighs_no_answer:
        none = [asker.answer_ids({**it.example.fields, CHOICE: NO_ANSWER}) for it in asked]
        both = zip(prompts, none, strict=True)
        without = [Candidate(it.part_a, (), it.places[0], ids) for it, ids in both]
        scores = sum_log_probs(model, without, asker.special.sop)
    return {
        number: written(asker, questions[number], filled, score)
        for number, filled, score in zip(batch, fills, scores, strict=True)
    }


def read(asker: Asker, question: Question, scores: Sequence[Score]) -> Prediction:
    """What the scores of an example's candidates say."""
    task, example = asker.task, question.example
    evidence = Evidence(
        sum(score.log_prob for score in scores),
        sum(candidate.num_predicted for candidate in question.candidates),
        # Words stand between single spaces, as the released code counts them.
        (example.fields.get("original") or example.fields.get("text", "")).strip().count(" "),
    )
    if task.kind == "text":
        return Prediction(example, "", {}, evidence)
    if len(scores) > 1:
        evidence = NO_EVIDENCE  # rivals do not add up to anything
    lengths = [len(it.targets) ** asker.penalty for it in question.candidates]
    points = [score.logit if asker.by_logit else score.log_prob for score in scores]
    values = [score / length for score, length in zip(points, lengths, strict=True)]
    best = values.index(max(values))
    if task.first_is_claim:
        wins = best == 0 if len(values) > 1 else not scores[0].num_missed
        prediction = task.labels[wins]
    else:
        prediction = asker.labels_of(question)[best]
    by_answer = dict(zip(question.answers, values, strict=True))
    if task.scale:
        shares = np.exp(np.array(values) - max(values))
        prediction = f"{np.average([*map(float, question.answers)], weights=shares):.6g}"
    return Prediction(example, prediction, by_answer, evidence)


def written(
    asker: Asker, question: Question, fills: Sequence[Fill], no_answer: float | None = None
) -> Prediction:
    """What the model has written, read: the text with its blanks filled, or the answer.

    `no_answer`: its log-probability, which is kept beside that of the best answer.
    """
    assert question.prompt is not None
    if asker.task.kind == "infill":
        text = insert(question.prompt, fills, asker.tokenizer).text
    else:
        text = asker.tokenizer.decode(fills[0].ids).strip()
    meant = question.answers and listed(asker, question, text)
    scores = {} if no_answer is None else {NO_ANSWER: no_answer}
    for it in (fills[0].ranked or fills) if scores else ():
        answer = asker.tokenizer.decode(it.ids).strip()
        if answer not in ("", NO_ANSWER):
            scores[answer] = sum(it.token_log_probs)
            break
    return Prediction(question.example, meant or text, scores)


def listed(asker: Asker, question: Question, text: str) -> str | None:
    """The listed answer with which a text begins, the longest one; None: none is meant."""
    task, fields = asker.task, question.example.fields
    if task.kind == "cloze":
        texts = [task.words(asker.pattern)[label] for label in question.answers]
    else:
        template = asker.pattern.answer or task.answer
        texts = [fill(template, {**fields, CHOICE: it}) for it in question.answers]
    starts = [it.strip(EDGES).casefold() for it in texts]
    meant = [n for n, it in enumerate(starts) if text.strip(EDGES).casefold().startswith(it)]
    best = max(meant, key=lambda n: len(starts[n]), default=None)
    if task.first_is_claim:
        return task.labels[best == 0]
    return None if best is None else asker.labels_of(question)[best]


def blinded(questions: Sequence[Question], special: SpecialTokens) -> list[Question]:
    """Questions of kind infill as they are, but for the model the blanks stand alone.

    What it writes is put into the whole text all the same, so that the score of a model that reads
    nothing can be told from that of one that does.
    """
    kept = {*special.strings.values()}
    blind = []
    for question in questions:
        prompt = question.prompt
        assert prompt is not None
        part_a = tuple(token for token in prompt.part_a if token in kept)
        masks = {prompt.part_a[place] for place in prompt.places}
        places = tuple(place for place, token in enumerate(part_a) if token in masks)
        blind.append(replace(question, prompt=replace(prompt, part_a=part_a, places=places)))
    return blind


def shape_of(question: Question) -> list[tuple[int, int]]:
    """Lengths of its candidates, in Part A and Part B; or of its prompt, and its blanks."""
    if question.prompt is not None:
        return [(len(question.prompt.places), len(question.part_a))]
    return [(len(it.part_a), len(it.targets)) for it in question.candidates]


def batches(
    order: Sequence[int], questions: Sequence[Question], at_once: int
) -> Iterator[list[int]]:
    """Numbers of questions that together have about so many tokens."""
    batch: list[int] = []
    num_tokens = 0
    for number in order:
        batch.append(number)
        question = questions[number]
        num_tokens += len(question.part_a) + sum(len(it.targets) for it in question.candidates)
        if num_tokens >= at_once:
            yield batch
            batch, num_tokens = [], 0
    if batch:
        yield batch


def judge(predictions: Sequence[Prediction]) -> list[Judged]:
    return [
        Judged(
            it.example.group,
            it.prediction,
            it.example.golds,
            it.evidence,
            it.example.part,
            (*it.scores.items(),),
        )
        for it in predictions
    ]


def majority(task: TaskConfig, judged: Sequence[Judged]) -> float | None:
    """The main metric of always giving the most frequent label."""
    if not task.has_labels or task.right is not None:
        return None
    ((label, _),) = Counter(row.golds[0] for row in judged).most_common(1)
    constant = [replace(row, prediction=label) for row in judged]
    return measure(task.metrics[0], constant, task.label_names).value
