"""One line in, one line out: what commands share that read a stream and print its records."""

from collections.abc import Callable, Iterable
from typing import Any

from typer import Context

from glmctl.cli import render

Record = dict[str, Any]


def given_options(context: Context) -> set[str]:
    """The options on the command line, by their names."""
    return {
        f"--{name.replace('_', '-')}"
        for name, value in context.params.items()
        if value is not None and value is not False
    }


def answer(
    batches: Iterable[list[Record]],
    show: Callable[[Record], None],
    schema: str | None = None,
    blank: str | None = "",
) -> bool:
    """Show each record, or print it as JSON under a schema; gives whether one is an error.

    ``blank`` is printed in the place of what cannot be shown; None: nothing is.
    """
    has_errors = False
    for records in batches:
        for record in records:
            is_error = "error" in record
            has_errors |= is_error
            if schema is not None:
                render.emit(schema, record)
            elif not is_error:
                show(record)
            else:
                complain(record)
                if blank is not None:
                    render.say(blank)
        render.flush()
    return has_errors


def complain(record: Record) -> None:
    render.complain(f"{place_of(record)}: {record['error']}")


def place_of(record: Record) -> str:
    """Where the line of a record stands."""
    file = record.get("file")
    return f"line {record['line']}" if file is None else f"{file}:{record['line']}"
