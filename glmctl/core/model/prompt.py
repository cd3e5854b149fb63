"""Learned vectors in the place of words (P-tuning), and what makes them.

Shapes: P vectors of a prompt, K places that they take, T packed tokens, H hidden.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Prompt:
    """Vectors [K, H] and the packed tokens whose words they replace, [K]."""

    tokens: Tensor
    vectors: Tensor

    def put_into(self, words: Tensor) -> Tensor:
        """[T, H] -> [T, H]."""
        return words.index_put((self.tokens,), self.vectors.to(words.dtype))


class PromptEncoder(nn.Module):
    """The vectors of a prompt: embeddings, which two linears or an LSTM before them may mix.

    Args:
        num_vectors: P.
        width: H.
        has_lstm: the vectors see each other, in both directions.
        has_linears: two linears make the vectors; they always follow an LSTM.
    """

    def __init__(self, num_vectors: int, width: int, *, has_lstm: bool, has_linears: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_vectors, width)
        self.lstm = nn.LSTM(width, width, 2, bidirectional=True) if has_lstm else None
        self.first: nn.Linear | None = None
        if has_linears:
            self.first = nn.Linear(2 * width if has_lstm else width, width)
            self.second = nn.Linear(width, width)

    @classmethod
    def of(cls, heads: Mapping[str, Tensor]) -> Self:
        """The encoder among the heads of a checkpoint, whose parts say what it is."""
        tensors = {
            name.removeprefix("prompt."): tensor
            for name, tensor in heads.items()
            if name.startswith("prompt.")
        }
        encoder = cls(
            *tensors["embedding.weight"].shape,
            has_lstm="lstm.weight_ih_l0" in tensors,
            has_linears="first.weight" in tensors,
        )
        encoder.load_state_dict(tensors)
        return encoder.eval()

    def forward(self) -> Tensor:
        """[P, H]."""
        vectors = self.embedding.weight
        if self.lstm is not None:
            vectors, _ = self.lstm(vectors)  # [P, 2 H]
        if self.first is None:
            return vectors
        return self.second(F.relu(self.first(vectors)))  # type: ignore[no-any-return]


def prompt_at(vectors: Tensor, tokens: Tensor) -> Prompt:
    """The same vectors [P, H] in every sample, whose places are given, [samples, P]."""
    return Prompt(tokens.flatten(), vectors.repeat(len(tokens), 1))


class ClassificationHead(nn.Module):
    """Scores of classes from one hidden state of a sample; with one class it scores choices."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.pool = nn.Linear(width, width)
        self.classes = nn.Linear(width, num_classes)

    @classmethod
    def of(cls, heads: Mapping[str, Tensor]) -> Self:
        """The head of a checkpoint."""
        num_classes, width = heads["classes.weight"].shape
        head = cls(width, num_classes)
        parts = ("pool.weight", "pool.bias", "classes.weight", "classes.bias")
        head.load_state_dict({name: heads[name] for name in parts})
        return head.eval()

    def forward(self, hidden: Tensor) -> Tensor:
        """[M, H] -> [M, classes]."""
        return self.classes(torch.tanh(self.pool(hidden)))  # type: ignore[no-any-return]
