"""Lines of every file of the package, and its longest functions."""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "glmctl"
FILE_LIMIT, FUNCTION_LIMIT = 500, 80


def functions(file: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and node.end_lineno is not None:
            yield node.end_lineno - node.lineno + 1, f"{file.relative_to(PACKAGE)}:{node.name}"


def main() -> None:
    files = sorted(PACKAGE.rglob("*.py"))
    lines = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    for file in sorted(files, key=lambda file: -lines[file]):
        print(f"{lines[file]:6}  {file.relative_to(PACKAGE)}")
    print(f"{sum(lines.values()):6}  in all\n\nlongest functions")
    longest = sorted((pair for file in files for pair in functions(file)), reverse=True)
    for count, name in longest[:15]:
        print(f"{count:6}  {name}")
    if max(lines.values()) > FILE_LIMIT or longest[0][0] > FUNCTION_LIMIT:
        raise SystemExit(f"more than {FILE_LIMIT} lines a file or {FUNCTION_LIMIT} a function")


if __name__ == "__main__":
    main()
