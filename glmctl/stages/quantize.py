"""Quantizing: from any model to a model folder whose linears hold integers."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from glmctl.core.checkpoint.folder import refuse_other_files
from glmctl.core.model.glm import GLM
from glmctl.core.open import Glm, build, load
from glmctl.core.quantization.absmax import dequantize, pack, quantize
from glmctl.core.quantization.calibration import Calibration, Quality
from glmctl.core.quantization.swap import SCALE
from glmctl.core.tasks.battery import HELD_OUT, Continuation, battery_of
from glmctl.core.train.precision import choose_device
from glmctl.errors import InputError, UsageError
from glmctl.recipe.find import builtin_recipes, recipe_name
from glmctl.recipe.load import Draft, checked, expand_path, load_recipe
from glmctl.recipe.schema import QuantizationConfig, QuantizeConfig
from glmctl.recipe.section import Section


@dataclass(frozen=True)
class PartSize:
    """The same tensors of all layers."""

    name: str
    stored_bytes: int
    quantized_bytes: int  # scales included
    float16_ratio: float  # of the quantized bytes to those of float16


@dataclass(frozen=True)
class QuantizeResult:
    model: str
    method: str
    bits: int
    out: str | None  # None: its perplexity rose too much, and nothing was written
    parts: list[PartSize]
    layer_errors: list[float]  # of the weights of each layer, |W - W'| / |W|
    calibration: str | None  # None: the model reads no text, so nothing was measured
    measured: str | None  # blanks or tokens
    before: Quality | None
    after: Quality | None
    perplexity_rise_share: float | None


class Settings(Section):
    """What a command line can set."""

    quantize: QuantizeConfig


def settings(source: str, options: Mapping[str, Any], overrides: Sequence[str]) -> QuantizeConfig:
    """What a command line asks for, by keys of `[quantize]`; a source is a recipe, or the model."""
    given = {key: value for key, value in options.items() if value is not None}
    is_builtin = not Path(source).exists() and source in map(recipe_name, builtin_recipes())
    if is_builtin or source.endswith(".toml"):
        section = load_recipe(source, overrides).quantize
        if section is None:
            raise UsageError(
                source,
                "has no section [quantize]; to quantize the model of a run, name the run's folder",
            )
        given = section.model_dump() | given
    elif overrides:
        raise UsageError("--set", f"changes a recipe, and {source} is a model; leave it out")
    draft = Draft({"quantize": {"model": source} | given})
    return checked(Settings, draft, source, ()).quantize


def run(
    config: QuantizeConfig, *, out: Path, device: str | None, note: Callable[[str], None]
) -> QuantizeResult:
    """Quantize every linear of every layer; write the model unless its perplexity rose too much."""
    path = expand_path(config.model, "quantize.model")
    if out.resolve() in (path.resolve(), (path / "model").resolve()):
        raise UsageError(f"--out {out}", "is the model that is quantized; name another folder")
    refuse_other_files(out)
    glm = load(path, device=choose_device(device).type)
    if glm.quantize is not None:
        raise InputError(
            config.model,
            f"is quantized already ({glm.quantize.method}, {glm.quantize.bits} bits); quantize the "
            "model that it was made from",
        )
    stored = glm.module.state_dict()
    module = glm.module.float()
    calibration = calibration_of(glm, config, note)
    before = None if calibration is None else calibration.measure(module)
    tensors, layer_errors = quantize_layers(module, stored, config.bits)
    after = None if calibration is None else calibration.measure(module)
    rise = after.perplexity / before.perplexity - 1 if before and after else None
    is_good = config.max_loss is None or (rise is not None and rise <= config.max_loss)
    result = QuantizeResult(
        model=config.model,
        method=config.method,
        bits=config.bits,
        out=str(out) if is_good else None,
        parts=sizes(stored, tensors),
        layer_errors=layer_errors,
        calibration=None if calibration is None else config.calibration or HELD_OUT,
        measured=None if calibration is None else calibration.unit,
        before=before,
        after=after,
        perplexity_rise_share=rise,
    )
    if is_good:
        section = QuantizationConfig(method=config.method, bits=config.bits)
        quantized = replace(glm, tensors=tensors, quantize=section)
        replace(quantized, module=build(quantized, config.model)).save(out)
    return result


def calibration_of(
    glm: Glm, config: QuantizeConfig, note: Callable[[str], None]
) -> Calibration | Continuation | None:
    """The text on which the model is measured; None for one that reads no text."""
    path = str(expand_path(config.calibration or HELD_OUT, "quantize.calibration"))
    try:
        glm.scoring_tokenizer()
    except InputError as error:
        if config.calibration is not None or config.max_loss is not None:
            raise
        note(f"perplexity and exact match are not measured: {error}")
        return None
    return battery_of(glm, path)


def quantize_layers(
    module: GLM, stored: Mapping[str, Tensor], bits: int
) -> tuple[dict[str, Tensor], list[float]]:
    """The tensors of the quantized model, and the error of each layer, |W - W'| / |W|.

    Integers are made from the type that a tensor is stored in; the linears of the module, which is
    in float32, get the weights that the integers stand for.
    """
    tensors, errors = dict(stored), []
    for number, block in enumerate(module.blocks):
        lost = whole = 0.0
        for name, linear in block.named_modules(prefix=f"blocks.{number}"):
            if isinstance(linear, nn.Linear):
                key = f"{name}.weight"
                values, scale = quantize(stored[key], bits, key)
                tensors[key] = values if bits == 8 else pack(values)
                tensors[f"{name}.{SCALE}"] = scale
                weight = dequantize(values, scale, torch.float32)
                lost += (weight - linear.weight.data).square().sum(dtype=torch.float64).item()
                whole += linear.weight.data.square().sum(dtype=torch.float64).item()
                linear.weight.data = weight
        errors.append(math.sqrt(lost / whole) if whole else 0.0)
    return tensors, errors


def sizes(stored: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> list[PartSize]:
    """Bytes of the tensors that stay, of each linear in all layers together, and of all."""
    totals: dict[str, list[int]] = {}  # before, after, in float16
    for name, tensor in tensors.items():
        linear, _, kind = name.rpartition(".")
        is_quantized = kind in ("weight", SCALE) and f"{linear}.{SCALE}" in tensors
        part = linear.split(".", 2)[2] if is_quantized else "everything else"
        total = totals.setdefault(part, [0, 0, 0])
        total[1] += tensor.nbytes
        if name in stored:
            total[0] += stored[name].nbytes
            total[2] += 2 * stored[name].numel()
    totals["all"] = [sum(column) for column in zip(*totals.values(), strict=True)]
    return [
        PartSize(part, before, after, after / as_float16)
        for part, (before, after, as_float16) in totals.items()
    ]
