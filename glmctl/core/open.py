"""Opens a model in any supported format: `load()` gives a `Glm`, the model with its tokenizer.

Shapes: B rows, S tokens of a row (Part A, Part B, padding), T packed tokens, V vocabulary rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from glmctl.core.checkpoint.find import find
from glmctl.core.checkpoint.folder import Found, write_model_folder
from glmctl.core.decode.infill import (
    Beginning,
    Infilling,
    Prompt,
    fill_blanks,
    fill_by,
    insert,
    make_prompt,
)
from glmctl.core.decode.layout import HAS_SPANS, Reader
from glmctl.core.decode.score import fill_with_choices, score_choices
from glmctl.core.decode.search import Fill, Rules
from glmctl.core.model.glm import GLM
from glmctl.core.model.prompt import apart
from glmctl.core.quantization.swap import dequantized, swap_linears
from glmctl.core.tokenizer.base import Tokenizer
from glmctl.errors import InputError, MachineError, UsageError
from glmctl.recipe.load import Draft, checked
from glmctl.recipe.schema import DecodeConfig
from glmctl.recipe.section import Section

NO_BLANK = -1  # no token opens one
DTYPES = {name: getattr(torch, name) for name in ("float32", "float64", "bfloat16", "float16")}


class Settings(Section):
    """How blanks are filled, under the names that recipes have for it."""

    decode: DecodeConfig


@dataclass(frozen=True)
class Glm(Found):
    """A model that is ready to use; its tensors are those of the module."""

    source: str = ""
    module: GLM = field(kw_only=True)

    def logits(
        self,
        input_ids: Tensor,
        position_ids: Tensor | None = None,
        part_a_length: Tensor | None = None,
    ) -> Tensor:
        """Scores of every vocabulary row after every token, in float32 or better.

        Args:
            input_ids: Part A and Part B of each row, padded at the end, [B, S].
            position_ids: place in Part A and place in the span, [B, 2, S] ([B, S] for a model
                with one place); left out: derived from the ids, spans in the order of the blanks.
            part_a_length: tokens of Part A, [B]; left out: up to the first sop. Only models of
                prefix attention have one.

        Returns:
            [B, S, V].
        """
        places, lengths = self.reader.read(input_ids, position_ids, part_a_length)
        num_rows, length = input_ids.shape
        segments = self.reader.samples(places, [length] * num_rows, lengths)
        hidden = self.module.hidden(input_ids.flatten(), places.flatten(1), segments)
        return self.module.logits(hidden).view(num_rows, length, -1)

    def loss(
        self,
        input_ids: Tensor,
        position_ids: Tensor | None,
        part_a_length: Tensor | None,
        target_ids: Tensor,
        loss_mask: Tensor,
    ) -> Tensor:
        """Mean cross-entropy over the targets of all rows, by the path that training uses.

        Args:
            input_ids: [B, S].
            position_ids: as for `logits`.
            part_a_length: as for `logits`.
            target_ids: what each token should predict, [B, S].
            loss_mask: 1 where that counts, else 0, [B, S].
        """
        places, part_a = self.reader.read(input_ids, position_ids, part_a_length)
        counts = loss_mask.bool()
        column = torch.arange(1, input_ids.shape[1] + 1, device=counts.device)
        last_target = (counts * column).amax(1).tolist()
        # Nothing sees what lies behind the last target, except that Part A sees all of itself.
        lengths = [max(n, a) if n else 0 for n, a in zip(last_target, part_a, strict=True)]
        kept = column <= column.new_tensor(lengths)[:, None]  # [B, S]
        wanted = counts[kept].nonzero()[:, 0]
        if not len(wanted):
            raise InputError("loss_mask", "is 0 everywhere; a loss needs a target")
        segments = self.reader.samples(places, lengths, part_a)
        targets = target_ids[kept][wanted].long()
        ids, places = input_ids[kept], places[:, kept]  # [T], [2, T]
        total, _ = self.module.loss(ids, places, segments, wanted, targets)
        return total / len(wanted)

    def continue_ids(
        self, rows: Sequence[Sequence[int]], *, max_new_tokens: int, ends: Sequence[int] = ()
    ) -> list[list[int]]:
        """Ids that follow each row, the best one each time; for causal and chat models.

        Rows are of any length. Ids of `ends` end a row and are not given.
        """
        config = DecodeConfig(max_new_tokens=max_new_tokens)
        rules = Rules(config, NO_BLANK, tuple(ends), max_new_tokens)
        beginnings = [self.beginning("", ids, max_new_tokens) for ids in rows]
        num_rows = self.module.word_embedding.num_embeddings
        with evaluating(self.module):
            fills = fill_by(rules, self.module, beginnings, num_rows, range(len(rows)))
        return [[*fill.ids] for (fill,) in fills]

    def beginning(self, text: str, ids: Sequence[int], max_new_tokens: int) -> Beginning:
        """Lay ids out to be gone on with; the text is what they were made of."""
        # Positions of what follows depend on what stands before, so any filler does.
        filled = torch.tensor([[*ids, *[ids[-1]] * max_new_tokens]])
        places, (num_seen,) = self.reader.read(filled, None, None)
        layout = [(in_text, in_span) for in_text, in_span in places[:, 0].T.tolist()]
        return Beginning(text, tuple(ids), (len(ids),), layout, num_seen)

    def infill(
        self,
        texts: Sequence[str],
        *,
        choices: Sequence[str] | None = None,
        batch_size: int = 16,
        num_beams: int = 1,
        length_penalty: float = 0.0,
        n_best: int = 1,
        no_repeat_ngram: int = 0,
        min_new_tokens: int = 0,
        max_new_tokens: int = 64,
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 1234,
    ) -> list[Infilling]:
        """Fill every blank of every text, the blanks of a text from left to right.

        Args:
            texts: each with at least one [MASK], [sMASK] or [gMASK].
            choices: fill each blank with the best of these instead.
            batch_size: texts in the memory at once; changes no result.
            num_beams, length_penalty, n_best, no_repeat_ngram, min_new_tokens, max_new_tokens,
                temperature, top_k, top_p, seed: as in `DecodeConfig`. What is drawn for a text
                depends on the seed and on its place in `texts` only.

        Raises:
            UsageError: a setting is out of its range.
            InputError: a text has no blank, or more tokens than the model has positions.
        """
        settings = {
            "num_beams": num_beams,
            "length_penalty": length_penalty,
            "n_best": n_best,
            "no_repeat_ngram": no_repeat_ngram,
            "min_new_tokens": min_new_tokens,
            "max_new_tokens": max_new_tokens,
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "seed": seed,
        }
        config = checked(Settings, Draft({"decode": settings}), "infill", ()).decode
        prompts = [self.prompt(text, f"text {i}") for i, text in enumerate(texts, 1)]
        fills = self.fill(prompts, range(1, len(prompts) + 1), config, choices, batch_size)
        tokenizer = self.text_tokenizer()
        return [insert(prompt, row, tokenizer) for prompt, row in zip(prompts, fills, strict=True)]

    def prompt(self, text: str, place: str) -> Prompt:
        """Lay one text out for `fill`; errors name the place."""
        return make_prompt(text, self.text_tokenizer(), self.config.max_positions, place)

    def fill(
        self,
        prompts: Sequence[Prompt],
        numbers: Sequence[int],
        config: DecodeConfig,
        choices: Sequence[str] | None,
        batch_size: int,
        ends: tuple[int, ...] = (),
    ) -> list[list[Fill]]:
        """The fills of each prompt; `numbers` are the places of the texts in their stream.

        Texts that are alike in blanks and length share a batch, so that few wait for others.
        """
        tokenizer = self.any_tokenizer()
        special, size = tokenizer.special, tokenizer.size
        order = sorted(
            range(len(prompts)), key=lambda i: (len(prompts[i].places), len(prompts[i].part_a))
        )
        fills: dict[int, list[Fill]] = {}
        with evaluating(self.module):
            for start in range(0, len(order), batch_size):
                members = order[start : start + batch_size]
                batch = [prompts[i] for i in members]
                if choices is not None:
                    filled = fill_with_choices(self.module, batch, tokenizer, choices)
                else:
                    rows = [numbers[i] for i in members]
                    filled = fill_blanks(self.module, batch, special, size, config, rows, ends)
                fills.update(zip(members, filled, strict=True))
        return [fills[i] for i in range(len(prompts))]

    def score(
        self,
        texts: Sequence[str],
        choices: Sequence[Sequence[str]],
        include_end: bool = False,
    ) -> list[list[float]]:
        """Sum of the log-probabilities of each choice's tokens in the blank of its text.

        Args:
            texts: each with exactly one blank.
            choices: for each text what could stand there, exactly as it would be written.
            include_end: count the end token after the choice as well.
        """
        if len(texts) != len(choices):
            what = f"{len(choices)} lists for {len(texts)} texts; give one each"
            raise InputError("choices", what)
        prompts = [self.prompt(text, f"text {i}") for i, text in enumerate(texts, 1)]
        tokenizer = self.text_tokenizer()
        with evaluating(self.module):
            return score_choices(self.module, prompts, tokenizer, choices, include_end=include_end)

    def save(self, folder: str | Path) -> Path:
        """Write a model folder: safetensors, config.toml, the tokenizer's files, manifest.json."""
        weights, parts = apart(self.module.state_dict())
        heads = {**self.heads, **parts}
        stored = replace(self, tensors=weights, heads=heads, provenance={"source": self.source})
        return write_model_folder(Path(folder), stored)

    def text_tokenizer(self) -> Tokenizer:
        """The tokenizer, when this model can work on blanks in text."""
        if self.objective is not None and self.objective.sentinel:
            raise InputError(
                self.source,
                "was trained with a mask and a start token for each blank (objective.sentinel); "
                "filling such blanks is not offered; its logits and losses are",
            )
        if self.config.attention == "causal":
            answers = "`glmctl infill --chat` answers messages with it, and "
            raise InputError(
                self.source,
                "is a causal model: what stands behind a blank cannot be seen, so blanks cannot be "
                f"filled; {answers if self.tokenizer else ''}it continues ids and gives logits and "
                "losses",
            )
        if self.config.position not in HAS_SPANS:
            raise InputError(
                self.source,
                f"its positions are '{self.config.position}'; blanks need 'learned_2d' or "
                "'rotary_2d', a place in the text and one in the span",
            )
        return self.any_tokenizer()

    def scoring_tokenizer(self) -> Tokenizer:
        """The tokenizer, when answers can be scored: a causal model scores what goes on."""
        is_causal = self.config.attention == "causal"
        return self.any_tokenizer() if is_causal else self.text_tokenizer()

    def any_tokenizer(self) -> Tokenizer:
        """The tokenizer, when there is one."""
        if self.tokenizer is None:
            lacks = "has no tokenizer"
            if self.unread_tokenizer:
                files = ", ".join(self.unread_tokenizer)
                lacks = f"holds {files} of a family that is not read with a release"
            raise InputError(
                self.source,
                f"{lacks}, so text cannot be read; use logits() and loss() on ids, or a "
                "model folder with a tokenizer",
            )
        return self.tokenizer

    @property
    def reader(self) -> Reader:
        return Reader(self.config, self.layout, lambda: self.text_tokenizer().special)


@contextmanager
def evaluating(module: GLM) -> Iterator[None]:
    """Without dropout and without gradients; afterwards as before."""
    was_training = module.training
    module.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        module.train(was_training)


def load(
    path_or_name: str | Path,
    model: str | None = None,
    device: str = "cpu",
    dtype: str | None = None,
) -> Glm:
    """Open a model; nothing in it is unpickled.

    Args:
        path_or_name: a model folder, a run folder or one of its checkpoints, a checkpoint of the
            original GLM code (a folder or a `.pt` file), a folder of the hub's GLM, ChatGLM or
            GLM-4, the built-in name glmctl-default, or hf:ORG/NAME or hf:ORG/NAME@REVISION, which
            is fetched.
        model: a recipe or `config.json` with the sizes, for formats that do not hold their own;
            for the folder of a learned prefix alone, the model that it was trained with.
        device: cpu or cuda.
        dtype: float32, float64, bfloat16 or float16; left out: as stored. In float32 and float64 a
            quantized model becomes a plain one with its dequantized weights.
    """
    if dtype is not None and dtype not in DTYPES:
        raise UsageError("dtype", f"'{dtype}' is not known; use one of {', '.join(DTYPES)}")
    found = find(path_or_name, model)
    wanted = None if dtype is None else DTYPES[dtype]
    if wanted in (torch.float32, torch.float64):
        found = without_integers(found)
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise MachineError(f"device {device}", "this machine has no usable GPU; use cpu")
    module = build(found, str(path_or_name))
    module.to(device=device, dtype=wanted)
    kept = {**vars(found), "tensors": {}, "source": found.source or str(path_or_name)}
    return Glm(**kept, module=module.eval())


def without_integers(found: Found) -> Found:
    """The model with the float32 weights that its integers stand for; a plain one as it is."""
    if found.quantize is None:
        return found
    tensors = dequantized(found.tensors, found.quantize.bits, torch.float32)
    return replace(found, tensors=tensors, quantize=None)


class WithoutInit(TorchFunctionMode):
    """Leaves new weights undrawn: drawing them on the meta device loads torch's compiler."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func in (nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_):
            return None
        return func(*args, **(kwargs or {}))


def build(found: Found, place: str) -> GLM:
    """Give a model the tensors, which must be exactly those that it needs."""
    with torch.device("meta"), WithoutInit():
        module = GLM(found.config)
        if found.quantize is not None:
            swap_linears(module, found.tensors, found.quantize.bits)
    needed = module.state_dict()
    problems = [f"tensor {name} is unknown" for name in found.tensors if name not in needed]
    for name, like in needed.items():
        ours = found.tensors.get(name)
        if ours is None:
            problems.append(f"tensor {name} is missing")
            continue
        if ours.shape != like.shape:
            shapes = f"{tuple(ours.shape)}, the model needs {tuple(like.shape)}"
            problems.append(f"tensor {name} is {shapes}")
        if ours.is_floating_point() != like.is_floating_point():
            problems.append(f"tensor {name} is {ours.dtype}, the model needs {like.dtype}")
    if found.tokenizer is not None and found.tokenizer.size > module.word_embedding.num_embeddings:
        problems.append(
            f"the tokenizer has {found.tokenizer.size:,} ids and the model "
            f"{module.word_embedding.num_embeddings:,} rows; use the tokenizer it was trained with"
        )
    if problems:
        raise InputError(place, *problems)
    module.load_state_dict(found.tensors, assign=True)
    module.counts_in_span = found.objective is None or found.objective.second_position
    return module
