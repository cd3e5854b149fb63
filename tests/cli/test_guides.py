"""Every block of every guide does what the guide says it does."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from glmctl.cli.helpers import GUIDE_NAMES
from glmctl.cli.helpers import GUIDES as FOLDER
from glmctl.core.tasks.schema import TaskConfig
from glmctl.recipe.keys import section_in
from glmctl.recipe.schema import Recipe

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TEXT = re.compile(r'"[^"]*"')
Block = tuple[str, str]


def blocks_of(lang: str, name: str) -> list[Block]:
    """The kind and the text of each block."""
    text = (FOLDER / lang / f"{name}.md").read_text(encoding="utf-8")
    return [(found[1], found[2]) for found in BLOCK.finditer(text)]


def commands_of(block: str) -> Iterator[tuple[str, list[str]]]:
    """The commands of a console block, each with the lines that are shown under it."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, *shown = part.rstrip("\n").split("\n")
        yield command, shown


def missing_line(shown: list[str], said: str) -> str | None:
    """The first shown line that the output lacks.

    `...` stands for anything, also within a line; the width of a column is not compared.
    """
    rest = [" ".join(line.split()) for line in said.splitlines()]
    for line in shown:
        if line == "...":
            continue
        pattern = ".*".join(map(re.escape, " ".join(line.split()).split("...")))
        place = next((i for i, found in enumerate(rest) if re.fullmatch(pattern, found)), None)
        if place is None:
            return line
        rest = rest[place + 1 :]
    return None


def run_block(kind: str, text: str, folder: Path) -> None:
    if kind == "toml":
        name = text.partition("\n")[0].removeprefix("# ")
        (folder / name).write_text(text, encoding="utf-8")
        run(["glmctl", "recipe", "validate", name], folder)
    elif kind == "python":
        run([sys.executable, "-c", text], folder)
    else:
        for command, shown in commands_of(text):
            said = run(["bash", "-c", command], folder)
            assert missing_line(shown, said) is None, f"$ {command}\n{said}"


def run(command: list[str], folder: Path) -> str:
    """What a command says; it must end well."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": path, "GLMCTL_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout


GUIDES = [("en", name) for name in GUIDE_NAMES]
GUIDES += [("zh", name) for name in GUIDE_NAMES if blocks_of("zh", name) != blocks_of("en", name)]


@pytest.mark.slow
@pytest.mark.parametrize(("lang", "name"), GUIDES)
def test_following_a_guide_word_for_word_works(lang: str, name: str, tmp_path: Path):
    for kind, text in blocks_of(lang, name):
        run_block(kind, text, tmp_path)


@pytest.mark.parametrize("name", GUIDE_NAMES)
def test_both_languages_have_the_same_blocks_about_other_texts(name: str):
    english, chinese = (
        [(kind, TEXT.sub('""', without_output(kind, text))) for kind, text in blocks_of(lang, name)]
        for lang in ("en", "zh")
    )
    assert chinese == english


def without_output(kind: str, text: str) -> str:
    return "\n".join(command for command, _ in commands_of(text)) if kind == "console" else text


@pytest.mark.parametrize("name", GUIDE_NAMES)
def test_no_block_is_left_out_of_the_tests(name: str):
    for lang in ("en", "zh"):
        text = (FOLDER / lang / f"{name}.md").read_text(encoding="utf-8")
        assert text.count("```") == 2 * len(blocks_of(lang, name))
        assert {kind for kind, _ in blocks_of(lang, name)} <= {"console", "toml", "python"}


def test_a_line_that_the_output_lacks_is_found():
    assert missing_line(["a", "...", "c"], "a\nb\nc\n") is None
    assert missing_line(["loss ... tok/s"], "loss 2.5  3 tok/s\n") is None
    assert missing_line(["c", "a"], "a\nb\nc\n") == "a"


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_key_that_a_guide_names_is_a_key_of_a_recipe(lang: str):
    text = "".join(
        (FOLDER / lang / f"{name}.md").read_text(encoding="utf-8") for name in GUIDE_NAMES
    )
    keys = set(re.findall(rf"`({'|'.join(Recipe.model_fields)})\.(\w+)", text))
    assert len(keys) > 40
    for section, key in keys:
        kind = section_in(Recipe.model_fields[section].annotation) or TaskConfig
        assert key in kind.model_fields, f"{section}.{key}"
