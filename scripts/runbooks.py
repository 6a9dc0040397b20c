"""Write docs/runbooks/ from the DAG files' own docstrings, which Airflow shows as their docs: `make runbooks`."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "runbooks"


def texts() -> dict[str, str]:
    """File name -> content, one for each DAG file with a docstring and a `dag` in it."""
    found = {}
    for file in sorted((ROOT / "dags").glob("*.py")):
        source = file.read_text(encoding="utf-8")
        doc = ast.get_docstring(ast.parse(source))
        if doc and "@dag(" in source:
            found[f"{file.stem}.md"] = f"# {file.stem}\n\n{doc}\n\n*From `dags/{file.name}`, by `make runbooks`.*\n"
    return found


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in texts().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
