"""The command `glmctl guide`: the guides of the package, in the terminal."""

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

from glmctl.cli import options, render
from glmctl.errors import UsageError

FOLDER = Path(__file__).parents[1] / "assets" / "guides"
ORDER = ("first-steps", "pretrain-your-text", "finetune", "blanks", "recipes", "from-glm")


def guide(
    name: Annotated[
        str | None, Argument(metavar="NAME", help="Which guide; without one, the list.")
    ] = None,
    lang: Annotated[Literal["en", "zh"], Option("--lang", help="English or Chinese.")] = "en",
    as_json: options.Json = False,
) -> None:
    """Read a guide; every command in it works as it is printed."""
    texts = {known: (FOLDER / lang / f"{known}.md").read_text("utf-8") for known in ORDER}
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
