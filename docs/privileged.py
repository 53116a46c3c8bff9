"""Which modules of ours a program of root's can load: read from the code, for docs/security-model.md."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAUNCHER = "gridwarden.hooks.pilot.start"


def path_of(module: str) -> Path | None:
    """The file of a module or package of ours; None for what is a name inside one."""
    base = ROOT / module.replace(".", "/")
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.exists()), None)


def imported(path: Path) -> set[str]:
    """What a module imports of ours when it runs, at its top or later; not what only type checkers see."""
    found: set[str] = set()
    pending: list[ast.AST] = [ast.parse(path.read_bytes())]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        pending += ast.iter_child_nodes(node)
    return {name for name in found if name.split(".")[0] == "gridwarden"}


def loadable(module: str) -> set[str]:
    """``module`` and all modules of ours that it can load, packages included."""
    found: set[str] = set()
    pending = {module}
    while pending:
        name = pending.pop()
        path = path_of(name)
        if path is None or name in found:
            continue
        found.add(name)
        pending |= imported(path)
        if "." in name:
            pending.add(name.rpartition(".")[0])
    return found


def table(module: str) -> str:
    """A row for each module that ``module`` can load: its file, and its own first sentence."""
    rows = []
    for name in sorted(loadable(module)):
        path = path_of(name)
        assert path is not None  # noqa: S101 - loadable found it
        text = ast.get_docstring(ast.parse(path.read_bytes())) or ""
        shown = path.relative_to(ROOT).as_posix().removeprefix("gridwarden/")
        place = shown if shown.split("/")[0] in ("mapper", "hooks", "prune") else f"gridwarden/{shown}"
        rows.append(f"| `{place}` | {text.splitlines()[0] if text else ''} |")
    return "\n".join(["| module | what it is for |", "|---|---|", *rows])
