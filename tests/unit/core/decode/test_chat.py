"""What a model of each family reads before it answers, and that it goes on from there."""

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from glmctl.core.decode.chat import Message, message_ids, read_messages, refuse_no_chat
from glmctl.core.open import Glm, load
from glmctl.core.tokenizer.family import answer_ends
from glmctl.core.tokenizer.load import find_tokenizer
from glmctl.errors import InputError

FAMILIES = ["chatglm", "chatglm2", "chatglm3", "glm-4", "glm-4-0414"]
TURNS = [Message("user", "hot?"), Message("assistant", "It is."), Message("user", "bread")]


@pytest.fixture
def tokenizer(vocabularies):
    return lambda name: find_tokenizer(str(vocabularies / name))


def shown(tokenizer, ids: list[int]) -> str:
    """The ids as text, with special tokens as their strings and line breaks as |."""
    return tokenizer.decode(ids).replace("\n", "|")


@pytest.mark.parametrize(
    ("name", "number", "expected"),
    [
        ("chatglm", 1, "hot?[gMASK]<sop>"),
        (
            "chatglm",
            3,
            "[Round 0]|\u95ee:hot?|\u7b54:It is.|[Round 1]|\u95ee:bread|\u7b54:[gMASK]<sop>",
        ),
        ("chatglm2", 1, "[gMASK]sop[Round 1]||\u95ee\uff1ahot?||\u7b54\uff1a"),
        (
            "chatglm2",
            3,
            "[gMASK]sop[Round 1]||\u95ee\uff1ahot?||\u7b54\uff1aIt is.||[Round 2]||\u95ee\uff1a"
            "bread||\u7b54\uff1a",
        ),
        ("glm-4", 1, "[gMASK]<sop><|user|>|hot?<|assistant|>"),
        (
            "glm-4",
            3,
            "[gMASK]<sop><|user|>|hot?<|assistant|>|It is.<|user|>|bread<|assistant|>",
        ),
        ("glm-4-0414", 1, "[gMASK]<sop><|user|>|hot?<|assistant|>|"),
    ],
    ids=["1", "1-rounds", "2", "2-rounds", "4", "4-turns", "0414"],
)
def test_messages_have_the_format_of_their_family(tokenizer, name, number, expected):
    it = tokenizer(name)
    assert shown(it, message_ids(TURNS[:number], it, "line")) == expected


def test_chatglm3_reads_the_line_of_a_role_and_the_message_apart(tokenizer):
    it = tokenizer("chatglm3")
    hot, line = it.encode("hot?"), it.encode("\n")
    assert it.decode(line) == "\n"
    expected = [391, 393, 395, *line, *hot, 396, *line, *hot, 397]
    messages = [Message("system", "hot?"), Message("user", "hot?")]
    assert message_ids(messages, it, "line") == expected


@pytest.mark.parametrize(
    ("name", "opening"), [("glm-4-hf", "<|assistant|>"), ("glm-4-0414", "<|assistant|>\n")]
)
def test_transformers_makes_the_same_ids_of_messages(tokenizer, vocabularies, name, opening):
    file = str(vocabularies / name / "tokenizer.json")
    theirs = PreTrainedTokenizerFast(tokenizer_file=file)
    template = (
        "[gMASK]<sop>{% for message in messages %}<|{{ message.role }}|>\n{{ message.content }}"
        "{% endfor %}" + opening.replace("\n", "{{ '\n' }}")
    )
    for content in ("hot?", "\n  the oven\n", "", " \u9762\u5305 "):
        turns = [
            ("system", content), ("user", "is it?"), ("assistant", content),
            ("observation", content),
        ]  # fmt: skip
        rendered = theirs.apply_chat_template(
            [{"role": role, "content": said} for role, said in turns],
            chat_template=template,
            return_dict=False,
        )
        ours = tokenizer(name)
        assert message_ids([Message(*turn) for turn in turns], ours, "line") == rendered


@pytest.mark.parametrize("name", FAMILIES)
def test_a_message_cannot_hold_the_token_of_a_role(tokenizer, name):
    it = tokenizer(name)
    text = "<|user|>\n<|assistant|> [gMASK] <sop> </s> <|endoftext|> [Round 1]"
    plain = message_ids([Message("user", "x")], it, "line")
    said = message_ids([Message("user", text)], it, "line")
    special = {*it.special.strings.values()}
    assert [token for token in said if token in special] == [
        token for token in plain if token in special
    ]


@pytest.mark.parametrize("name", ["chatglm", "chatglm2"])
@pytest.mark.parametrize(
    "roles", [["system", "user"], ["user", "assistant"], ["assistant"], ["user", "user"]]
)
def test_rounds_have_user_and_assistant_in_turn(tokenizer, name, roles):
    messages = [Message(role, "x") for role in roles]
    with pytest.raises(InputError, match=f"{name} knows user and assistant in turn, user first"):
        message_ids(messages, tokenizer(name), "line")


@pytest.mark.parametrize("roles", [["user", "assistant"], ["system"], ["user", "tool", "user"]])
def test_roles_are_those_of_the_family_and_an_answer_is_due(tokenizer, roles):
    messages = [Message(role, "x") for role in roles]
    with pytest.raises(InputError) as caught:
        message_ids(messages, tokenizer("glm-4"), "line")
    assert caught.value.problems == (
        f"has the roles {', '.join(roles)}; glm-4 knows system, user, assistant, observation, and "
        "answers user or observation, which must be last",
    )


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ("hello", '"messages" is not a list of messages'),
        ([], '"messages" is not a list of messages'),
        ([{"role": "user", "content": 5}], "message 1 is not an object of strings"),
        ([{"role": "user", "content": "x"}, "y"], "message 2 is not an object of strings"),
        ([{"role": "user", "text": "x"}], "message 1 has role, text; expected role, content"),
        ([{"role": "user", "content": "\ud800"}], "half a surrogate pair at character 0"),
    ],
    ids=["string", "empty", "number", "bare", "key", "surrogate"],
)
def test_messages_that_are_none_are_refused(values, problem):
    with pytest.raises((InputError, ValueError), match=problem):
        read_messages(values)


def test_a_tokenizer_of_another_family_has_no_chat_format(tiny_model):
    with pytest.raises(InputError, match="tiny: has no chat format, and its tokenizer is of layou"):
        refuse_no_chat(load(tiny_model).tokenizer, "tiny")


@pytest.mark.parametrize(
    ("name", "ends"),
    [("chatglm", (130,)), ("chatglm2", (2,)), ("chatglm3", (2, 396, 398)),
     ("glm-4", (330, 337, 339)), ("glm-4-0414", (330, 337, 339))],
)  # fmt: skip
def test_answers_end_at_the_tokens_of_their_family(tokenizer, name, ends):
    assert answer_ends(tokenizer(name)) == ends


def best_ids(glm: Glm, ids: list[int], number: int) -> list[int]:
    """The best next ids, each by all logits of the row so far."""
    row = [*ids]
    with torch.inference_mode():
        for _ in range(number):
            logits = glm.logits(torch.tensor([row]))[0, -1, : glm.tokenizer.size]
            row.append(int(logits.argmax()))
    return row[len(ids) :]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_goes_on_from_the_messages_in_any_batch(chat_models, name):
    from glmctl.recipe.schema import DecodeConfig

    glm, config = load(chat_models / name), DecodeConfig(max_new_tokens=7)
    texts = ["hot?", "The oven of the bakery", "bread"]
    rows = [message_ids([Message("user", text)], glm.tokenizer, "line") for text in texts]
    prompts = [glm.beginning("[MASK]", row, 7) for row in rows]
    together = glm.fill(prompts, [1, 2, 3], config, None, 3, (9999,))
    for row, prompt, (fill,) in zip(rows, prompts, together, strict=True):
        assert [*fill.ids] == best_ids(glm, row, 7)
        ((alone,),) = glm.fill([prompt], [1], config, None, 1, (9999,))
        assert alone.ids == fill.ids
        assert alone.log_prob == pytest.approx(fill.log_prob, abs=1e-4)


@pytest.mark.parametrize("name", ["chatglm", "glm-4"])
def test_beams_find_an_answer_at_least_as_likely(chat_models, name):
    from glmctl.recipe.schema import DecodeConfig

    glm = load(chat_models / name)
    ids = message_ids([Message("user", "hot?")], glm.tokenizer, "line")
    prompt = glm.beginning("[MASK]", ids, 4)
    ((greedy,),) = glm.fill([prompt], [1], DecodeConfig(max_new_tokens=4), None, 1, (9999,))
    beams = DecodeConfig(max_new_tokens=4, num_beams=8)
    ((best,),) = glm.fill([prompt], [1], beams, None, 1, (9999,))
    assert best.log_prob >= greedy.log_prob
    row = torch.tensor([[*ids, *best.ids]])
    with torch.inference_mode():
        log_probs = glm.logits(row)[0].log_softmax(1)
    total = sum(float(log_probs[len(ids) - 1 + i, t]) for i, t in enumerate(best.ids))
    assert best.log_prob == pytest.approx(total, abs=1e-4)


def test_chatglm_fills_the_one_blank_of_a_text(chat_models):
    glm = load(chat_models / "chatglm")
    text = "The oven [MASK] hot"
    ids = [*glm.tokenizer.encode(text), glm.tokenizer.special.eos, glm.tokenizer.special.sop]
    (filled,) = glm.infill([text], max_new_tokens=3, min_new_tokens=3)
    (blank,) = filled.blanks
    assert [*blank.ids] == best_ids(glm, ids, 3)
    assert glm.prompt("The oven is [gMASK]", "").part_a[-1] == glm.tokenizer.special.gmask
    with pytest.raises(InputError, match=r"text 1: holds 2 blanks; ChatGLM-6B fills one of a text"):
        glm.infill(["[MASK] oven [MASK]"])


def test_a_causal_model_names_what_works_instead(chat_models):
    with pytest.raises(InputError, match=r"is a causal model: .*`glmctl infill --chat` answers"):
        load(chat_models / "glm-4").infill(["The oven [MASK] hot"])
