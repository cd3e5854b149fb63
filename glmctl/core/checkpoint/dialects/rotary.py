"""The settings of rotary positions as a config.json of `transformers` has them."""

from typing import Any

from glmctl.core.checkpoint.dialects.dialect import Values
from glmctl.recipe.model import ModelConfig, RotaryConfig

KEYS = {"rope_type", "type", "rope_theta", "partial_rotary_factor"}
YARN = {
    "factor": "factor",
    "original_max_position_embeddings": "original_positions",
    "beta_fast": "beta_fast",
    "beta_slow": "beta_slow",
    "attention_factor": "attention_factor",
}


def read_rotary(
    values: Values, *, fraction: float, interleaved: bool, fraction_is_fixed: bool = False
) -> dict[str, Any]:
    """Version 5 keeps them in a table, version 4 beside the other keys.

    Args:
        values: the config.json.
        fraction: share of a head that turns, where the file does not say.
        fraction_is_fixed: their modelling code never reads `partial_rotary_factor` (Llama, Qwen2),
            so what the file says of it counts for nothing, and a model with another fraction is
            not written.
        interleaved: neighbours turn together; False: the two halves do.
    """
    table = values.get("rope_parameters") or values.get("rope_scaling") or {}
    if not isinstance(table, dict):
        raise ValueError(f"rope_parameters is {table!r}; expected a table")
    kind = table.get("rope_type", table.get("type", "default"))
    if kind not in ("default", "yarn"):
        raise ValueError(f"rope_type is {kind!r}; only 'default' and 'yarn' are read")
    unread = table.keys() - YARN.keys() - KEYS if kind == "yarn" else ()
    if unread:
        raise ValueError(f"{', '.join(sorted(unread))} of rope_type 'yarn' is not read")
    yarn = {ours: table[theirs] for theirs, ours in YARN.items() if theirs in table}
    yarn.setdefault("original_positions", values.get("max_position_embeddings"))
    said = {key: value for key, value in {**values, **table}.items() if value is not None}
    stated = fraction if fraction_is_fixed else said.get("partial_rotary_factor", fraction)
    return {
        "base": said.get("rope_theta", 10_000.0),
        "fraction": stated,
        "interleaved": interleaved,
        "yarn": yarn if kind == "yarn" else None,
    }


def rotary_values(config: ModelConfig) -> dict[str, Any]:
    """In the form of version 4, which version 5 reads too."""
    rotary = config.rotary or RotaryConfig()
    values: dict[str, Any] = {
        "partial_rotary_factor": rotary.fraction,
        "rope_theta": rotary.base * rotary.ratio,
    }
    if rotary.yarn is not None:
        given = rotary.yarn.model_dump(exclude_none=True)
        yarn = {theirs: given[ours] for theirs, ours in YARN.items() if ours in given}
        values["rope_scaling"] = {"rope_type": "yarn", **yarn}
    return values
