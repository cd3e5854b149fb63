"""What the replicas of a test do; their processes import it by name."""

import os
import signal
import sys

from glmctl.errors import NumericalError


def die_in_rank_1(_: object) -> None:
    if os.environ["RANK"] == "1":
        sys.stderr.write("first line\nlast words\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


def refuse_in_rank_1(say: object) -> None:
    assert callable(say)
    say(f"rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']}")
    if os.environ["RANK"] == "1":
        raise NumericalError("step 7", "loss nan; lower optimizer.peak_lr")
    signal.pause()
