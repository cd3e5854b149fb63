"""Messages in the format that each family of ChatGLM and GLM-4 was trained on.

ChatGLM-6B and ChatGLM2 know rounds of a question and an answer, written out as text; ChatGLM3 and
GLM-4 have a token for each role. What a message says is text whatever it looks like, so nobody can
write the token of a role into it. An answer is the fill of a single blank that has open ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from glmctl.core.data.text import reject_surrogates
from glmctl.core.decode.infill import Beginning
from glmctl.core.tokenizer.base import Tokenizer
from glmctl.errors import InputError

BLANK = "[MASK]"  # the text in which the answer stands
ROUNDS = {
    "chatglm": (0, "[Round {}]\n\u95ee\uff1a{}\n\u7b54\uff1a", "\n"),
    "chatglm2": (1, "[Round {}]\n\n\u95ee\uff1a{}\n\n\u7b54\uff1a", "\n\n"),
}
"""Number of the first round, a question, and what stands behind its answer."""
WITH_ROLES = ("chatglm3", "glm-4", "glm-4-0414")
ROLES = ("system", "user", "assistant", "observation")


@dataclass(frozen=True)
class Message:
    role: str
    content: str


@dataclass(frozen=True)
class Chat(Beginning):
    messages: tuple[Message, ...]


def read_messages(values: Any) -> tuple[Message, ...]:
    if not isinstance(values, list) or not values:
        raise InputError("line", '"messages" is not a list of messages')
    messages = []
    for number, value in enumerate(values, 1):
        if not isinstance(value, dict) or {*map(type, value.values())} != {str}:
            raise InputError("line", f"message {number} is not an object of strings")
        if {*value} != {"role", "content"}:
            raise InputError(
                "line", f"message {number} has {', '.join(value)}; expected role, content"
            )
        reject_surrogates(value["content"])
        messages.append(Message(value["role"], value["content"]))
    return tuple(messages)


def refuse_no_chat(tokenizer: Tokenizer, source: str) -> None:
    """Find out whether there is a format of messages."""
    if tokenizer.config.special not in (*ROUNDS, *WITH_ROLES):
        raise InputError(
            source,
            f"has no chat format, and its tokenizer is of layout '{tokenizer.config.special}'; "
            "name a model of ChatGLM or GLM-4 with --model, or leave out --chat to fill blanks",
        )


def message_ids(messages: Sequence[Message], tokenizer: Tokenizer, place: str) -> list[int]:
    """What a model reads before its answer; errors name the place that the messages come from."""
    special, layout = tokenizer.special, tokenizer.config.special
    start = [special.strings["[gMASK]"], special.sop]
    refuse_other_roles([message.role for message in messages], layout, place)
    if layout == "chatglm":
        # The released code writes a first question without a round.
        text = messages[0].content if len(messages) == 1 else rounds(messages, layout)
        return [*tokenizer.encode(text, special=False), *start]
    if layout == "chatglm2":
        return [*start, *tokenizer.encode(rounds(messages, layout), special=False)]
    # A message stands on a line of its own, which transformers reads as one text.
    in_one = tokenizer.config.kind == "tokenizer_json"
    ids = start
    for message in messages:
        parts = [f"\n{message.content}"] if in_one else ["\n", message.content]
        ids.append(special.strings[f"<|{message.role}|>"])
        for part in parts:
            ids += tokenizer.encode(part, special=False)
    line_end = tokenizer.encode("\n") if layout == "glm-4-0414" else []
    return [*ids, special.strings["<|assistant|>"], *line_end]


def rounds(messages: Sequence[Message], layout: str) -> str:
    """Questions and answers written out, up to the answer that is to come."""
    number, question, after = ROUNDS[layout]
    text = ""
    for index, message in enumerate(messages):
        is_answer = index % 2
        asked = question.format(number + index // 2, message.content)
        text += message.content + after if is_answer else asked
    return text


def refuse_other_roles(roles: Sequence[str], layout: str, place: str) -> None:
    """Refuse what the model never saw: other roles, in another order, or no question at the end."""
    if layout in ROUNDS:
        is_known = len(roles) % 2 and all(
            role == ("user", "assistant")[index % 2] for index, role in enumerate(roles)
        )
        known = f"{layout} knows user and assistant in turn, user first and last"
    else:
        is_known = {*roles} <= {*ROLES} and roles[-1] in ("user", "observation")
        names = ", ".join(ROLES)
        known = f"{layout} knows {names}, and answers user or observation, which must be last"
    if not is_known:
        raise InputError(place, f"has the roles {', '.join(roles)}; {known}")
