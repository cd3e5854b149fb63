"""The GLM: one class for the family, configured and never subclassed.

A batch is packed: the tokens of all samples stand one after another without padding, and
`Segments` says where each sample and its Part A end. Training, scoring and decoding all run
`hidden`; logits are made only for the rows that somebody wants.

Shapes: T tokens of all samples, M wanted rows, R rows of a cache, H hidden, V vocabulary rows.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from glmctl.core.model.block import Block, make_norm
from glmctl.core.model.cache import KeyValueCache
from glmctl.core.model.heads import Aim, Classes, exact_logits, summed_cross_entropy
from glmctl.core.model.init import init_weights
from glmctl.core.model.position import RelativePositions, RotaryPositions
from glmctl.core.model.prompt import ClassificationHead, PromptEncoder
from glmctl.core.model.sight import Segments, Sight
from glmctl.recipe.model import ModelConfig


class GLM(nn.Module):
    """Autoregressive blank infilling over a Transformer; `vocab_rows` of it is filled in."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        assert config.vocab_rows is not None
        self.config = config
        self.dropout = config.dropout
        self.recomputes = False
        """Keep the input of each layer only, and compute the rest again in backward."""
        self.counts_in_span = True
        """False: the place inside a span is 1 everywhere, as `objective.second_position` says."""
        width, places = config.hidden_size, config.max_positions
        self.word_embedding = nn.Embedding(config.vocab_rows, width)
        self.position_embedding: nn.Embedding | None = None
        self.span_position_embedding: nn.Embedding | None = None
        self.relative: RelativePositions | None = None
        self.rotary: RotaryPositions | None = None
        if config.position == "learned_2d":
            self.position_embedding = nn.Embedding(places + 1, width)
            self.span_position_embedding = nn.Embedding(places + 1, width)
        elif config.position == "learned_1d":
            self.position_embedding = nn.Embedding(places, width)
        elif config.position == "relative_xl":
            self.relative = RelativePositions(config)
        else:
            self.rotary = RotaryPositions(config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.final_norm = make_norm(config)
        self.output_embedding: nn.Embedding | None = None
        if not config.tie_embeddings:
            self.output_embedding = nn.Embedding(config.vocab_rows, width)
        self.prompt: PromptEncoder | None = None
        """Learned vectors that stand where an id is below zero."""
        self.head: ClassificationHead | None = None
        """Scores classes, where a task is not answered in words."""

    def attach(self, heads: Mapping[str, Tensor]) -> None:
        """Use the head and the prompt encoder among the heads of a checkpoint.

        Raises:
            RuntimeError: a part of them is missing, or has another shape.
        """
        if "prompt.embedding.weight" in heads:
            self.prompt = PromptEncoder.of(heads).to(self.word_embedding.weight)
        if "classes.weight" in heads:
            self.head = ClassificationHead.of(heads).to(self.word_embedding.weight)

    @property
    def output_weight(self) -> Tensor:
        """What hidden states are multiplied by to give logits, [V, H]."""
        return (self.output_embedding or self.word_embedding).weight

    def init_weights(self, seed: int) -> None:
        """Draw every weight from the law of the released models."""
        init_weights(self, self.config, seed)

    def compile_parts(self) -> None:
        """Compile what does not depend on the shapes of the samples: the feed-forward parts."""
        for block in self.blocks:
            block.get_submodule("ffn").compile(dynamic=True)

    def embed(self, input_ids: Tensor, position_ids: Tensor) -> Tensor:
        """Word, place in Part A and place in the span, summed: [T] and [2, T] -> [T, H]."""
        if self.prompt is None:
            x = self.word_embedding(input_ids)
        else:
            x = self.prompt.put_into(self.word_embedding(input_ids.clamp(min=0)), input_ids)
        if self.position_embedding is not None:
            x = x + self.position_embedding(position_ids[0])
        if self.span_position_embedding is not None:
            in_span = position_ids[1] if self.counts_in_span else position_ids[1].clamp(max=1)
            x = x + self.span_position_embedding(in_span)
        return F.dropout(x, self.dropout, self.training)

    def hidden(
        self,
        input_ids: Tensor,
        position_ids: Tensor,
        segments: Segments,
        wanted: Tensor | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """Run all layers over packed samples.

        Args:
            input_ids: Part A and Part B of each sample, [T]; -1 - k is vector k of the prompt.
            position_ids: place in Part A and place inside the span, [2, T].
            segments: lengths of the samples and of their Part A, which only a model of
                `prefix` attention reads.
            wanted: rows whose result is needed, ascending, [M]; None for all.
            cache: a fresh one takes the keys and values of sample r into its row r.

        Returns:
            Hidden states after the final norm, [M, H], or [T, H] without `wanted`.
        """
        x = self.embed(input_ids, position_ids)
        segments = self.visible(segments)
        num_prefix = self.config.num_prefix_tokens
        all_rows = Sight(segments, None, x, num_prefix)
        positions = self.relative if self.rotary is None else self.rotary(position_ids)
        # The distance scores of a block need the query of the next row, wanted or not.
        last_rows = None if self.relative is not None else wanted
        for i, block in enumerate(self.blocks):
            is_last = i == len(self.blocks) - 1 and last_rows is not None
            sight = Sight(segments, last_rows, x, num_prefix) if is_last else all_rows
            layer = None if cache is None else cache.layer(i)
            arguments = (x, sight, last_rows if is_last else None, positions, layer)
            if self.recomputes and torch.is_grad_enabled():
                x = checkpoint(block, *arguments, use_reentrant=False)
            else:
                x = block(*arguments)
        if cache is not None:
            cache.lengths = [num_prefix + length for length in segments.lengths]
        if self.relative is not None and wanted is not None:
            x = x[wanted]
        return self.final_norm(x)  # type: ignore[no-any-return]

    def visible(self, segments: Segments) -> Segments:
        """The samples, with as much Part A as the attention of this model lets rows see."""
        if self.config.attention == "prefix":
            return segments
        assert segments.pieces is None, "pieces share a Part A, which only prefix attention has"
        is_causal = self.config.attention == "causal"
        part_a = (0,) * len(segments.lengths) if is_causal else segments.lengths
        return Segments(segments.lengths, part_a)

    def step(self, input_ids: Tensor, position_ids: Tensor, cache: KeyValueCache) -> Tensor:
        """Append one token to every beam of the cache: [R x K] and [2, R x K] -> [R x K, H]."""
        assert self.relative is None, "relative positions have no cache"
        x = self.embed(input_ids, position_ids)
        turns = None if self.rotary is None else self.rotary(position_ids)
        places = cache.next_places()
        for i, block in enumerate(self.blocks):
            x = block.step(x, turns, cache.layer(i, places))  # type: ignore[operator]
        return self.final_norm(x)  # type: ignore[no-any-return]

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of all vocabulary rows in float32 or better, [M, H] -> [M, V]."""
        return exact_logits(hidden, self.output_weight)

    def loss(
        self,
        input_ids: Tensor,
        position_ids: Tensor,
        segments: Segments,
        wanted: Tensor,
        target_ids: Tensor,
        choices: Aim | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy at the wanted rows, or over the candidates of questions.

        Args:
            input_ids, position_ids, segments, wanted: as for `hidden`.
            target_ids: what each wanted row should predict, [M]; with `choices`, those of all
                candidates.
            choices: what the targets are of, when candidates or classes compete or answers are
                written.

        Returns:
            The sum, through which gradients flow, and the single losses, which carry none: one for
            each wanted row, or for each question.
        """
        hidden = self.hidden(input_ids, position_ids, segments, wanted)
        if isinstance(choices, Classes):
            assert self.head is not None
            return choices.cross_entropy(self.head(hidden))
        if choices is not None:
            return choices.cross_entropy(hidden, self.output_weight, target_ids)
        return summed_cross_entropy(hidden, self.output_weight, target_ids)

    forward = loss  # what wrappers of a module, as those of replicas, call
