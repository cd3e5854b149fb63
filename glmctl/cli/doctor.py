"""The command `glmctl doctor`."""

from dataclasses import asdict
from pathlib import Path

from typer import Exit

from glmctl.cli import options, render


def doctor(as_json: options.Json = False) -> None:
    """Say what this machine can do and what it lacks; exit 1 when there is a problem."""
    from glmctl.stages import doctor as stage

    diagnosis = stage.run(Path.cwd())
    if as_json:
        render.emit("Diagnosis", asdict(diagnosis))
    else:
        rows = [
            (check.status, check.name, "; ".join(filter(None, (check.found, check.remedy))))
            for check in diagnosis.checks
        ]
        render.table(("state", "check", "found"), rows)
    if diagnosis.num_problems:
        raise Exit(1)
