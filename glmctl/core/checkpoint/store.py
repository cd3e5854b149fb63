"""The training states of one run: saved whole or not at all, verified when they are loaded.

No file is unpickled: a state is one safetensors file and a `manifest.json` with the format
number, the step and a digest per tensor.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from glmctl.core.checkpoint import durable
from glmctl.errors import InputError

FORMAT = 2
WITHOUT_DATA = 1
"""The format before the fingerprint of the data."""
STATE_FILE = "state.safetensors"


class CheckpointStore:
    """The folder `checkpoints/` of a run.

    Args:
        root: the folder; made when the first checkpoint is saved.
        keep: newest checkpoints that stay.
        data: fingerprint of what the run trains on; None for a reader who does not train.
    """

    def __init__(self, root: Path, keep: int, data: str | None = None) -> None:
        self.root = root
        self.keep = keep
        self.data = data

    def folder(self, step: int) -> Path:
        return self.root / f"step-{step:08d}"

    def steps(self) -> list[int]:
        """Steps of the checkpoints that are there, oldest first."""
        names = [path.name for path in self.root.glob("step-*")]
        return sorted(int(name[5:]) for name in names if re.fullmatch(r"step-\d{8,}", name))

    def save(self, step: int, tensors: Mapping[str, Tensor]) -> Path:
        """Write what a run needs to go on after so many updates.

        A step that is there already holds the same state and is left alone. Then all but the
        newest checkpoints go.
        """
        final = self.folder(step)
        if not final.exists():
            with durable.publish(final) as scratch:
                digests = durable.write_tensors(scratch / STATE_FILE, tensors)
                manifest = {"format": FORMAT, "step": step, "data": self.data, "digests": digests}
                durable.write_json(scratch / durable.MANIFEST_FILE, manifest)
        for old in self.steps()[: -self.keep]:
            durable.retire(self.folder(old))
        return final

    def load(self, step: int) -> dict[str, Tensor]:
        """Read and verify a checkpoint, which must have trained on the same data."""
        folder, remedy = self.folder(step), self.remedy(step)
        path = folder / durable.MANIFEST_FILE
        manifest = durable.read_json(path, remedy)
        if manifest.get("format") == WITHOUT_DATA:
            manifest |= {"format": FORMAT, "data": None}
        for key, value in (("format", FORMAT), ("step", step)):
            if manifest.get(key) != value:
                problem = f"{key} is {manifest.get(key)}, expected {value}"
                raise InputError(str(path), f"{problem}; {remedy}")
        if "data" not in manifest:
            raise InputError(str(path), f"holds no fingerprint of the data; {remedy}")
        trained_on = manifest["data"]
        if self.data is not None and trained_on not in (None, self.data):
            raise InputError(
                str(folder),
                f"trained on data of the fingerprint {trained_on}, and the run now has "
                f"{self.data}; bring its shards, weights, rows and seed back, or start over with "
                "--fresh --force",
            )
        return durable.read_proved(folder / STATE_FILE, manifest, remedy)

    def remedy(self, damaged: int) -> str:
        """What to do about a damaged checkpoint."""
        earlier = [step for step in self.steps() if step < damaged]
        if earlier:
            name = self.folder(earlier[-1]).name
            return f"remove the folder {self.folder(damaged).name} to continue from {name}"
        return "there is no earlier checkpoint; start over with --fresh --force"
