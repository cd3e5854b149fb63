"""A tokenizer of which each token is a character, so that tests read what a model would."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest

from glmctl.core.tasks.ask import Asker, Question
from glmctl.core.tasks.find import find_suite
from glmctl.core.tasks.read import Example, examples_of
from glmctl.core.tasks.schema import TaskConfig
from glmctl.recipe.model import ModelConfig

FIRST = 0x110000  # no character
SPECIAL = {"[CLS]": FIRST, "[MASK]": FIRST + 1, "<eos>": FIRST + 2, "<eop>": FIRST + 3}


class CharTokenizer:
    config = SimpleNamespace(special="glmctl")
    special = SimpleNamespace(
        cls=FIRST, eos=FIRST + 2, eop=FIRST + 3, mask=FIRST + 1, strings=SPECIAL
    )

    def encode(self, text: str, *, special: bool) -> list[int]:
        assert not special
        return [*map(ord, text)]


def sizes(max_positions: int) -> ModelConfig:
    """A GLM of this length; nothing else of it is read."""
    return ModelConfig(
        num_layers=1, hidden_size=8, num_attention_heads=1, max_positions=max_positions
    )


def read_ids(ids: Sequence[int]) -> str:
    names = {token: name for name, token in SPECIAL.items()}
    return "".join(names.get(token) or chr(token) for token in ids)


@pytest.fixture
def characters() -> CharTokenizer:
    return CharTokenizer()


@pytest.fixture
def sized() -> Callable[[int], ModelConfig]:
    return sizes


@pytest.fixture
def text_of() -> Callable[[Sequence[int]], str]:
    return read_ids


@pytest.fixture
def builtin() -> Callable[[str], TaskConfig]:
    def find(name: str) -> TaskConfig:
        suite, names = find_suite(name)
        (task,) = suite.choose(names)
        return task

    return find


@pytest.fixture
def ask() -> Callable[..., list[Question]]:
    """Lays the examples of a record out."""

    def lay_out(task: TaskConfig, record: dict, max_positions: int = 10_000) -> list[Question]:
        whole = task.model_copy(update={"max_length": max_positions})
        asker = Asker(whole, CharTokenizer(), sizes(max_positions))
        examples: list[Example] = [*examples_of(record, task, "file:1", 1)]
        return [asker.ask(example) for example in examples]

    return lay_out
