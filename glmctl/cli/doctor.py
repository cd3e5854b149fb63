"""The command `glmctl doctor`."""

from pathlib import Path

from typer import Exit

from glmctl.cli import options, render


def doctor(as_json: options.Json = False) -> None:
    """Say what this machine can do and what it lacks; exit 1 when there is a problem."""
    from glmctl.stages import doctor as stage

    checks = stage.run(Path.cwd())
    if as_json:
        render.emit("Diagnosis", {"checks": [*map(vars, checks)]})
    else:
        rows = [(c.status, c.name, "; ".join(filter(None, (c.found, c.remedy)))) for c in checks]
        render.table(("state", "check", "found"), rows)
    if any(check.status == "problem" for check in checks):
        raise Exit(1)
