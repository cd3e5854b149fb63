"""What filling blanks is worth when nothing is known: a baseline for infilled texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from glmctl.core.tasks.ask import Question
from glmctl.core.tokenizer.special import SpecialTokens


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
