"""The pages of docs/ must say what the program is."""

from __future__ import annotations

import ast
import importlib
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from gridwarden import cli, errors
from gridwarden.hooks.agent.commands import agent_command
from gridwarden.hooks.agent.figures import MEANINGS
from gridwarden.prune import reasons as verdicts
from gridwarden.prune.commands import prune_command

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
GENERATE = runpy.run_path(str(DOCS / "generate.py"))
GENERATED: dict[Path, str] = GENERATE["pages"]()

PARTS = ("mapper", "hooks", "prune", "accounting")


def commands() -> Iterator[tuple[str, click.Command]]:
    yield from GENERATE["walk"](cli.gridwarden, "gridwarden")
    yield "gridwarden-agent", agent_command
    yield "gridwarden-prune", prune_command
    yield "whoran", cli.load_command(cli.WHORAN)


def exit_codes() -> set[int]:
    """Return every code that the errors and the command line know."""
    tree, codes = [errors.GridwardenError], {0, 1, click.UsageError.exit_code}
    while tree:
        error = tree.pop()
        codes.add(error.exit_code)
        tree += error.__subclasses__()
    own = importlib.import_module("gridwarden.run")
    return codes | {own.UNEXPECTED, own.OPERATING_SYSTEM, own.INTERRUPTED, own.PIPE_CLOSED}


@pytest.mark.parametrize("name", [name for name, _ in GENERATE["every_command"]()])
def test_every_command_has_a_manual_page_that_says_what_its_help_says(name: str) -> None:
    path = DOCS / "man" / f"{name.replace(' ', '-')}.1"
    assert path.read_text() == GENERATED[path], f"{path.name} is out of date: make docs"


@pytest.mark.parametrize("name", [path.name for path in GENERATED if path.parent == DOCS])
def test_generated_pages_are_what_the_code_says(name: str) -> None:
    assert (DOCS / name).read_text() == GENERATED[DOCS / name], f"{name} is out of date: make docs"


def test_the_readme_leads_to_every_page() -> None:
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    assert {f"docs/{page.name}" for page in DOCS.glob("*.md")} <= set(re.findall(r"\]\((docs/[^)]+)\)", readme))


def test_every_command_and_option_is_documented() -> None:
    page = (DOCS / "commands.md").read_text()
    for name, command in commands():
        section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        assert section, name
        for parameter in command.params:
            for option in parameter.opts if isinstance(parameter, click.Option) else ():
                assert option in section, f"{name} {option}"


def test_every_option_says_what_it_is_for() -> None:
    for name, command in commands():
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{name} {parameter.opts}"


def test_every_exit_code_is_documented_and_no_other() -> None:
    rows = [line.split("|")[1].strip() for line in (DOCS / "exit-codes.md").read_text().splitlines() if "|" in line]
    assert {int(cell) for cell in rows if cell.isdigit()} == exit_codes()


def test_every_reason_of_a_verdict_is_explained_and_no_other() -> None:
    table = (DOCS / "prune.md").read_text().partition("## What each reason means")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z-]+)`", table, re.MULTILINE)) == set(verdicts.SENTENCES)


def test_every_figure_of_the_agent_is_documented_and_no_other() -> None:
    table = (DOCS / "agent.md").read_text().partition("\n## Figures\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`([a-z_]+)`", " ".join(rows))) == set(MEANINGS)


def test_every_syslog_event_and_its_literal_outcomes_are_documented() -> None:
    page = (DOCS / "syslog.md").read_text()
    root = DOCS.parent
    said = set()
    for path in [*root.glob("gridwarden/*.py"), *(p for part in PARTS for p in (root / part).rglob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("decision", "log", "_log"):
                said |= {word.value for word in node.args[:2] if isinstance(word, ast.Constant)}
    said |= set(re.findall(r"(?:event|outcome)=([a-z-]+)", (root / "hooks/slurm/job_submit.lua").read_text()))
    assert len(said) > 10, said
    assert {word for word in said if f"`{word}`" not in page and f"event={word}`" not in page} == set()


def test_every_command_that_a_mapping_is_said_to_be_for_is_documented() -> None:
    """Who reads the log at night looks the words of ``command=`` up."""
    line = next(line for line in (DOCS / "syslog.md").read_text().splitlines() if line.startswith("| `map` |"))
    _, _, listed = line.rpartition("; `command` is ")
    calls = ("note_failure", "noted", "Wanted")
    said = {"map"}  # what Wanted is without a word
    for path in [*(DOCS.parent / "mapper").glob("*commands.py"), *(DOCS.parent / "hooks").rglob("*.py")]:
        tree = ast.parse(path.read_text())
        constants = {
            target.id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            by_module = isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") == "mapping"
            name = (
                node.func.attr if by_module and isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            )
            if name not in calls:
                continue
            word = node.args[-1]
            if isinstance(word, ast.JoinedStr):
                word = word.values[0]
            said.add(constants[word.id] if isinstance(word, ast.Name) else str(getattr(word, "value", "")).strip())
    assert said >= {"map", "plugin", "globus-map"}, said
    assert {word for word in said if f"`{word}" not in listed} == set()
