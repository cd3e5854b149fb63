"""glmctl: the whole life of a GLM, from text to filled blanks.

Importing the package loads no torch; the names of `glmctl.api` are looked up when first used.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    api = import_module("glmctl.api")  # "from glmctl import api" would ask this function first
    if name not in api.__all__:
        raise AttributeError(f"module 'glmctl' has no attribute '{name}'")
    return getattr(api, name)
