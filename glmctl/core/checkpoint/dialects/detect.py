"""Which released format a folder has: first by its tensors, then by what config.json says."""

from __future__ import annotations

from collections.abc import Collection

from glmctl.core.checkpoint.dialects.chatglm import CHATGLM
from glmctl.core.checkpoint.dialects.chatglm2 import CHATGLM2
from glmctl.core.checkpoint.dialects.dialect import Dialect, Values
from glmctl.core.checkpoint.dialects.glm4 import GLM, GLM4
from glmctl.core.checkpoint.dialects.hub_glm import HUB_GLM

DIALECTS = (HUB_GLM, CHATGLM, CHATGLM2, GLM, GLM4)


def detect(values: Values, names: Collection[str]) -> Dialect | str:
    """The dialect of a folder, or why it has none.

    Two formats call themselves `glm` and three `chatglm`, so the name of the word embedding decides
    among those of one model_type.
    """

    def has(dialect: Dialect) -> bool:
        word = dialect.outer["word_embedding"] + ".weight"
        return word in names or dialect.lead + word in names

    model_type = values.get("model_type")
    fitting = [dialect for dialect in DIALECTS if has(dialect)]
    fitting = [dialect for dialect in fitting if model_type == dialect.model_type]
    if fitting:
        return fitting[0]
    known = ", ".join(dialect.name for dialect in DIALECTS)
    return (
        f"model_type is {model_type!r}, and no tensor has the name of a word embedding of such a "
        f"model; known formats: {known}"
    )
