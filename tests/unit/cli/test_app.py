import errno
import warnings

import pytest
import typer

from glmctl.cli import app, render
from glmctl.errors import InputError, InterruptedRun, NumericalError, UsageError


@pytest.fixture
def failing(monkeypatch):
    """A command line whose only command raises what the test wants."""

    def run(error, *args):
        def fail() -> None:
            """Fail."""
            raise error

        broken = typer.Typer(callback=app.top)
        app.add(broken, fail)
        monkeypatch.setattr(app, "app", broken)
        return app.run(["fail", *args])

    yield run
    render.voice.is_quiet = render.voice.is_verbose = False


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("here", "wrong"), 2),
        (InputError("here", "wrong"), 3),
        (NumericalError("here", "wrong"), 5),
        (InterruptedRun("here", "wrong"), 75),
    ],
)
def test_an_error_of_ours_is_one_message_and_its_exit_code(failing, error, code, capsys):
    assert failing(error) == code
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "error: here: wrong\n")


def test_several_problems_are_listed_under_their_place(failing, capsys):
    assert failing(UsageError("here", "one", "two")) == 2
    assert capsys.readouterr().err == "error: here\n  one\n  two\n"


@pytest.mark.parametrize(
    ("number", "problem"),
    [
        (errno.ENOSPC, "no; free some space, raise ulimit -f, or name another place"),
        (errno.EFBIG, "no; free some space, raise ulimit -f, or name another place"),
        (errno.EROFS, "no; change the permissions, or name another place"),
        (errno.EACCES, "no; change the permissions, or name another place"),
    ],
)
def test_a_machine_that_cannot_write_is_named_with_path_and_remedy(
    failing, number, problem, capsys
):
    assert failing(OSError(number, "no", "/some/file")) == 4
    assert capsys.readouterr().err == f"error: /some/file: {problem}\n"


def test_a_path_that_is_not_there_is_named(failing, capsys):
    assert failing(FileNotFoundError(errno.ENOENT, "no", "/some/file")) == 3
    assert capsys.readouterr().err == ("error: /some/file: no; check the name\n")


def test_too_little_memory_is_exit_4(failing, capsys):
    assert failing(MemoryError()) == 4
    assert "ask for less at once" in capsys.readouterr().err


@pytest.mark.parametrize("error", [ValueError("odd"), OSError(errno.EIO, "odd", "x")])
def test_anything_else_is_our_bug_with_its_traceback(failing, error, capsys):
    assert failing(error) == 70
    message = capsys.readouterr().err
    assert "Traceback" in message
    assert "odd" in message
    assert message.endswith(
        "error: this is a bug of glmctl; please report it with the lines above\n"
    )


def test_ctrl_c_is_130_without_a_traceback(failing, capsys):
    assert failing(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "error: interrupted\n"


def test_a_warning_of_python_is_one_line(monkeypatch, capsys):
    broken = typer.Typer(callback=app.top)

    def grumble() -> None:
        """Grumble."""
        warnings.warn("this is\n  odd", stacklevel=1)

    app.add(broken, grumble)
    monkeypatch.setattr(app, "app", broken)
    assert app.run(["grumble"]) == 0
    assert capsys.readouterr().err == "warning: this is odd\n"


def test_an_exit_with_findings_keeps_its_code(failing, capsys):
    assert failing(typer.Exit(1)) == 1
    assert capsys.readouterr().err == ""


def test_verbose_adds_the_traceback_and_the_time(failing, capsys):
    assert failing(UsageError("here", "wrong"), "-v") == 2
    message = capsys.readouterr().err
    assert "Traceback" in message
    assert message.endswith("error: here: wrong\ntook 0:00:00\n")


def test_quiet_is_an_option_of_every_command(failing, capsys):
    assert failing(UsageError("here", "wrong"), "--quiet") == 2
    assert render.voice.is_quiet


def test_a_wrong_option_says_where_the_help_is(capsys):
    assert app.run(["pretrain", "glm-base", "--stesp", "3"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: No such option: --stesp")
    assert message.endswith("\n  see: glmctl pretrain --help\n")


def test_a_wrong_command_says_which_one_may_be_meant(capsys):
    assert app.run(["pretrian"]) == 2
    assert "Did you mean 'pretrain'?" in capsys.readouterr().err


@pytest.mark.parametrize(("args", "usage"), [([], "glmctl"), (["recipe"], "glmctl recipe")])
def test_a_group_without_a_command_shows_its_help(args, usage, capsys):
    assert app.run(args) == 0
    assert capsys.readouterr().out.startswith(f"Usage: {usage} [OPTIONS] COMMAND")


def test_helpers_have_a_heading_of_their_own(capsys):
    assert app.run(["--help"]) == 0
    stages, helpers = capsys.readouterr().out.split("Helpers:")
    assert " pretrain " in stages
    assert {"guide", "doctor", "recipe"} <= set(helpers.split())
    assert " pretrain " not in helpers


def test_help_keeps_square_brackets(capsys):
    assert app.run(["infill", "--help"]) == 0
    assert "[sMASK]" in capsys.readouterr().out
