"""Learned vectors in the place of words (P-tuning), and a head that scores classes.

Shapes: P vectors of a prompt, T packed tokens, M rows, H hidden.
"""

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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

    def put_into(self, words: Tensor, input_ids: Tensor) -> Tensor:
        """Words with vector number k in the place of each id -1 - k, [T, H] and [T] -> [T, H]."""
        is_vector = input_ids < 0
        if not is_vector.any():
            return words
        vectors = self()[-1 - input_ids[is_vector]]
        return words.index_put((is_vector,), vectors.to(words.dtype))

    def forward(self) -> Tensor:
        """[P, H]."""
        vectors = self.embedding.weight
        with torch.autocast(vectors.device.type, enabled=False):  # few rows, and not all LSTMs do
            if self.lstm is not None:
                vectors, _ = self.lstm(vectors)  # [P, 2 H]
            if self.first is None:
                return vectors
            return self.second(F.relu(self.first(vectors)))  # type: ignore[no-any-return]


class ClassificationHead(nn.Module):
    """Scores of classes from one hidden state of a sample; with one class it scores choices.

    Args:
        width: H.
        num_classes: 1 where each choice is a sample of its own.
        dropout: between the two linears.
    """

    def __init__(self, width: int, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout
        self.pool = nn.Linear(width, width)
        self.classes = nn.Linear(width, num_classes)

    @classmethod
    def of(cls, heads: Mapping[str, Tensor]) -> Self:
        """The head of a checkpoint."""
        num_classes, width = heads["classes.weight"].shape
        head = cls(width, num_classes)
        parts = ("pool.weight", "pool.bias", "classes.weight", "classes.bias")
        head.load_state_dict({name: heads[name] for name in parts if name in heads})
        return head.eval()

    def forward(self, hidden: Tensor) -> Tensor:
        """[M, H] -> [M, classes]."""
        pooled = F.dropout(torch.tanh(self.pool(hidden)), self.dropout, self.training)
        return self.classes(pooled)  # type: ignore[no-any-return]


def apart(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights of a model, and those of its head and prompt under the names of a checkpoint."""
    heads = {
        name.removeprefix("head."): tensor
        for name, tensor in tensors.items()
        if name.startswith(("head.", "prompt."))
    }
    return {n: it for n, it in tensors.items() if not n.startswith(("head.", "prompt."))}, heads
