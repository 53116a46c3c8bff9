"""``gridwarden agent``, and ``gridwarden-agent`` where it is not just started: its help and its completion."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from gridwarden import __version__, agent_client, node_file, reasons
from gridwarden.errors import Refused, Unavailable
from gridwarden.options import Group, node_file_option
from gridwarden.output import format_option, write

COLUMNS = ["about", "value"]


@click.command("gridwarden-agent")
@click.option("--foreground", is_flag=True, help="Do not detach once it serves: for systemd, and for looking on.")
@node_file_option("What gridwarden config install wrote of site.yaml.")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=Path("/etc/gridwarden/site.yaml"),
    show_default=True,
    help="The site's configuration.",
)
@click.version_option(__version__, prog_name="gridwarden-agent")
@click.pass_context
def agent_command(context: click.Context, foreground: bool, node_path: Path, config: Path) -> None:
    """Take records from hooks that are not root's, publish who holds which account, and release held jobs: the node's daemon.

    It detaches itself once it serves. SIGTERM ends it after it has answered who had sent something; SIGHUP executes it
    anew with the same socket, so that code and configuration are read again. docs/agent.md says what it believes of whom.

    \b
    Examples:
      gridwarden-agent
      gridwarden-agent --foreground
    """
    from gridwarden.hooks.agent.main import run
    from gridwarden.hooks.agent.paths import Paths

    whoran = Path(sys.argv[0]).absolute().with_name("whoran")
    paths = Paths(str(node_path.absolute()), str(config.absolute()), str(whoran))
    context.exit(run(paths, foreground=foreground))


@click.group(cls=Group)
def agent_group() -> None:
    """Ask this machine's gridwarden-agent.

    \b
    Examples:
      gridwarden agent status
      gridwarden agent ask 12345
    """


@agent_group.command("status")
@format_option
@node_file_option("What gridwarden config install wrote of site.yaml; it names the agent's socket.")
def status_command(format: str, node_path: Path) -> None:
    """Show how the agent is: what it has stored and dropped, and whether it can write and see the gridmapdir.

    Exit code 75 when no agent answers, or when it cannot write the ledger or read the gridmapdir.

    \b
    Examples:
      gridwarden agent status
      gridwarden agent status --format json
    """
    path = socket_of(node_path)
    told = agent_client.status(path, 5.0)
    if told is None:
        raise Unavailable(
            f"{path}: no agent answers",
            "systemctl status gridwarden-agent, or /usr/libexec/gridwarden/agent --foreground",
        )
    rows: list[dict[str, object]] = [
        {"about": about, "value": value} for about, value in told.items() if about != "outcome"
    ]
    write(rows, COLUMNS, format)
    if ill := [f"{about}: {told[about]}" for about in ("ledger", "gridmapdir") if told[about] != "ok"]:
        raise Unavailable("\n".join(ill), "the agent goes on trying")


@agent_group.command("ask", context_settings={"ignore_unknown_options": True})
@node_file_option("What gridwarden config install wrote of site.yaml; it names the agent's socket.")
@click.argument("words", nargs=-1, required=True, metavar="QUESTION...", type=click.UNPROCESSED)
@click.pass_context
def ask_command(context: click.Context, node_path: Path, words: tuple[str, ...]) -> None:
    """Ask whoran of this machine without being root: for root and members of the group that agent.readers names.

    QUESTION is what whoran takes, with its options --node, --account, --identity, --job, --children, --report and
    --format. Each question is recorded with who asked. Exit codes are whoran's; 77 for who may not ask.

    \b
    Examples:
      gridwarden agent ask 12345
      gridwarden agent ask --account cms017 14:02 --format json
    """
    path = socket_of(node_path)
    told = agent_client.question(path, list(words))
    if told is None:
        raise Unavailable(f"{path}: no agent answers", "ask root to run whoran, or to start gridwarden-agent")
    if told.get("outcome") != agent_client.STORED:
        raise Refused(reasons.QUESTION_REFUSED, told.get("detail", ""), "gridwarden agent ask --help")
    click.echo(told.get("text", ""), nl=False)
    click.echo(told.get("notes", ""), nl=False, err=True)
    context.exit(int(told.get("code", "0")))


def socket_of(node_path: Path) -> str:
    """The path of the agent's socket; raises ConfigurationError, Unavailable when the node file names none."""
    found = node_file.read(node_path).get("agent_socket")
    if not found:
        raise Unavailable(f"{node_path}: has no agent_socket", "gridwarden config install writes it")
    return found[0]
