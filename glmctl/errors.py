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
    exit_code = 2  # the command line or a recipe is wrong


class InputError(GlmctlError):
    exit_code = 3  # input data, a tokenizer or a checkpoint is invalid


class MachineError(GlmctlError):
    exit_code = 4  # a GPU, memory, disk space, a permission or a package is missing


class NumericalError(GlmctlError):
    exit_code = 5  # a loss or gradient is not finite


class InterruptedRun(GlmctlError):
    exit_code = 75  # a signal stopped the run after it was saved; the same command continues it
