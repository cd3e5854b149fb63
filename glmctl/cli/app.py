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
from typing import Annotated, Any, TextIO

import typer
from typer.core import TyperCommand, TyperGroup

import glmctl
from glmctl.cli import recipe, render
from glmctl.cli.corrupt import corrupt
from glmctl.cli.doctor import doctor
from glmctl.cli.guide import guide
from glmctl.cli.infill import infill
from glmctl.cli.pretrain import pretrain
from glmctl.cli.report import report as report_runs
from glmctl.cli.tokenize import tokenize
from glmctl.errors import GlmctlError, InputError, MachineError

REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space or name another folder",
    errno.EDQUOT: "the disk quota is used up; free some space or name another folder",
    errno.EFBIG: "the file grew beyond the limit of the disk or of the shell; raise ulimit -f",
    errno.EROFS: "the folder cannot be written to; name another one",
    errno.EACCES: "permission denied; change the permissions or name another place",
    errno.EPERM: "permission denied; change the permissions or name another place",
}
WRONG_PATHS = {
    errno.ENOENT: "there is no such file or folder; check the name",
    errno.EISDIR: "is a folder; name a file",
    errno.ENOTDIR: "lies in something that is no folder; check the path",
}


def set_quiet(value: bool) -> None:
    render.voice.is_quiet = value
    if value:  # of libraries that fetch and convert
        os.environ.update(HF_HUB_DISABLE_PROGRESS_BARS="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1")


def set_verbose(value: bool) -> None:
    render.voice.is_verbose = value


def voice_options(
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", callback=set_quiet, expose_value=False, help="No progress, no notes."
        ),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "-v",
            "--verbose",
            callback=set_verbose,
            expose_value=False,
            help="Run time, and the traceback of an error.",
        ),
    ] = False,
) -> None:
    """Carries the options that every command has."""


def params_of(function: Callable[..., None]) -> list[Any]:
    """The parameters that Typer makes of a signature."""
    carrier = typer.Typer(add_completion=False)
    carrier.command()(function)
    return typer.main.get_command(carrier).params


VOICE = params_of(voice_options)


class Group(TyperGroup):
    """Commands under their headings, each with its whole first line of help."""

    def get_params(self, ctx: Any) -> list[Any]:
        *own, help_option = super().get_params(ctx)
        help_option.default = False  # for None, Typer would import pydantic (0.15 s)
        return [*own, help_option]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args or ["--help"])

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        for heading in ("Commands", HELPERS):
            rows = [
                (name, (command.help or "").partition("\n")[0])
                for name, command in commands.items()
                if command is not None and (name in HELPER_NAMES) == (heading == HELPERS)
            ]
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)


class Command(TyperCommand):
    """A command with --quiet and -v after its own options."""

    def get_params(self, ctx: Any) -> list[Any]:
        *own, help_option = super().get_params(ctx)
        return [*own, *VOICE, help_option]


def show_version(value: bool) -> None:
    if value:
        render.say(f"glmctl {glmctl.__version__}")
        raise typer.Exit


def top(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=show_version,
            expose_value=False,
            is_eager=True,
            help="Print the version.",
        ),
    ] = False,
) -> None:
    """Pretrain General Language Models and fill blanks with them."""


def add(group: typer.Typer, command: Callable[..., None]) -> None:
    """Offer a command under its own name."""
    group.command(cls=Command)(command)


COMPLETION = "_GLMCTL_COMPLETE"
STAGES: tuple[Callable[..., None], ...] = (tokenize, corrupt, pretrain, infill)
TOOLS: tuple[Callable[..., None], ...] = (report_runs, guide, doctor)
COMMANDS = {stage.__name__ for stage in STAGES}
HELPERS = "Helpers"
HELPER_NAMES = {"recipe", *(tool.__name__ for tool in TOOLS)}
# Without rich's panels: they cost as much time as everything else together, and wrap badly.
app = typer.Typer(cls=Group, callback=top, rich_markup_mode=None)
for command in (*STAGES, *TOOLS):
    add(app, command)
recipes = typer.Typer(cls=Group, rich_markup_mode=None, help="Look at recipes, copy, check them.")
RECIPE_HELPERS = (
    *(recipe.ls, recipe.show, recipe.diff, recipe.cp),
    *(recipe.validate, recipe.schema, recipe.migrate),
)
for helper in RECIPE_HELPERS:
    add(recipes, helper)
app.add_typer(recipes, name="recipe")


def run(args: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    started_at = time.monotonic()
    with warnings.catch_warnings():
        warnings.showwarning = show_warning
        code = attempt(args)
    if render.voice.is_verbose:
        render.note(f"took {render.format_duration(time.monotonic() - started_at)}")
    try:
        render.flush()
    except OSError:  # reported already, or nobody reads on
        drop_output()
    return code


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show what Python's `warnings` reports, without the line of code that it came from."""
    render.warn(" ".join(str(message).split()))


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
        return report_usage(problem, args)
    except GlmctlError as problem:
        return report(problem)
    except BrokenPipeError:
        return 0
    except OSError as problem:
        return report_system(problem)
    except MemoryError:
        return report(MachineError("memory", "there is not enough; ask for less at once"))
    except Exception:
        return report_bug()
    return 0


def report_usage(problem: typer.TyperException, args: Sequence[str]) -> int:
    """Show what is wrong with the command line, and where it is explained."""
    render.complain(f"{problem.format_message()}\n  see: {help_command(args)}")
    return problem.exit_code


def report(problem: GlmctlError) -> int:
    """Show what the user or the machine got wrong."""
    if render.voice.is_verbose:
        render.trace(traceback.format_exc())
    render.complain(str(problem))
    return problem.exit_code


def report_system(problem: OSError) -> int:
    """Show what the operating system refused; what it never says to a user is our bug."""
    place = str(problem.filename or "output")
    if problem.errno in REMEDIES:
        return report(MachineError(place, REMEDIES[problem.errno]))
    if problem.errno in WRONG_PATHS:
        return report(InputError(place, WRONG_PATHS[problem.errno]))
    return report_bug()


def report_bug() -> int:
    """Show what we got wrong, with all that is needed to find it."""
    render.trace(traceback.format_exc())
    render.complain("this is a bug of glmctl; please report it with the lines above")
    return GlmctlError.exit_code


def drop_output() -> None:
    """Leave nothing in the buffer of stdout that would fail once more when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def help_command(args: Sequence[str]) -> str:
    """The command line that explains the command which was used wrongly."""
    known = COMMANDS | HELPER_NAMES
    return " ".join(["glmctl", *(word for word in args[:1] if word in known), "--help"])


def main() -> None:
    """What the console script calls."""
    if COMPLETION in os.environ:  # a shell asks what could be typed next
        app(prog_name="glmctl")
    sys.exit(run(sys.argv[1:]))
