"""``gridwarden off`` and ``gridwarden on``."""

from __future__ import annotations

import os

import click

from gridwarden import off
from gridwarden.output import format_option, write

COLUMNS = ["part", "state", "because", "who", "since", "until"]
LONGEST_REASON = 1000
MEANS = {
    off.HOOKS: "prolog, epilog and job_submit.lua pass every job: bans do not hold at its start, nothing is recorded or cleared",
    off.PRUNE: "gridwarden-prune only reports, and epilogs clear nothing away",
    off.LAUNCHER: "pilots start and renew no payloads; those that run go on",
}
"""What a part that is off does, in a sentence."""


@click.command("off")
@click.argument("part", required=False, type=click.Choice(off.PARTS))
@click.option("--because", metavar="TEXT", help="Why, for whoever finds it off; required with a PART.")
@click.option("--for", "duration", metavar="TIME", default="", help="Be on again by itself after 90m, 2h or 3d.")
@click.option("--list", "listing", is_flag=True, help="List what is off here, as without a PART.")
@format_option
def off_command(part: str | None, because: str | None, duration: str, listing: bool, format: str) -> None:
    """Switch a part of gridwarden off on this machine, at once, also over a restart; without a PART, list what is off.

    hooks: prolog and epilog pass every job with one line of syslog; on the controller job_submit.lua does, too. Bans do not
    hold there then. prune: the pruner only reports, and epilogs clear nothing away. launcher: pilots start no payloads.
    Each change is on record in the ledger, as is that records are missing while hooks are off.

    \b
    Examples:
      gridwarden off
      gridwarden off hooks --because 'ticket 4711: prologs time out' --for 2h
      gridwarden off prune --because 'looking into a kill'
      gridwarden on hooks
    """
    from gridwarden.errors import BadQuestion
    from gridwarden.hooks import switching

    if not part:
        if because or duration:
            raise BadQuestion("which part is to be off?", f"gridwarden off {'|'.join(off.PARTS)} --because TEXT")
        rows = switching.listed()
        if rows or format != "table":
            write(rows, COLUMNS, format)
        else:
            click.echo("nothing is off here", err=True)
        return
    if listing:
        raise BadQuestion("--list takes no PART", "gridwarden off --list")
    if not because or not because.strip() or not because.isprintable() or len(because) > LONGEST_REASON:
        raise BadQuestion("--because needs one line of text", "say why: it is what an administrator reads later")
    refuse_others_than_root()
    found, faults = switching.switch_off(part, because, duration)
    until = f" until {switching.shown(found.until)}" if found.until else ""
    click.echo(f"{part} off on this machine{until}: {MEANS[part]}")
    switching.refuse(faults)


@click.command("on")
@click.argument("part", type=click.Choice(off.PARTS))
def on_command(part: str) -> None:
    """Switch a part of gridwarden on again on this machine.

    Jobs that ended while hooks were off leave the local register; the next run of the pruner clears up after them.

    \b
    Examples:
      gridwarden on hooks
    """
    from gridwarden.hooks import switching

    refuse_others_than_root()
    done, faults = switching.switch_on(part)
    click.echo(f"{part} on" if done else f"{part} was on")
    switching.refuse(faults)


def refuse_others_than_root() -> None:
    """Raise BadQuestion for who could not write the switch."""
    from gridwarden.errors import BadQuestion

    if os.geteuid() != 0:
        raise BadQuestion("only root switches a part of gridwarden off or on", "sudo gridwarden off")
