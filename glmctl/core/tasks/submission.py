"""Predictions in the files that the holders of the labels of a test set take."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from glmctl.core.tasks.ask import Prediction
from glmctl.core.tasks.schema import SubmissionConfig

ARCHIVE = "submission.zip"


def write_submission(file: Path, form: SubmissionConfig, predictions: Sequence[Prediction]) -> None:
    """Write the predictions of a task in the order of its file."""
    rows = [*submitted(form, predictions)]
    if file.suffix == ".tsv":
        lines = ["index\tprediction", *(f"{row['idx']}\t{row['label']}" for row in rows)]
    else:
        lines = [json.dumps(row) for row in rows]
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def submitted(
    form: SubmissionConfig, predictions: Sequence[Prediction]
) -> Iterator[dict[str, Any]]:
    """The records of a file, each a prediction or a tree of them."""
    trees: list[dict[str, Any]] = []
    for it in predictions:
        label = form.labels.get(it.prediction, it.prediction)
        *above, last = it.example.id
        if not form.nest:
            yield {"idx": last, "label": label}
            continue
        items = trees
        for number, path in zip(above, form.nest, strict=True):
            if not items or items[-1]["idx"] != number:
                items.append({"idx": number})
            *keys, name = path.split(".")
            inner = items[-1]
            for key in keys:
                inner = inner.setdefault(key, {})
            items = inner.setdefault(name, [])
        items.append({"idx": last, "label": label})
    yield from trees


def pack(folder: Path, files: Sequence[Path]) -> Path:
    """One archive of the files, always of the same bytes for the same predictions."""
    place = folder / ARCHIVE
    with ZipFile(place, "w", ZIP_DEFLATED) as archive:
        for file in files:
            archive.writestr(ZipInfo(file.name), file.read_bytes(), ZIP_DEFLATED)
    return place
