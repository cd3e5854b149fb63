"""Whether two stored models compute the same, layer by layer and one layer in memory at a time.

Shapes: T tokens of all samples, M different ids among them, H hidden, V vocabulary rows.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from glmctl.core.checkpoint.folder import Found
from glmctl.core.checkpoint.write import computed_values
from glmctl.core.model.block import Block
from glmctl.core.model.glm import GLM
from glmctl.core.model.position import RelativePositions, Turns
from glmctl.core.model.sight import Segments, Sight
from glmctl.core.open import WithoutInit
from glmctl.core.quantization.swap import dequantized
from glmctl.errors import InputError
from glmctl.recipe.model import ModelConfig

SEED = 1234
NUM_TOKENS = 8  # of each of the two samples; half of it is Part A
ROWS_AT_ONCE = 8192  # of the output layer, widened to float32


class Samples(NamedTuple):
    """Seeded ids: one sample at the first places of the model, one at the last."""

    ids: Tensor  # [T]
    places: Tensor  # [2, T]
    segments: Segments


@torch.no_grad()
def refuse_difference(source: Found, result: Found, place: str) -> None:
    """Compare hidden states after every layer, and all logits, in float32 and to the bit."""
    samples = draw(source.config)
    if computed_values(source.config) != computed_values(result.config):
        raise InputError(place, "what was written is read as a model of other sizes or components")
    pairs = zip(states(source, samples), states(result, samples), strict=True)
    for (name, ours), (_, theirs) in pairs:
        if not torch.equal(ours, theirs):
            worst = (ours - theirs).abs().max().item()
            raise InputError(
                place,
                f"{name} of what was written differs by {worst:.3g} from that of the source; "
                "expected 0; nothing is kept",
            )


def draw(config: ModelConfig) -> Samples:
    """The samples on which a model of these sizes is compared."""
    length = min(NUM_TOKENS, config.max_positions)
    part_a = length // 2
    rows = config.vocab_rows or 0
    ids = torch.randint(rows, (2 * length,), generator=torch.Generator().manual_seed(SEED))
    in_span = torch.arange(length).sub(part_a - 1).clamp(min=0)
    place = torch.arange(length)
    if config.position in ("learned_2d", "rotary_2d"):
        place = place.where(in_span == 0, 0)
    far = config.max_positions - length
    places = torch.stack([torch.cat([place, place + far]), in_span.repeat(2)])
    return Samples(ids, places, Segments((length, length), (part_a, part_a)))


def states(found: Found, samples: Samples) -> Iterator[tuple[str, Tensor]]:
    """The hidden states after the embeddings and after each layer, [T, H]; the logits, [T, V]."""
    config, tensors = found.config, found.tensors
    used, ids = samples.ids.unique(return_inverse=True)  # [M], [T]
    shell = without_layers(found, used)
    x = shell.embed(ids, samples.places)
    yield "the embeddings", x
    positions = shell.relative if shell.rotary is None else shell.rotary(samples.places)
    segments = shell.visible(samples.segments)
    sight = Sight(segments, None, x, config.num_prefix_tokens)
    for number in range(config.num_layers):
        x = run_layer(found, number, x, sight, positions)
        yield f"layer {number}", x
    hidden = shell.final_norm(x)
    output = "word_embedding" if config.tie_embeddings else "output_embedding"
    parts = tensors[f"{output}.weight"].split(ROWS_AT_ONCE)
    yield "the logits", torch.cat([F.linear(hidden, widened(part)) for part in parts], 1)


def without_layers(found: Found, used: Tensor) -> GLM:
    """What surrounds the layers of a model, with a word embedding of some ids only."""
    sizes = {"num_layers": 1, "vocab_rows": len(used), "tie_embeddings": True}
    with torch.device("meta"), WithoutInit():
        shell = GLM(found.config.model_copy(update=sizes))
    words = "word_embedding.weight"
    outer = {
        name: widened(found.tensors[name])
        for name in shell.state_dict()
        if not name.startswith("blocks.") and name != words
    }
    outer[words] = widened(found.tensors[words][used])
    shell.load_state_dict(outer, strict=False, assign=True)
    shell.counts_in_span = found.objective is None or found.objective.second_position
    return shell.eval()


def run_layer(
    found: Found,
    number: int,
    x: Tensor,
    sight: Sight,
    positions: RelativePositions | Turns | None,
) -> Tensor:
    """One layer, whose float32 weights are gone afterwards, [T, H]."""
    lead = f"blocks.{number}."
    names = [name for name in found.tensors if name.startswith(lead)]
    weights = {name.removeprefix(lead): found.tensors[name] for name in names}
    if found.quantize is not None:
        weights = dequantized(weights, found.quantize.bits, torch.float32)
    for name in weights:
        weights[name] = widened(weights[name])
    with torch.device("meta"), WithoutInit():
        block = Block(found.config)
    block.load_state_dict(weights, assign=True)
    block.eval()
    return block(x, sight, None, positions, None)  # type: ignore[no-any-return]


def widened(tensor: Tensor) -> Tensor:
    """In float32, in memory of its own: kernels round otherwise where a file is mapped askew."""
    return tensor.to(torch.float32, copy=True)
