"""The Python face: what `import glmctl` offers, with the names of the commands."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from glmctl.core.open import Glm, load
from glmctl.recipe.find import recipe_name
from glmctl.stages.corrupt import corrupt_texts as corrupt
from glmctl.stages.finetune import FinetuneResult, MatrixResult, jobs_of, run

__all__ = ["Glm", "corrupt", "finetune", "load"]


def finetune(
    recipe: str | Path,
    *,
    model: str | Path | None = None,
    data: str | Path | None = None,
    dev: str | Path | None = None,
    overrides: Sequence[str] = (),
    run_dir: str | Path | None = None,
    device: str | None = None,
) -> FinetuneResult | MatrixResult:
    """Fine-tune by a recipe, or go on with it; gives what the command prints.

    Args:
        recipe: a file, or the name of a built-in recipe.
        model: what `load` opens; None: what the recipe names, else the default model.
        data: a file of rows, or a folder of data sets; None: where the task looks.
        dev: rows to evaluate on; None: those of the task, else rows held out.
        overrides: ``section.key=value`` each.
        run_dir: where the run lives; None: runs/NAME of the recipe.
        device: cpu or cuda; None: cuda when there is one.
    """
    jobs = jobs_of(
        str(recipe),
        overrides,
        model=None if model is None else str(model),
        data=None if data is None else Path(data),
        dev=None if dev is None else Path(dev),
    )
    return run(
        jobs,
        run_dir=Path("runs", recipe_name(recipe)) if run_dir is None else Path(run_dir),
        device=device,
        progress=lambda _: nullcontext(lambda *_: None),
        note=lambda _: None,
    )
