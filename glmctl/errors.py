"""What a user can do wrong or a machine can lack; each error carries its exit code.

A message names the place, the problem with the value found, and the remedy.
"""

from typing import ClassVar


class GlmctlError(Exception):
    """Base of all errors that are shown without a traceback.

    `place` is the file, line, section or flag where the problem stands; each of `problems` is a
    line with the value found and the remedy.
    """

    exit_code: ClassVar[int] = 70

    def __init__(self, place: str, *problems: str) -> None:
        super().__init__(place, *problems)
        self.place = place
        self.problems = problems

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return f"{self.place}: {self.problems[0]}"
        return "\n  ".join([self.place, *self.problems])


class UsageError(GlmctlError):
    """The command line or a recipe is wrong."""

    exit_code = 2


class InputError(GlmctlError):
    """Input data, a tokenizer or a checkpoint is invalid."""

    exit_code = 3


class MachineError(GlmctlError):
    """The machine lacks something: a GPU, memory, disk space, a permission, a package."""

    exit_code = 4


class NumericalError(GlmctlError):
    """Training met a loss or gradient that is not finite."""

    exit_code = 5


class InterruptedRun(GlmctlError):
    """A signal stopped the run after its state was saved; the same command continues it."""

    exit_code = 75
