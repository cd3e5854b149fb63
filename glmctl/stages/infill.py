"""Filling the blanks of a stream of texts: one line in, one line out, in order."""

import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from glmctl.core.data.text import line_text, read_source, reject_surrogates
from glmctl.core.decode.chat import (
    BLANK,
    Chat,
    Message,
    message_ids,
    read_messages,
    refuse_no_chat,
)
from glmctl.core.decode.explain import Explanation, explain
from glmctl.core.decode.infill import (
    Infilling,
    Prompt,
    StreamedToken,
    insert,
    open_rows,
    stream_fills,
)
from glmctl.core.decode.script import ScriptWatch
from glmctl.core.decode.search import Fill
from glmctl.core.open import Glm, Settings, load
from glmctl.core.tokenizer.base import Tokenizer
from glmctl.core.tokenizer.family import answer_ends
from glmctl.core.train.precision import choose_device
from glmctl.errors import InputError, UsageError
from glmctl.recipe.load import Draft, checked, override
from glmctl.recipe.schema import DecodeConfig

DEFAULT = "glmctl-default"
# Batches that are read before the first of them is filled, where so many lines have arrived.
NUM_SORTED = 16


@dataclass(frozen=True)
class LineResult:
    """What became of one line: filled, or the reason why not; or a token on the way there."""

    line: int
    id: Any = None  # what its record calls it
    filled: Infilling | None = None
    error: str | None = None
    variants: tuple[tuple[float, str], ...] = ()
    """Score and whole text with each of the best fills of its last blank, when several are asked
    for; best first."""
    explanation: Explanation | None = None
    warning: str | None = None
    token: StreamedToken | None = None  # while the line is being filled, and then nothing else
    messages: tuple[Message, ...] = ()  # of a chat, the answer the last; it is what is filled


@dataclass(frozen=True)
class FillConfig:
    """How lines are filled."""

    decode: DecodeConfig
    choices: Sequence[str] | None  # each blank is filled with the best of these
    batch_size: int  # lines filled together
    streams: bool  # each token is given as it is chosen, before the result of its line
    explains: bool
    chats: bool  # lines are messages, or JSON objects with several, and are answered

    def refuse_idle_options(self) -> None:
        """Stop before anything is loaded when settings would do nothing together."""
        decode, choices = self.decode, self.choices
        whole = {"--explain": self.explains, "--num-beams": decode.num_beams > 1}
        stepwise = {
            "--stream": self.streams,
            "--temperature": decode.temperature > 0,
            "--no-repeat-ngram": decode.no_repeat_ngram > 0,
            "--min-new-tokens": decode.min_new_tokens > 0,
        }
        idle = [name for name, is_given in whole.items() if is_given]
        given = [*idle, *(name for name, is_given in stepwise.items() if is_given)]
        if self.chats and (self.explains or choices is not None):
            option = "--explain" if self.explains else "--choices"
            raise UsageError("--chat", f"answers messages; leave out {option}, which is for blanks")
        if choices is not None and not all(choices):
            problem = f"one of {[*choices]} is empty; write words between the commas"
            raise UsageError("--choices", problem)
        if choices is not None and given:
            raise UsageError("--choices", f"scores each one whole; leave out {', '.join(given)}")
        if self.streams and idle:
            problem = f"prints each token as it is chosen; leave out {', '.join(idle)}"
            raise UsageError("--stream", problem)


@dataclass(frozen=True)
class Filler:
    """A model that fills lines, or answers them."""

    glm: Glm
    tokenizer: Tokenizer
    config: FillConfig
    watch: ScriptWatch

    def fill(self, lines: Mapping[int, bytes]) -> Iterator[LineResult]:
        """Fill the good ones of some lines together and say what is wrong with the others.

        When streaming, one follows another, and each token comes as it is chosen.
        """
        config, decode = self.config, self.config.decode
        read = {number: self.read(line) for number, line in lines.items()}
        prompts = {number: it for number, (_, it) in read.items() if isinstance(it, Prompt)}
        ends = answer_ends(self.tokenizer) if config.chats else ()
        rows: list[list[Fill]] = []
        if not config.streams:
            texts, numbers = [*prompts.values()], [*prompts]
            rows = self.glm.fill(texts, numbers, decode, config.choices, config.batch_size, ends)
        fills = dict(zip(prompts, rows, strict=False))
        for number, (line_id, prompt) in read.items():
            if isinstance(prompt, str):
                yield LineResult(number, line_id, error=prompt)
                continue
            if config.streams:
                (row,) = open_rows([prompt], decode, [number])
                model = self.glm.module
                for token in stream_fills(model, prompt, row, self.tokenizer, decode, ends):
                    yield LineResult(number, token=token)
                fills[number] = row.fills
            yield self.result(LineResult(number, line_id), prompt, fills[number])

    def read(self, raw: bytes) -> tuple[Any, Prompt | str]:
        """The id of a line, and its Part A or what is wrong with it."""
        record: dict[str, Any] = {}
        try:
            if self.config.chats:
                record = read_line(raw, {"text", "messages"})
                return record.get("id"), self.chat(record)
            record = read_line(raw, {"text"})
            return record.get("id"), self.glm.prompt(text_of(record), "line")
        except InputError as error:
            return record.get("id"), "; ".join(error.problems)
        except ValueError as problem:
            return record.get("id"), f"is {problem}"

    def chat(self, record: Mapping[str, Any]) -> Chat:
        """The messages of a line, laid out to be answered."""
        said = record.get("messages")
        if said is None:
            said = [{"role": "user", "content": text_of(record)}]
            if not said[0]["content"].strip():
                raise InputError("line", "is empty; write a message")
        messages = read_messages(said)
        ids = message_ids(messages, self.tokenizer, "line")
        limit = self.glm.config.max_positions
        if len(ids) > limit:
            problem = f"is {len(ids):,} tokens long and the model has {limit:,} positions; shorten"
            raise InputError("line", f"{problem} it")
        start = self.glm.beginning(BLANK, ids, self.config.decode.max_new_tokens)
        return Chat(**vars(start), messages=messages)

    def result(self, result: LineResult, prompt: Prompt, fills: list[Fill]) -> LineResult:
        """What there is to say about a line that is filled."""
        filled = insert(prompt, fills, self.tokenizer)
        variants = [
            (other.score, insert(prompt, [*fills[:-1], other], self.tokenizer).text)
            for other in fills[-1].ranked
        ]
        if not isinstance(prompt, Chat):
            return replace(
                result,
                filled=filled,
                variants=tuple(variants),
                explanation=explain(prompt, fills, self.tokenizer)
                if self.config.explains
                else None,
                warning=self.watch.warning(prompt.text),
            )
        (fill,), text = fills, filled.text.strip()
        cut = f"is cut off after {len(fill.ids):,} tokens; raise --max-new-tokens to read on"
        return replace(
            result,
            filled=replace(filled, text=text),
            variants=tuple((score, other.strip()) for score, other in variants),
            warning=cut if fill.finish == "length" else None,
            messages=(*prompt.messages, Message("assistant", text)),
        )


def run(
    texts: Sequence[str] | None, config: FillConfig, *, model: str | None, device: str | None
) -> Iterator[LineResult]:
    """Fill every blank of every line of the texts, or of stdin; a bad line spoils no other."""
    config.refuse_idle_options()
    chosen = choose_device(device).type
    # Half precision is an exception on CPUs, and slow there.
    glm = load(model or DEFAULT, device=chosen, dtype="float32" if chosen == "cpu" else None)
    tokenizer = glm.any_tokenizer() if config.chats else glm.text_tokenizer()
    if config.chats:
        refuse_no_chat(tokenizer, glm.source)
    filler = Filler(glm, tokenizer, config, ScriptWatch(tokenizer))
    for lines in windows_of(texts, config.batch_size):
        yield from filler.fill(lines)


def read_line(line: bytes, keys: Collection[str]) -> dict[str, Any]:
    """A line that is a JSON object with one of the keys, or an object with the line as text."""
    text = line_text(line, is_json=False)
    try:
        record: dict[str, Any] = json.loads(text) if text.startswith("{") else {}
    except (ValueError, RecursionError):
        record = {}
    return record if record.keys() & keys else {"text": text}


def text_of(record: Mapping[str, Any]) -> str:
    text = record.get("text")
    if not isinstance(text, str):
        raise ValueError(f'not an object with a string "text", but {record!r}')
    reject_surrogates(text)
    return text


def windows_of(texts: Sequence[str] | None, batch_size: int) -> Iterator[dict[int, bytes]]:
    """The texts, or the lines of the standard input, by their number; some batches at a time.

    Lines are given as soon as they are there, so that who types gets each line answered.
    """
    number, size = 0, batch_size * NUM_SORTED
    typed = [[os.fsencode(text) for text in texts or ()]]
    for lines in typed if texts else (lines for _, _, lines in read_source(())):
        for start in range(0, len(lines), size):
            window = lines[start : start + size]
            yield dict(enumerate(window, number + 1))
            number += len(window)


def decode_config(options: Mapping[str, Any], overrides: Sequence[str]) -> DecodeConfig:
    """Decode settings of a command line: those given by their keys, and `decode.key=value` each.

    Other keys do not matter, nor does None. A mistake names every other one too.
    """
    given = {key: options.get(key) for key in DecodeConfig.model_fields}
    draft = Draft({"decode": {key: it for key, it in given.items() if it is not None}})
    return checked(Settings, draft, "--set", [override(draft, text) for text in overrides]).decode
