"""The commands beside the stages: convert, report, guide, pull, push, doctor."""

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from typer import Exit, Option

from glmctl.cli import options, render
from glmctl.cli.options import value, word
from glmctl.core.checkpoint.dialects.dialect import Format
from glmctl.errors import UsageError

GUIDES = Path(__file__).parents[1] / "assets" / "guides"
GUIDE_NAMES = (
    "first-steps",
    "pretrain-your-text",
    "finetune",
    "evaluate",
    "blanks",
    "recipes",
    "from-glm",
)


def convert(
    source: Annotated[str, word("SRC", "A model in any format.")],
    out: Annotated[Path, word("DST", "The folder to write; absent or empty.")],
    to: Annotated[
        Format,
        Option(help="The format; transformers: that of its formats which fits SRC."),
    ] = "glmctl",
    model_parallel: Annotated[int | None, value("N", "Shards of --to original; else 1.", 1)] = None,
    model_config: Annotated[
        str | None,
        value("FILE", "Sizes that SRC lacks (a recipe, config.json), or the model of a prefix."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Write a model in another format, unless a layer of it computes anything else."""
    from glmctl.stages import convert as stage  # torch loads here, never for --help

    result = stage.run(
        source,
        out,
        to=to,
        model_parallel=model_parallel,
        model_config=model_config,
        note=render.note,
    )
    render.show(result, as_json=as_json)


def report(
    runs: Annotated[list[Path], word("RUN...", "Run folders, also of running runs.")],
    out: Annotated[Path, value("FILE", "The page, one HTML file.")] = Path("report.html"),
    as_json: options.Json = False,
) -> None:
    """Compare runs in a table, and write a page with the plots of each RUN."""
    from glmctl.stages.report.page import run
    from glmctl.stages.report.read import rows_of

    result = run(runs, out)
    if as_json:
        render.show(result, as_json=True)
        return
    headings, *rows = rows_of(result.runs)
    render.table(headings, rows)
    render.note(f"wrote {result.page}")


def guide(
    name: Annotated[str | None, word("NAME", "Which guide; without one, the list.")] = None,
    lang: Annotated[Literal["en", "zh"], Option(help="English or Chinese.")] = "en",
    as_json: options.Json = False,
) -> None:
    """Read a guide; every command in it works as it is printed."""
    texts = {known: (GUIDES / lang / f"{known}.md").read_text("utf-8") for known in GUIDE_NAMES}
    if name is None:
        subjects = {known: text.splitlines()[2] for known, text in texts.items()}
        if as_json:
            render.emit("GuideList", {"lang": lang, "guides": subjects})
        else:
            render.table(("guide", "what it is about"), [*subjects.items()])
    elif name not in texts:
        close = [known for known in texts if name in known] or get_close_matches(name, texts)
        hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(texts)}"
        raise UsageError(name, f"there is no guide of this name; {hint}")
    elif as_json:
        render.emit("Guide", {"name": name, "lang": lang, "text": texts[name]})
    else:
        render.markdown(texts[name])


def pull(
    name: Annotated[str, word("NAME", "ORG/NAME or ORG/NAME@REVISION of the hub.")],
    out: Annotated[Path | None, value("DIR", "Put a copy there.")] = None,
    offline: options.Offline = False,
    as_json: options.Json = False,
) -> None:
    """Fetch a model of the hub, prove every file, and say where it lies and its licence."""
    from glmctl.stages import hub as stage

    result = stage.pull(name, out=out, offline=offline)
    if result.license is None:
        render.warn(f"{result.source} states no licence; ask its authors before you use it")
    render.show(result, as_json=as_json)


def push(
    folder: Annotated[Path, word("DIR", "A model folder.")],
    name: Annotated[str, word("NAME", "ORG/NAME on the hub; made when it is new.")],
    private: Annotated[
        bool, Option("--private", help="Let only you and your organization see it.")
    ] = False,
    revision: Annotated[str | None, value("BRANCH", "A branch.")] = None,
    message: Annotated[str | None, value("TEXT", "Of the commit.")] = None,
    as_json: options.Json = False,
) -> None:
    """Put a model folder on the hub, proved before, with a card made from its manifest."""
    from glmctl.stages import hub as stage

    result = stage.push(folder, name, private=private, revision=revision, message=message)
    if result.license is None:
        render.warn(f"{folder} states no licence, so nobody may use the model")
    render.show(result, as_json=as_json)


def doctor(as_json: options.Json = False) -> None:
    """Say what this machine can do and what it lacks; exit 1 when there is a problem."""
    from glmctl.stages import doctor as stage

    checks = stage.run(Path.cwd())
    if as_json:
        render.emit("Diagnosis", {"checks": [*map(vars, checks)]})
    else:
        rows = [(c.status, c.name, "; ".join(filter(None, (c.found, c.remedy)))) for c in checks]
        render.table(("state", "check", "found"), rows)
    if any(check.status == "problem" for check in checks):
        raise Exit(1)
