"""The Python face: what `import glmctl` offers, with the names of the commands."""

from glmctl.core.open import Glm, load
from glmctl.stages.corrupt import corrupt_texts as corrupt

__all__ = ["Glm", "corrupt", "load"]
