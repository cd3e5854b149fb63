"""Causal models of `transformers` that are no GLM: baselines, scored as a causal GLM is.

Their own code runs, never code of the folder, and weights are read from safetensors only. A text
begins with the token that begins texts or, where a model has none, with the one that ends them.

Shapes: T packed tokens, M wanted rows, H hidden, V vocabulary rows.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from glmctl.core.checkpoint.dialects.detect import dialects
from glmctl.core.checkpoint.durable import read_json
from glmctl.core.checkpoint.find import place_of
from glmctl.core.checkpoint.folder import is_model_folder
from glmctl.core.checkpoint.release import CONFIG_FILE
from glmctl.core.model.cache import KeyValueCache
from glmctl.core.model.glm import GLM
from glmctl.core.model.sight import Segments
from glmctl.core.open import Glm, load
from glmctl.core.tokenizer.base import IntArray, Tokenizer, Vocabulary
from glmctl.core.tokenizer.special import SpecialTokens
from glmctl.errors import InputError, UsageError
from glmctl.recipe.model import ModelConfig, TokenizerConfig

NO_TOKEN = -1  # no text holds it
USUAL_LENGTH = 2048  # tokens, of a model whose configuration names no limit
ANCHOR = "\n"
ROUNDING = 1e-5


class Baseline(GLM):
    """A model of another family, as far as scoring needs it: logits stand for hidden states."""

    def __init__(self, model: nn.Module, kind: str) -> None:
        nn.Module.__init__(self)
        self.model = model
        self.kind = kind
        self.head = self.prompt = None
        self.word_embedding = model.get_input_embeddings()  # type: ignore[operator]

    def hidden(
        self,
        input_ids: Tensor,
        position_ids: Tensor,
        segments: Segments,
        wanted: Tensor | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """Each sample by itself: [M, V] where rows are wanted, else its last states, [T, H]."""
        found = []
        rows = input_ids.split(segments.lengths)
        for start, row in zip(segments.starts, rows, strict=True):
            given = self.model(row[None], output_hidden_states=wanted is None, use_cache=False)
            if wanted is None:
                found.append(given.hidden_states[-1][0])
            else:
                here = wanted[(wanted >= start) & (wanted < start + len(row))] - start
                found.append(given.logits[0, here])
        return torch.cat(found)

    def logits(self, hidden: Tensor) -> Tensor:
        return hidden.float()


class TheirVocabulary:
    """The tokens of another tokenizer; those that control a model are text in a text."""

    is_lossless = False

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        first = tokenizer.convert_ids_to_tokens(self.ids_of("x"))[:1]
        self.anchor = self.ids_of(ANCHOR) if first[0].startswith("\u2581") else []
        """Of a tokenizer that puts a space in front: what is encoded ahead, so that it does not."""

    def ids_of(self, text: str) -> list[int]:
        given = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)
        return [*given["input_ids"]]

    def encode_batch(self, texts: Sequence[str]) -> list[IntArray]:
        return [np.array(self.encode(text), np.int32) for text in texts]

    def encode(self, text: str) -> list[int]:
        length = len(self.anchor)
        anchored = self.ids_of(ANCHOR + text) if length else []
        if length and anchored[:length] == self.anchor:
            return anchored[length:]
        return self.ids_of(text)


def open_any(model: str, device: str, dtype: str | None) -> Glm:
    """As `load`; of another family, what can be scored.

    Raises:
        InputError: it is no causal model, or is not whole.
        UsageError: the package that runs it is missing.
    """
    place = place_of(model)
    values: dict[str, Any] = {}
    if (place / CONFIG_FILE).is_file() and not is_model_folder(place):
        values = read_json(place / CONFIG_FILE, "fetch the folder again")
    kind = values.get("model_type")
    if kind is None or kind in {dialect.model_type for dialect in dialects()}:
        return load(model, device=device, dtype=dtype)
    try:
        import transformers
    except ImportError:
        problem = f"is a {kind}, no GLM; to score it, pip install 'glmctl[transformers]'"
        raise UsageError(model, problem) from None
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    given: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    weights = {"use_safetensors": True, "output_loading_info": True, "dtype": dtype or "auto"}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(place, **given)
        module, about = transformers.AutoModelForCausalLM.from_pretrained(place, **given, **weights)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0]
        problem = f"is a {kind}, which transformers does not open as a causal model: {first}"
        raise InputError(model, problem) from None
    if missing := sorted(about["missing_keys"]):
        raise InputError(model, f"lacks {missing[0]}, so it foretells nothing; take another folder")
    module.to(device).eval()
    if not is_causal(module, device):
        raise InputError(model, f"is a {kind} that sees what follows; its scores mean nothing")
    config = module.config.get_text_config()
    limit = getattr(config, "max_position_embeddings", None)  # some have no such limit
    sizes = ModelConfig(
        num_layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        num_attention_heads=config.num_attention_heads,
        max_positions=limit or min(tokenizer.model_max_length, USUAL_LENGTH),
        attention="causal",
    )
    return Glm(
        sizes, {}, their_tokenizer(tokenizer, place), source=model, module=Baseline(module, kind)
    )


@torch.inference_mode()
def is_causal(module: nn.Module, device: str) -> bool:
    """Whether a token changes nothing before it."""
    logits = module(torch.tensor([[0, 1], [0, 2]], device=device)).logits[:, 0]
    return bool((logits[0] - logits[1]).abs().max() <= ROUNDING * logits.abs().max())


def their_tokenizer(tokenizer: Any, place: Path) -> Tokenizer:
    """Their tokenizer in the frame of ours, which then puts one token in front of a text."""
    ends = tokenizer.eos_token_id
    begins = ends if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    if begins is None:
        raise InputError(str(place), "has no token that begins or ends a text")
    unknown = tokenizer.unk_token_id
    special = SpecialTokens(
        pad=NO_TOKEN,
        eos=begins if ends is None else ends,
        sep=NO_TOKEN,
        cls=begins,
        mask=NO_TOKEN,
        unk=NO_TOKEN if unknown is None or unknown in (begins, ends) else unknown,
        sop=NO_TOKEN,
        eop=NO_TOKEN,
        smask=None,
        gmask=None,
        noise=None,
        sentinel_masks=(),
        sentinel_starts=(),
        strings={},
    )
    vocabulary = cast(Vocabulary, TheirVocabulary(tokenizer))
    config = TokenizerConfig(kind="tokenizer_json", path=str(place))
    return Tokenizer(vocabulary, special, len(tokenizer), config)
