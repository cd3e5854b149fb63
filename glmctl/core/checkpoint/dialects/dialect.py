"""What a released format is: names of modules and keys of its config.json, beside ours.

A file of this package fills a `Dialect` in, which makes it a format that folders are read by; one
with `written_as` is written too. Keys that are not ours are refused. A key of their config.json
that is null counts as one that is not there. The map is of the weights only: tokenizers are told
apart in `core/tokenizer/family.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from glmctl.errors import GlmctlError

if TYPE_CHECKING:  # the command line reads `Format`, and its help loads no pydantic
    from glmctl.recipe.model import ModelConfig

Values = Mapping[str, Any]
Format = Literal["glmctl", "original", "hub-glm", "transformers"]
"""What `glmctl convert --to` writes."""

SAME = {key: key for key in ("num_layers", "hidden_size", "num_attention_heads")}
"""Sizes that several formats call as we do."""
COMPUTED = ".inv_freq"
"""Ends the names of tensors that are stored and not learned, in every format that has any."""


@dataclass(frozen=True)
class Dialect:
    """The map between a released format and ours."""

    name: str
    model_type: str
    """What their `config.json` says; two formats may say the same. Empty: it says nothing."""
    outer: Mapping[str, str]
    """Our modules outside the layers -> theirs; or parameters, where theirs are no module."""
    layer: str
    """What the names of their layer {} start with."""
    inner: Mapping[str, tuple[str, ...]]
    """Our modules of a layer -> theirs; several stand one after another in ours, the rows of query,
    key and value in this order, and those of the gate before those of what it gates (`up`)."""
    sizes: Mapping[str, str]
    """Our keys of `[model]` -> theirs."""
    components: Callable[[Values], dict[str, Any]]
    """The other keys of `[model]`, from their config.json; a ValueError refuses the file.

    It is also called with what `values` and `sizes` write, to find what the format cannot hold."""
    written_as: Format | None = None
    """None: only read. Of several with one name, that is written which holds the model."""
    values: Callable[[ModelConfig], dict[str, Any]] = lambda _: {}
    """Their config.json of a model of ours, but for the sizes, where it is written."""
    abilities: tuple[str, ...] = ()
    """What all models of the format were trained for; those of a chat say so themselves."""
    fixed: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Their keys of which we read these values only; absent is fine. Keys inside a table of theirs
    are for `components` to refuse."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Our keys -> what theirs are where their file does not say; the others have our default, as
    `ModelConfig` states it, or are refused as missing where it has none."""
    ties: bool = False
    """Their word embedding is the output layer too, where their file does not say."""
    lead: str = ""
    """What may stand in front of every name, as `save_pretrained` of a wrapper writes it."""
    by_head: str = ""
    """Our module whose rows they keep head by head: query, key and value of each."""
    prefix: str = ""
    """Their module of learned prefixes (P-tuning v2)."""
    heads: Mapping[str, str] = field(default_factory=dict)
    """Their modules of a task head -> ours."""
    start: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    """Our keys of `[layout]` -> theirs, and the ids that their code takes without them."""
    splits_at_jumps: bool = False
    """Their code takes a place that is not the next one for the start of another sample.

    So it is in `transformers`, called without a cache and a mask, wherever `create_causal_mask` is
    given the `position_ids`."""

    def our_head(self, theirs: str) -> str | None:
        """Our name of one of their parameters, when it is of a task head."""
        module, _, kind = theirs.rpartition(".")
        return f"{self.heads[module]}.{kind}" if module in self.heads else None

    def their_head(self, ours: str) -> str:
        module, _, kind = ours.rpartition(".")
        (name,) = (theirs for theirs, its in self.heads.items() if its == module)
        return f"{name}.{kind}"

    def their_names(self, ours: str) -> tuple[str, ...]:
        """Their names of one of our parameters."""
        if ours in self.outer:
            return (self.outer[ours],)
        module, _, kind = ours.rpartition(".")
        table, lead = "outer", ""
        modules: Mapping[str, tuple[str, ...]] = {key: (name,) for key, name in self.outer.items()}
        if module.startswith("blocks."):
            _, number, module = module.split(".", 2)
            table, lead, modules = "inner", self.layer.format(number), self.inner
        if module not in modules:
            raise GlmctlError(
                f"dialect {self.name!r}",
                f"{table} lacks {module!r}, and a model of its components has one",
            )
        return tuple(f"{lead}{theirs}.{kind}" for theirs in modules[module])
