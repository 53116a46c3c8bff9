"""Write the pages of docs/ that the code knows best: ``make docs``; a test fails when they are out of date."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click_man.man import ManPage

from gridwarden import __version__, records
from gridwarden.cli import WHORAN, gridwarden, load_command
from gridwarden.describe_settings import reference, sample
from gridwarden.hooks.agent.commands import agent_command
from gridwarden.prune.commands import prune_command
from gridwarden.reason_sentences import SENTENCES

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(__file__).resolve().parent
BENCH = DOCS.parent / "bench"
sys.path[:0] = [str(BENCH), str(DOCS), str(DOCS.parent)]
WIDTH = 100
NOTICE = "<!-- Written by docs/generate.py from the code; do not edit. -->\n"
PRIVILEGED, PRIVILEGED_END = "<!-- privileged, written by docs/generate.py -->", "<!-- end of privileged -->"
SCENARIOS, SCENARIOS_END = "<!-- scenarios, written by docs/generate.py -->", "<!-- end of scenarios -->"
RECORDS, RECORDS_END = "<!-- records, written by docs/generate.py -->", "<!-- end of records -->"


def main() -> None:
    """Write every generated page."""
    for path, text in pages().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path.relative_to(DOCS.parent)}")


def pages() -> dict[Path, str]:
    """Return the text of every generated page by its path."""
    return {
        DOCS / "agent-speed.md": speed_page("agent"),
        DOCS / "commands.md": commands_page(),
        DOCS / "configuration.md": configuration_page(),
        DOCS / "files.md": files_page(),
        DOCS / "globus-speed.md": speed_page("globus"),
        DOCS / "hooks-speed.md": speed_page("hooks"),
        DOCS / "gridmapdir-speed.md": speed_page("gridmapdir"),
        DOCS / "launcher-speed.md": speed_page("launch"),
        DOCS / "pacct-speed.md": speed_page("pacct"),
        DOCS / "pbs-lines-speed.md": speed_page("pbs_lines"),
        DOCS / "plugin-speed.md": speed_page("plugin"),
        DOCS / "prune-bombs.md": speed_page("bombs"),
        DOCS / "prune-speed.md": speed_page("prune"),
        DOCS / "reasons.md": reasons_page(),
        DOCS / "scaling.md": speed_page("questions"),
        DOCS / "security-model.md": security_page(),
        DOCS / "slurm.md": slurm_page(),
        DOCS / "verify-speed.md": speed_page("verify"),
        **{DOCS / "man" / f"{name.replace(' ', '-')}.1": man_page(name, command) for name, command in every_command()},
    }


def speed_page(name: str) -> str:
    """Return the page of what was measured into bench/NAME.json."""
    result = json.loads((BENCH / f"{name}.json").read_text(encoding="utf-8"))
    page: str = importlib.import_module(f"{name}_page").page(result)
    return page


def configuration_page() -> str:
    """Return the page of every key, and the sample."""
    return f"""{NOTICE}
# Configuration

`/etc/gridwarden/site.yaml` holds what the site decides; files `/etc/gridwarden/site.d/*.yaml` are laid over it
in the order of their names: sections add up, lists and single values replace what came before. YAML's aliases (`*name`)
are not taken.
All of them must belong to root, and nobody else may be able to write them or the directories above.

`gridwarden config check` lists every fault at once, `gridwarden config show --origin` what is in force and where
it was written. Hooks do not read site.yaml but the node file: after a change, run `gridwarden config install` on
every machine. `directories.runtime` is empty after a restart: run it at boot too, before slurmd and slurmctld.

{reference()}

## A sample

What `gridwarden config sample` prints:

```yaml
{sample().rstrip()}
```
"""


def reasons_page() -> str:
    """Return the page of every reason for a refusal."""
    what_to_do = importlib.import_module("what_to_do").WHAT_TO_DO
    rows = "\n".join(f"| `{reason}` | {sentence} | {what_to_do[reason]} |" for reason, sentence in SENTENCES.items())
    return f"""{NOTICE}
# Reasons

Whatever gridwarden refuses, it refuses for one of these reasons. The word stands in the message, in the syslog
line (`reason=…`) and in the ledger's `refused` record; it does not change between versions.

| reason | what it means | what to do |
|---|---|---|
{rows}
"""


def files_page() -> str:
    """Return docs/files.md, which is written by hand, with its table of records as the code has it."""
    before, _, rest = (DOCS / "files.md").read_text(encoding="utf-8").partition(RECORDS)
    after = rest.partition(RECORDS_END)[2]
    rows = "\n".join(
        f"| `{kind}` | {' '.join(f'`{field}`' for field in fields)} |" for kind, fields in records.KINDS.items()
    )
    return f"{before}{RECORDS}\n| kind | fields |\n|---|---|\n{rows}\n{RECORDS_END}{after}"


def slurm_page() -> str:
    """Return docs/slurm.md, which is written by hand, with the table of scenarios as the tests play it."""
    table = importlib.import_module("tests.scenarios.table")
    before, _, rest = (DOCS / "slurm.md").read_text(encoding="utf-8").partition(SCENARIOS)
    after = rest.partition(SCENARIOS_END)[2]
    rows = []
    for row in table.ROWS:
        said = ["; ".join(statement.text for statement in getattr(row, reader)) for reader in table.READERS]
        rows.append(f"| {' | '.join([f'**{row.name}**: {row.happens}', *said])} |")
    head = f"| what happens | {' | '.join(table.READERS)} |\n|---|---|---|---|---|"
    return before + "\n".join([SCENARIOS, head, *rows, SCENARIOS_END]) + after


def security_page() -> str:
    """Return docs/security-model.md, which is written by hand, with its table of modules as the code has it."""
    privileged = importlib.import_module("privileged")
    before, _, rest = (DOCS / "security-model.md").read_text(encoding="utf-8").partition(PRIVILEGED)
    after = rest.partition(PRIVILEGED_END)[2]
    return f"{before}{PRIVILEGED}\n{privileged.table(privileged.LAUNCHER)}\n{PRIVILEGED_END}{after}"


def commands_page() -> str:
    """Return the page of every command: its own help."""
    sections = []
    for name, command in every_command():
        with click.Context(command, info_name=name, terminal_width=WIDTH, max_content_width=WIDTH) as context:
            text = command.get_help(context)
        sections.append(f"## {name}\n\n```text\n{text}\n```\n")
    return f"{NOTICE}\n# Commands\n\nExit codes: [exit-codes.md](exit-codes.md).\n\n" + "\n".join(sections)


def man_page(name: str, command: click.Command) -> str:
    """Return the manual page of one command, in roff."""
    page = ManPage(name.replace(" ", "-"))
    page.version, page.date = f"gridwarden {__version__}", ""
    description = inspect.cleandoc(command.help or "")
    page.short_help = description.partition(".\n")[0].partition(". ")[0].replace("\n", " ")
    page.description = description
    with click.Context(command, info_name=name) as context:
        page.synopsis = " ".join(command.collect_usage_pieces(context))
        options = (option for option in command.params if isinstance(option, click.Option))
        page.options = [found for option in options if (found := option.get_help_record(context))]
        if isinstance(command, click.Group):
            inner = ((below, command.get_command(context, below)) for below in command.list_commands(context))
            page.commands = [(below, found.get_short_help_str(80)) for below, found in inner if found]
    return str(page).replace(f".B {name.replace(' ', '-')}\n", f".B {name}\n") + "\n"


def every_command() -> Iterator[tuple[str, click.Command]]:
    """Yield every command that is installed, with its full name."""
    yield from walk(gridwarden, "gridwarden")
    yield "gridwarden-agent", agent_command
    yield "gridwarden-prune", prune_command
    yield "whoran", load_command(WHORAN)


def walk(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """Yield a command, and every command below it, with their full names."""
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=name)
        for below in command.list_commands(context):
            inner = command.get_command(context, below)
            if inner is not None:
                yield from walk(inner, f"{name} {below}")


if __name__ == "__main__":
    main()
