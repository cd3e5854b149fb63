"""Our scores beside the numbers of the literature."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from glmctl.recipe.kinds import load_any
from glmctl.recipe.load import stage_of
from glmctl.recipe.schema import PublishedConfig, Recipe


def compare_numbers(
    published: Sequence[PublishedConfig], model: str | None, ours: Mapping[str, float]
) -> list[dict[str, Any]]:
    """What is measured here and stated there.

    Args:
        published: of a recipe.
        model: folder or name of ours; numbers that are of a model of this name stand alone.
        ours: scores by metric.
    """
    measured = [it for it in published if it.numbers.keys() & ours.keys()]
    of_model = [it for it in measured if it.model == Path(model or "").name]
    return [
        {"metric": metric, "ours": ours[metric], "published": value}
        | {"difference": ours[metric] - value, "model": it.model}
        | {"certainty": it.certainty, "source": it.source}
        for it in of_model or measured
        for metric, value in it.numbers.items()
        if metric in ours
    ]


def compare_scores(
    name: str, model: str, results: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Compare an evaluation with its recipe, or with that of the fine-tuning it looks at.

    Args:
        name: what is evaluated: a recipe, or anything else.
        model: the run folder of a fine-tuning, or anything else.
        results: by task and metric what has a `value`.
    """
    ours = {
        f"{task}/{metric}": it.value
        for task, values in results.items()
        for metric, it in values.items()
    }
    if stage_of(name) == "eval":
        return compare_numbers(load_any(name).published, model, ours)
    file = Path(model) / "recipe.toml"
    recipe = load_any(str(file)) if file.is_file() else None
    if not isinstance(recipe, Recipe) or recipe.recipe.stage != "finetune":
        return []
    return compare_numbers(recipe.published, recipe.train.initial_model, ours)
