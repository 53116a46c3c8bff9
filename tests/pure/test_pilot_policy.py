"""The pages for a site that must answer for its pilots name tests and modules that there are."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "pilots.md").read_text()
STATEMENTS = 12
NAMED = re.compile(r"^- `(tests/[a-z_/]+\.py)::(test_[a-z0-9_]+)`$", re.MULTILINE)
LOAD = """
import sys
sys.path.insert(0, sys.argv[1])
for name in sys.argv[2:]:
    __import__(name)
print("\\n".join(name for name in sys.modules if name.split(".")[0] == "gridwarden"))
"""


def test_each_statement_of_the_policy_has_a_test_that_there_is() -> None:
    sections = re.split(r"^### (\d+)\. ", PAGE.partition("\n## Coming from gLExec")[0], flags=re.MULTILINE)[1:]
    assert [int(number) for number in sections[::2]] == list(range(1, STATEMENTS + 1))
    for number, text in zip(sections[::2], sections[1::2], strict=True):
        named = NAMED.findall(text)
        assert named, f"statement {number} has no test"
        assert len(named) == text.count("\n- `tests/"), f"statement {number}: a line that is not read"
        for path, name in named:
            tree = ast.parse((ROOT / path).read_bytes())
            tests = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
            assert name in tests, f"statement {number}: {path} has no {name}"


def test_the_page_for_reviewers_lists_every_module_that_the_launcher_loads() -> None:
    page = (ROOT / "docs" / "security-model.md").read_text()
    listed = set(re.findall(r"^\| `([a-z0-9_/]+\.py)` \|", page, re.MULTILINE))
    pilots = [f"gridwarden.hooks.pilot.{Path(path).stem}" for path in listed if path.startswith("hooks/pilot/")]
    done = subprocess.run(
        [sys.executable, "-IS", "-c", LOAD, str(ROOT), *pilots], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "gridwarden.hooks.pilot.launch" in loaded
    files = set()
    for name in loaded:
        path = ROOT / name.replace(".", "/")
        file = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).relative_to(ROOT).as_posix()
        part = file.removeprefix("gridwarden/")
        files.add(part if part.split("/")[0] in ("mapper", "hooks", "prune") else file)
    assert files - listed == set()
