"""Predictions on disk as they are made, so that an evaluation goes on where it was stopped."""

import json
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import xxhash

from glmctl.core.checkpoint.durable import SCRATCH_SUFFIX, to_json
from glmctl.core.tasks.ask import NO_EVIDENCE, Evidence, Prediction, Question

FILE, ORIGIN = "predictions.jsonl", "made_from.json"


@dataclass(frozen=True)
class Journal:
    """The predictions for the questions of a task."""

    file: Path
    done: Mapping[int, Prediction]
    """Those that were there, by the number of the question."""
    changed: tuple[str, ...]
    """What is not as it was when earlier predictions were made; those are gone."""

    def add(self, predictions: Mapping[int, Prediction]) -> None:
        """Keep predictions, whatever becomes of this process."""
        with self.file.open("ab") as stream:
            stream.write(b"".join(line(*item) for item in predictions.items()))

    def finish(self, predictions: Sequence[Prediction]) -> None:
        """Write all predictions again in the order of their questions."""
        scratch = self.file.with_name(FILE + SCRATCH_SUFFIX)
        scratch.write_bytes(b"".join(line(*item) for item in enumerate(predictions)))
        scratch.replace(self.file)


def open_journal(
    folder: Path, made_from: Mapping[str, Any], questions: Sequence[Question]
) -> Journal:
    """The journal of a task, with the predictions that are in it and still hold.

    Args:
        folder: of the task.
        made_from: all that a prediction depends on beside its question.
        questions: in their order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file, origin = folder / FILE, folder / ORIGIN
    now = {**made_from, "questions": digest_of_questions(questions)}
    before = read_origin(origin)
    changed = tuple(name for name in now if before and before.get(name) != now[name])
    if before == now and file.is_file():
        return Journal(file, dict(read_lines(file, questions)), ())
    file.unlink(missing_ok=True)  # first: what is there must never pass for something else
    origin.write_text(to_json(now), encoding="utf-8")
    return Journal(file, {}, changed)


def read_origin(file: Path) -> dict[str, Any]:
    """What predictions were made from; empty where it is not known."""
    try:
        values = json.loads(file.read_bytes())
    except (FileNotFoundError, ValueError):  # the process was stopped while it wrote
        return {}
    return values if isinstance(values, dict) else {}


def read_lines(file: Path, questions: Sequence[Question]) -> Iterator[tuple[int, Prediction]]:
    """The predictions of a file; its end, where it was torn off, is removed."""
    num_bytes = 0
    with file.open("rb") as stream:
        for text in stream:
            try:
                values = json.loads(text) if text.endswith(b"\n") else None
            except ValueError:
                values = None
            if values is None:
                break
            num_bytes += len(text)
            number = values["number"]
            yield (
                number,
                Prediction(
                    questions[number].example,
                    values["prediction"],
                    values["scores"],
                    Evidence(**values["evidence"]) if "evidence" in values else NO_EVIDENCE,
                ),
            )
    os.truncate(file, num_bytes)


def line(number: int, it: Prediction) -> bytes:
    """A prediction as it stands in the file."""
    values = {
        "number": number,
        "id": it.example.id[0] if len(it.example.id) == 1 else it.example.id,
        "prediction": it.prediction,
        "golds": it.example.golds,
        "scores": it.scores,
        **({} if it.evidence == NO_EVIDENCE else {"evidence": asdict(it.evidence)}),
    }
    return (json.dumps(values, ensure_ascii=False) + "\n").encode()


def digest_of_questions(questions: Sequence[Question]) -> str:
    """One digest of the tokens of all questions; those of another tokenizer have another one."""
    state = xxhash.xxh3_128()
    for question in questions:
        ids = array("q", question.part_a)
        for candidate in question.candidates:
            ids.extend((-1, len(candidate.part_a), *candidate.targets))
        state.update(ids.tobytes() + "\n".join((*question.answers, "")).encode())
    return state.hexdigest()
