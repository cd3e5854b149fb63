"""What may stop a run: numbers that are not finite, and signals."""

import math
import signal
from types import FrameType
from typing import Self

from glmctl.errors import NumericalError


def refuse_non_finite(
    step: int, loss: float, grad_norm: float, rate: float, first_row: int, num_rows: int
) -> None:
    """Stop before a weight changes."""
    if math.isfinite(loss) and math.isfinite(grad_norm):
        return
    raise NumericalError(
        f"step {step}",
        f"loss {loss}, gradient norm {grad_norm}, learning rate {rate:.3e}, rows {first_row} to "
        f"{first_row + num_rows - 1}; no weight has changed and the last checkpoint is intact; "
        "the run would stop here again: lower optimizer.peak_lr or choose another train.seed, in "
        "another --run-dir",
    )


class StopSignalError(Exception):
    """A signal asks the run to save and end; never leaves the training loop."""


class StopSignals:
    """While entered, SIGINT and SIGTERM wait until the loop asks; a second one acts at once.

    Args:
        is_alone: False: replicas stop together, at the next step that `agree` finds; a signal
            that comes twice, from the terminal and from the launcher, is then one.
    """

    def __init__(self, is_alone: bool = True) -> None:
        self.is_alone = is_alone
        self.received: signal.Signals | None = None

    def __enter__(self) -> Self:
        self.previous = {
            number: signal.signal(number, self._receive)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, _: FrameType | None) -> None:
        self.received = signal.Signals(number)
        if self.is_alone:
            signal.signal(number, self.previous[self.received])

    def check(self) -> None:
        """Raise StopSignalError when a signal has come, unless the others must know first."""
        if self.is_alone and self.received is not None:
            raise StopSignalError

    def agree(self, num_asked: float) -> None:
        """Raise StopSignalError in all replicas when any of them was asked to stop."""
        if num_asked:
            self.received = self.received or signal.SIGTERM
            raise StopSignalError
