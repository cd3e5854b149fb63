"""The command `glmctl pretrain`."""

from pathlib import Path

from glmctl.cli import options, render


def pretrain(
    recipe_path: options.RecipePath,
    overrides: options.Set = None,
    gpus: options.Gpus = None,
    topology: options.Topology = None,
    run_dir: options.RunDir = None,  # runs/<recipe name>
    fresh: options.Fresh = False,
    force: options.Force = False,
    dry_run: options.DryRun = False,
    device: options.Device = None,
    as_json: options.Json = False,
) -> None:
    """Pretrain a GLM on the blank-infilling objective that RECIPE describes."""
    from glmctl.recipe.find import recipe_name
    from glmctl.recipe.load import load_recipe, require_stage
    from glmctl.recipe.plan import make_plan

    require_stage(recipe_path, "pretrain", "record")
    recipe = load_recipe(recipe_path, overrides or (), gpus=gpus, topology=topology)
    if dry_run:
        from glmctl.core.tokenizer.load import with_vocabulary

        render.show(make_plan(with_vocabulary(recipe)), as_json=as_json)
        return
    from glmctl.stages import pretrain as stage  # torch loads here, never for --help

    with render.step_line(recipe.train.log_every) as progress:
        result = stage.run(
            recipe,
            run_dir=run_dir or Path("runs", recipe_name(recipe_path)),
            fresh=fresh,
            force=force,
            device=device,
            progress=progress,
            note=render.note,
        )
    render.show(result, as_json=as_json)
