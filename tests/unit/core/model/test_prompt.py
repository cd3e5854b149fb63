"""Learned vectors in the place of words, and the head that scores classes."""

import math

import pytest
import torch

from glmctl.core.model.glm import GLM
from glmctl.core.model.heads import Classes
from glmctl.core.model.prompt import ClassificationHead, PromptEncoder, apart
from glmctl.core.model.sight import Segments
from glmctl.recipe.model import ModelConfig

WIDTH = 8
CONFIG = ModelConfig(
    num_layers=1, hidden_size=WIDTH, num_attention_heads=2, max_positions=8, vocab_rows=16
)


@pytest.fixture
def model() -> GLM:
    module = GLM(CONFIG)
    module.init_weights(seed=1)
    return module.eval()


def test_vectors_stand_where_ids_are_below_zero_and_words_elsewhere(model):
    model.prompt = PromptEncoder(2, WIDTH, has_lstm=False, has_linears=False)
    ids = torch.tensor([-2, 5, -1, 7])
    places = torch.stack([torch.arange(4), torch.zeros(4, dtype=torch.long)])
    found = model.embed(ids, places)
    words, vectors = model.word_embedding.weight, model.prompt.embedding.weight
    rows = torch.stack([vectors[1], words[5], vectors[0], words[7]])
    expected = rows + model.position_embedding.weight[:4] + model.span_position_embedding.weight[0]
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    assert torch.equal(vectors.grad, torch.ones(2, WIDTH))
    assert not words.grad[0].any()  # no word stood below a vector


def test_the_linears_and_the_lstm_make_the_vectors():
    mlp = PromptEncoder(3, WIDTH, has_lstm=False, has_linears=True)
    first, second = mlp.first, mlp.second
    expected = second(first(mlp.embedding.weight).clamp(min=0))
    torch.testing.assert_close(mlp(), expected)
    lstm = PromptEncoder(3, WIDTH, has_lstm=True, has_linears=True)
    before = lstm()[0]
    lstm.embedding.weight.data[2] += 1  # a vector sees those behind it
    assert not torch.equal(lstm()[0], before)


def test_a_head_pools_by_a_linear_and_tanh_and_drops_between():
    head = ClassificationHead(2, 1, dropout=0.5)
    for linear, weight in ((head.pool, torch.eye(2)), (head.classes, torch.ones(1, 2))):
        linear.weight.data, linear.bias.data = weight, torch.zeros(len(weight))
    hidden = torch.tensor([[0.5, -1.0]])
    expected = math.tanh(0.5) + math.tanh(-1.0)
    assert head.eval()(hidden).item() == pytest.approx(expected)
    torch.manual_seed(1)
    drawn = {round(head.train()(hidden).item(), 4) for _ in range(30)}
    a, b = 2 * math.tanh(0.5), 2 * math.tanh(-1.0)
    assert drawn == {round(it, 4) for it in (0.0, a, b, a + b)}


def test_what_a_checkpoint_holds_beside_the_model_is_used_again(model):
    model.prompt = PromptEncoder(2, WIDTH, has_lstm=True, has_linears=True)
    model.head = ClassificationHead(WIDTH, 3)
    weights, heads = apart(model.state_dict())
    assert {*weights} == {*GLM(CONFIG).state_dict()}
    assert {"pool.weight", "classes.bias", "prompt.embedding.weight"} <= {*heads}
    again = GLM(CONFIG)
    again.attach(heads)
    assert torch.equal(again.prompt(), model.prompt())
    assert torch.equal(again.head(torch.ones(1, WIDTH)), model.head(torch.ones(1, WIDTH)))
    with pytest.raises(RuntimeError, match=r"pool\.bias"):
        again.attach({name: it for name, it in heads.items() if name != "pool.bias"})


def test_classes_compete_within_their_question(model):
    classes = Classes(
        question=torch.tensor([0, 0, 1, 1, 1]),
        place=torch.tensor([0, 1, 0, 1, 2]),
        right=torch.tensor([1, 0]),
    )
    scores = torch.tensor([[1.0], [3.0], [0.0], [2.0], [2.0]], requires_grad=True)
    total, losses = classes.cross_entropy(scores)
    first = math.log(1 + math.exp(-2))
    second = math.log(1 + 2 * math.exp(2))
    assert losses.tolist() == pytest.approx([first, second])
    assert total.item() == pytest.approx(first + second)
    total.backward()
    assert scores.grad[1].item() == pytest.approx(1 / (1 + math.exp(-2)) - 1)


def test_the_loss_of_classes_is_that_of_the_head_at_the_wanted_rows(model):
    model.head = ClassificationHead(WIDTH, 2)
    ids = torch.arange(6)
    places = torch.stack([torch.arange(3).repeat(2), torch.zeros(6, dtype=torch.long)])
    segments, wanted = Segments((3, 3), (3, 3)), torch.tensor([0, 3])
    classes = Classes(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1]), torch.tensor([0, 1]))
    total, _ = model.loss(ids, places, segments, wanted, torch.tensor([]), classes)
    hidden = model.hidden(ids, places, segments)[[0, 3]]
    expected = -model.head(hidden).log_softmax(1)[[0, 1], [0, 1]].sum()
    torch.testing.assert_close(total, expected)
