"""What pretraining is worth: SST-2 from 2,000 rows, and LAMBADA without any training.

A model against the same model with random weights, fine-tuned alike over three seeds, and against
TF-IDF with logistic regression. Accuracy is that on the official dev set, and on other rows that
nobody learned; neither chooses anything. Differences come with a standard error from a paired
bootstrap over the rows.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import glmctl

TASK = """[task]
patterns = ["{sentence} It was [MASK]."]
verbalizer = { 1 = "good", 0 = "bad" }
"""
SEEDS = (1, 2, 3)
SETTINGS = (
    "train.epochs=4",
    "optimizer.peak_lr=1e-3",
    "model.dropout=0.2",
    "model.attention_dropout=0.1",
)
NUM_ROWS = 2000


def call(*arguments: object) -> None:
    """Run a command of glmctl; its words are shown when it fails."""
    command = [str(Path(sys.executable).with_name("glmctl")), *map(str, arguments), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")


def rows_of(file: Path) -> list[list[str]]:
    return [line.rsplit("\t", 1) for line in file.read_text(encoding="utf-8").splitlines()]


def write(file: Path, rows: Sequence[Sequence[str]]) -> Path:
    file.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    return file


def random_model(model: str, folder: Path) -> Path:
    """A model before its first step."""
    glm = glmctl.load(model)
    glm.module.init_weights(seed=0)
    return glm.save(folder)


def hits(out: Path) -> np.ndarray:
    """Whether each prediction is right."""
    lines = (out / "task" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    records = map(json.loads, lines)
    return np.array([record["prediction"] in record["golds"] for record in records])


def fine_tuned(
    model: str | Path, seed: int, scratch: Path, changes: Sequence[str]
) -> dict[str, np.ndarray]:
    """Hits of a fine-tuned model on each table of rows that it has not seen."""
    run = scratch / f"{Path(model).name}-{seed}"
    settings = [it for change in (f"train.seed={seed}", *changes) for it in ("--set", change)]
    train = ("--data", scratch / "train.tsv", "--model", model, "--run-dir", run)
    call("finetune", scratch / "task.toml", *train, *settings)
    found = {}
    for file in sorted((scratch / "unseen").iterdir()):
        out = scratch / f"eval-{run.name}-{file.stem}"
        call("eval", scratch / "task.toml", run, "--data", file, "--out", out)
        found[file.name] = hits(out)
    return found


def compare(name: str, better: np.ndarray, worse: np.ndarray) -> None:
    """The difference of two means over seeds, [seeds, rows] each, with its standard error."""
    paired = better.mean(0) - worse.mean(0)  # [rows]
    generator = np.random.default_rng(0)
    weights = generator.multinomial(len(paired), np.full(len(paired), 1 / len(paired)), 1000)
    error = (weights @ paired / len(paired)).std()
    print(f"  {name:44} {100 * paired.mean():+6.2f}   standard error {100 * error:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=Path, required=True, help="train.tsv of SST-2")
    parser.add_argument(
        "--dev", type=Path, nargs="+", required=True, help="dev.tsv of SST-2, and other such rows"
    )
    parser.add_argument("--model", default="glmctl-default", help="the pretrained one")
    parser.add_argument("--lambada", type=Path, help="JSON Lines of LAMBADA")
    parser.add_argument(
        "--set", nargs="*", default=SETTINGS, dest="changes", help="settings of the fine-tuning"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        names, *train = rows_of(args.train)
        chosen = np.random.default_rng(0).choice(len(train), NUM_ROWS, replace=False)
        train = [train[place] for place in chosen]
        write(scratch / "train.tsv", [names, *train])
        (scratch / "unseen").mkdir()
        for file in args.dev:
            shutil.copyfile(file, scratch / "unseen" / file.name)
        (scratch / "task.toml").write_text(TASK)
        unpretrained = random_model(args.model, scratch / "random")
        print(f"SST-2, {NUM_ROWS:,} rows, {' '.join(args.changes)}; accuracy in per cent")
        models = {"pretrained": args.model, "random weights": unpretrained}
        runs = {
            name: [fine_tuned(model, seed, scratch, args.changes) for seed in SEEDS]
            for name, model in models.items()
        }
        words = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(C=10))
        words.fit([text for text, _ in train], [label for _, label in train])
        for file in args.dev:
            _, *rows = rows_of(file)
            print(f"{file.name}, {len(rows):,} rows")
            found = {name: np.stack([it[file.name] for it in of]) for name, of in runs.items()}
            for name, of_seeds in found.items():
                shares = "  ".join(f"{100 * share:.2f}" for share in of_seeds.mean(1))
                print(f"  {name:18} {100 * of_seeds.mean():.2f}   of {shares}")
            said = words.predict([text for text, _ in rows])
            right = said == np.array([label for _, label in rows])
            print(f"  {'TF-IDF':18} {100 * right.mean():.2f}")
            compare("pretrained over random weights", found["pretrained"], found["random weights"])
            compare("pretrained over TF-IDF", found["pretrained"], right[None])
        if args.lambada is not None:
            for name, model in models.items():
                out = scratch / f"lambada-{name}"
                call("eval", "lambada", model, "--data", args.lambada, "--out", out)
                result = json.loads((out / "results.json").read_text())["tasks"]["lambada"]
                value = result["metrics"]["perplexity"]
                low, high = np.log(value["interval"])
                print(f"LAMBADA, {name}: NLL of a token {np.log(value['value']):.3f}", end="")
                print(f" ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
