"""Models of other families as baselines, against the log-probabilities of transformers itself."""

import json
import shutil
import sys

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertLMHeadModel,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from glmctl.core.decode.score import Candidate
from glmctl.core.tasks.answer import answer, ask_all
from glmctl.core.tasks.ask import Asker
from glmctl.core.tasks.association import means
from glmctl.core.tasks.foreign import open_any
from glmctl.core.tasks.read import Example, Rows
from glmctl.core.tasks.schema import TaskConfig
from glmctl.errors import InputError, UsageError

TEXT = ["The bakery opens at six.", "The cat sleeps in the window.", "Is it warm? It was good."]
SIZES = {"gpt2": (GPT2Config, GPT2LMHeadModel), "llama": (LlamaConfig, LlamaForCausalLM)}


def save_tokenizer(folder, kind):
    tokenizer = Tokenizer(models.BPE(unk_token=None if kind == "gpt2" else "<unk>"))
    if kind == "gpt2":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        special, alphabet = ["<|endoftext|>"], pre_tokenizers.ByteLevel.alphabet()
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        special, alphabet = ["<unk>", "<s>", "</s>"], ["\n"]
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    names = {"bos_token": special[-2:][0], "eos_token": special[-1]}
    if kind == "llama":
        names["unk_token"] = "<unk>"
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    return tokenizer.get_vocab_size()


@pytest.fixture(scope="module", params=SIZES)
def folder(request, tmp_path_factory):
    place = tmp_path_factory.mktemp(request.param)
    rows = save_tokenizer(place, request.param)
    config, model = SIZES[request.param]
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(1)
    whole = config(vocab_size=rows, max_position_embeddings=64, **sizes)
    if request.param == "llama":
        whole.intermediate_size = 64
    module = model(whole)
    for weight in module.parameters():
        weight.data.normal_(0, 0.3)
    module.save_pretrained(place)
    return place


def theirs(folder, text, answer):
    """Log-probability of an answer behind a text, whole texts encoded as transformers does."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    start = tokenizer.convert_tokens_to_ids([tokenizer.bos_token])
    # The text stands behind a line break: a tokenizer that adds a space there adds none to it.
    break_ids = tokenizer("\n", add_special_tokens=False)["input_ids"]
    first, both = (
        start + tokenizer("\n" + it, add_special_tokens=False)["input_ids"][len(break_ids) :]
        for it in (text, text + answer)
    )
    with torch.inference_mode():
        log_probs = module(torch.tensor([both])).logits[0].log_softmax(-1)
    return sum(log_probs[i - 1, both[i]].item() for i in range(len(first), len(both)))


def asked(folder, task, fields, golds=("0",)):
    glm = open_any(str(folder), "cpu", "float32")
    asker = Asker(task, glm.scoring_tokenizer(), glm.config)
    examples = (Example("file:1", (1,), (1,), fields, (), golds),)
    questions, problems = ask_all(asker, Rows(examples, ()))
    assert problems == []
    return asker, answer(glm.module, asker, questions, id)[0]


def test_words_are_scored_as_transformers_scores_them_with_what_follows(folder):
    task = TaskConfig(
        name="own", patterns=["{text} It was [MASK] Yes"], verbalizer={"1": "good", "0": "warm"}
    )
    asker, it = asked(folder, task, {"text": TEXT[0]})
    assert asker.scored_by == "log-probability of the word and what follows it"
    for label, word in (("1", " good Yes"), ("0", " warm Yes")):
        expected = theirs(folder, f"{TEXT[0]} It was", word)
        assert it.scores[label] == pytest.approx(expected, abs=1e-4)


def test_sentences_and_texts_stand_behind_the_token_that_begins_a_text(folder, builtin):
    good, bad = TEXT[1], "The cat sleep in the window."
    _, it = asked(folder, builtin("blimp"), {"good": good, "bad": bad})
    for text in (good, bad):
        assert it.scores[text] == pytest.approx(theirs(folder, "", text), abs=1e-4)
    _, it = asked(folder, builtin("language-model"), {"text": good}, ())
    # Every token but the first, which is the "T" or "The" that both sentences begin with.
    first = it.evidence.log_prob - theirs(folder, "", good)
    known = open_any(str(folder), "cpu", None).tokenizer.encode(good, special=False)
    start = good[: len(good) - len(good.removeprefix("The"))]
    assert it.evidence.num_tokens == len(known) - 1
    assert first == pytest.approx(-theirs(folder, "", start), abs=1e-4)


def test_hidden_states_stand_for_texts(folder):
    glm = open_any(str(folder), "cpu", "float32")
    ids = [glm.tokenizer.special.cls, *glm.tokenizer.encode(TEXT[1], special=False)]
    module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        expected = module(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0]
        found = means(glm.module, [Candidate(tuple(ids), (), None, ())])
    assert found[0] == pytest.approx(expected.double().mean(0).numpy(), abs=1e-5)


def test_control_strings_in_a_text_are_text(folder):
    glm = open_any(str(folder), "cpu", None)
    special = glm.tokenizer.special
    text = "a<|endoftext|></s>b"
    assert not {special.cls, special.eos} & {*glm.tokenizer.encode(text, special=False)}


@pytest.fixture
def damaged(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "model")
    return tmp_path / "model"


def test_pickled_weights_and_code_of_the_folder_are_refused(damaged):
    (damaged / "model.safetensors").rename(damaged / "pytorch_model.bin")
    with pytest.raises(InputError, match="does not open as a causal model"):
        open_any(str(damaged), "cpu", None)
    config = json.loads((damaged / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoModelForCausalLM": "code.Model"}}
    (damaged / "config.json").write_text(json.dumps(config))
    (damaged / "code.py").write_text("raise SystemExit(9)")
    with pytest.raises(InputError, match="is a own, which transformers does not open"):
        open_any(str(damaged), "cpu", None)


def test_a_model_that_sees_what_follows_is_refused(damaged):
    config = BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=320)
    torch.manual_seed(1)
    BertLMHeadModel(config).save_pretrained(damaged)
    with pytest.raises(InputError, match="is a bert that sees what follows"):
        open_any(str(damaged), "cpu", None)
    BertModel(config).save_pretrained(damaged)
    with pytest.raises(InputError, match="lacks cls"):
        open_any(str(damaged), "cpu", None)


def test_the_missing_package_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UsageError, match=r"no GLM; to score it, pip install 'glmctl\[transformers"):
        open_any(str(folder), "cpu", None)
