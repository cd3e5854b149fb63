"""The command `glmctl`: its commands, and what becomes of every error.

Nothing here imports pydantic, torch or a stage; a command does so when it runs.
"""

import errno
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from typer._click.exceptions import UsageError
from typer.core import TyperCommand, TyperGroup

import glmctl
from glmctl.cli import recipe, render
from glmctl.cli.corrupt import corrupt
from glmctl.cli.eval import eval
from glmctl.cli.finetune import finetune
from glmctl.cli.helpers import convert, doctor, guide, pull, push, report
from glmctl.cli.infill import infill
from glmctl.cli.pretrain import pretrain
from glmctl.cli.quantize import quantize
from glmctl.cli.tokenize import tokenize
from glmctl.errors import GlmctlError, InputError, MachineError

ROOM = (MachineError, "free some space, raise ulimit -f, or name another place")
ACCESS = (MachineError, "change the permissions, or name another place")
PATH = (InputError, "check the name")
REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), ROOM),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), ACCESS),
    **dict.fromkeys((errno.ENOENT, errno.EISDIR, errno.ENOTDIR), PATH),
}
"""Of what the operating system refuses a user; anything else that it says is our bug."""
HELPERS = ("convert", "report", "guide", "pull", "push", "doctor", "recipe")
COMPLETION = "_GLMCTL_COMPLETE"


def voice(
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, no notes.")] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Run time, and the traceback of an error.")
    ] = False,
) -> None:
    """Carries the options that every command has."""


carrier = typer.Typer(add_completion=False)
carrier.command()(voice)


class Command(TyperCommand):
    """A command with --quiet and -v after its own options."""

    voice = typer.main.get_command(carrier).params

    def get_params(self, ctx: Any) -> list[Any]:
        *own, help_option = super().get_params(ctx)
        return [*own, *self.voice, help_option]

    def invoke(self, ctx: Any) -> Any:
        render.voice.is_verbose = ctx.params.pop("verbose")
        render.voice.is_quiet = ctx.params.pop("quiet")
        if render.voice.is_quiet:  # of libraries that fetch and convert
            for name in ("HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS"):
                os.environ[name] = "1"
        return super().invoke(ctx)


class Group(TyperGroup):
    """Commands under their headings, each with its whole first line of help."""

    def get_params(self, ctx: Any) -> list[Any]:
        *own, help_option = super().get_params(ctx)
        help_option.default = False  # for None, Typer would import pydantic (0.15 s)
        return [*own, help_option]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args or ["--help"])

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        lines = {
            name: (command.help or "").partition("\n")[0] for name, command in self.commands.items()
        }
        helpers = [(name, lines.pop(name)) for name in HELPERS if name in lines]
        for heading, rows in (("Commands", [*lines.items()]), ("Helpers", helpers)):
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)


def show_version(value: bool) -> None:
    if value:
        render.say(f"glmctl {glmctl.__version__}")
        raise typer.Exit


def top(
    version: Annotated[
        bool,
        typer.Option("--version", callback=show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Train, evaluate and use General Language Models, from text to filled blanks."""


def add(group: typer.Typer, *commands: Callable[..., None]) -> None:
    for command in commands:
        group.command(cls=Command)(command)


# Without rich's panels: they cost as much time as everything else together, and wrap badly.
app = typer.Typer(cls=Group, callback=top, rich_markup_mode=None)
add(app, tokenize, corrupt, pretrain, finetune, eval, infill, quantize)
add(app, convert, report, guide, pull, push, doctor)
recipes = typer.Typer(cls=Group, rich_markup_mode=None, help="Look at recipes, copy, check them.")
add(recipes, recipe.ls, recipe.show, recipe.diff, recipe.cp)
add(recipes, recipe.validate, recipe.schema, recipe.migrate)
app.add_typer(recipes, name="recipe")


def run(args: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    started_at = time.monotonic()
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: render.warn(" ".join(str(message).split()))
        code = attempt(args)
    if render.voice.is_verbose:
        render.note(f"took {render.format_duration(time.monotonic() - started_at)}")
    try:
        render.flush()
    except OSError:  # reported already, or nobody reads on: nothing may fail as Python ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def attempt(args: Sequence[str]) -> int:
    """Run one command line; every way in which it can end becomes an exit code."""
    group = typer.main.get_command(app)
    try:
        with group.make_context("glmctl", [*args]) as context:
            group.invoke(context)
        render.flush()
    except typer.Exit as end:
        return end.exit_code
    except (typer.Abort, KeyboardInterrupt):
        render.complain("interrupted")
        return 130
    except typer.TyperException as problem:
        place = problem.ctx if isinstance(problem, UsageError) else None
        command = place.command_path if place else "glmctl"
        reason = problem.format_message().replace("Value error, ", "")  # of pydantic, in Typer
        render.complain(f"{reason}\n  see: {command} --help")
        return problem.exit_code
    except BrokenPipeError:
        return 0
    except Exception as error:
        return explain(error)
    return 0


def explain(error: Exception) -> int:
    """Show what the user or the machine got wrong, or what we did; gives the exit code."""
    known: GlmctlError | None = error if isinstance(error, GlmctlError) else None
    if isinstance(error, MemoryError):
        known = MachineError("memory", "there is not enough; ask for less at once")
    elif isinstance(error, OSError) and error.errno in REMEDIES:
        kind, remedy = REMEDIES[error.errno]
        known = kind(str(error.filename or "output"), f"{error.strerror}; {remedy}")
    if known is None or render.voice.is_verbose:
        render.trace(traceback.format_exc())
    render.complain(str(known or "this is a bug of glmctl; please report it with the lines above"))
    return known.exit_code if known else GlmctlError.exit_code


def main() -> None:
    """What the console script calls."""
    if COMPLETION in os.environ:  # a shell asks what could be typed next
        app(prog_name="glmctl")
    sys.exit(run(sys.argv[1:]))
