"""The command ``gridwarden export``: options in, APEL's messages out."""

from __future__ import annotations

import os
import time
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gridwarden import load_settings, times
from gridwarden.errors import BadQuestion
from gridwarden.local_zone import system_zone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gridwarden.accounting.apel import Usage
    from gridwarden.accounting.store import Store
    from gridwarden.settings import Settings
    from gridwarden.times import Range

DAY = 86_400 * times.MICROSECONDS
MESSAGES = ("job-v0.4", "job-v0.3", "summary-v0.4", "summary-v0.2")


@click.command("export")
@click.option("--since", metavar="TIME", required=True, help="Jobs that ended at this time or later.")
@click.option("--until", metavar="TIME", default="now", show_default=True, help="Jobs that ended before this time.")
@click.option(
    "--message",
    type=click.Choice(MESSAGES),
    default=MESSAGES[0],
    show_default=True,
    help="A record for each job, or the sums of each month; v0.4 are the newer forms.",
)
@click.option(
    "--local", is_flag=True, help="Also jobs that are of no grid identity, as APEL's InfrastructureType local."
)
@click.option("--withhold-names", is_flag=True, help="Say 'withheld' for every GlobalUserName.")
@click.option(
    "--queue",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Put each message into this directory queue, as SSM's sender reads it, instead of printing all.",
)
@click.pass_obj
def export_command(
    config: Path, since: str, until: str, message: str, local: bool, withhold_names: bool, queue: Path | None
) -> None:
    """Write the jobs that ended in a time as APEL's messages, for a site's accounting portal.

    A job is its holder's, by the batch system's figures; who that is, is as in `gridwarden report`. A job of a token's
    holder has a GlobalUserName, a VO and, where the token had groups, an FQAN. Times are read as by whoran; those of
    summaries in UTC, and of whole months up to this one, since APEL has one summary of a month, the latest.

    \b
    Examples:
      gridwarden export --since 2026-11-01 --queue /var/spool/apel/outgoing
      gridwarden export --since 2026-10-01 --until 2026-11-01 --message summary-v0.4
    """
    from gridwarden.accounting.apel import messages
    from gridwarden.accounting.dirq import put
    from gridwarden.accounting.store import open_to_read

    settings = load_settings.load(config)
    site = settings.accounting.apel.site or settings.site
    now = time.time_ns() // 1000
    of_months = message.startswith("summary")
    zone = UTC if of_months else system_zone()
    within = times.ordered(
        times.parse_instant(since, now=now, zone=zone, date_alone=True),
        times.parse_instant(until, now=now, zone=zone, date_alone=True),
        zone,
    )
    if of_months:
        _refuse_parts_of_months(within, now)
    if queue is not None and not os.access(queue, os.W_OK):
        raise BadQuestion(f"{queue} cannot be written", "run as who owns the queue")
    left_out: dict[str, int] = {}
    used = _used(open_to_read(settings.store), settings, within, left_out, local=local, withhold=withhold_names)
    count = 0
    for text in messages(message, used, settings.accounting, site):
        count += 1
        if queue is None:
            click.echo(text, nl=False)
        else:
            put(queue, text)
    if queue is not None:
        click.echo(f"{count} messages in {queue}", err=True)
    for reason, jobs in sorted(left_out.items()):
        click.echo(f"gridwarden: left out, since {reason}: {jobs} jobs", err=True)


def _refuse_parts_of_months(within: Range, now: int) -> None:
    """Refuse what would take the place of a whole month's summary, and has less; raises BadQuestion."""
    for option, instant in zip(("--since", "--until"), within, strict=True):
        shown = times.format_instant(instant, UTC)
        is_begun = option == "--until" and shown[:7] == times.format_instant(now, UTC)[:7]
        if not is_begun and not shown.startswith(f"{shown[:7]}-01T00:00:00+"):
            message = f"{option} is {shown}, within a month: APEL would take a part of it for all"
            raise BadQuestion(message, f"name the month's first day: {option} {shown[:7]}-01")


def _used(
    store: Store, settings: Settings, within: Range, left_out: dict[str, int], *, local: bool, withhold: bool
) -> Iterator[Usage]:
    """Yield the jobs of a range, a day of them in memory at a time."""
    from gridwarden.accounting.apel import usage
    from gridwarden.accounting.attributed import ended_within

    for begin in range(within.start, within.end, DAY):
        with store.transaction() as connection:
            division = ended_within(connection, times.Range(begin, min(begin + DAY, within.end)))
        for each in division.jobs:
            holder = next((part for part in each.attribution.parts if not part.payload), None)
            found = usage(each.job, holder, settings.accounting, withhold=withhold)
            if found is None:
                reason = "they never ran"
            elif found.infrastructure == "local" and not local:
                reason = "no grid identity is known to be behind them (--local)"
            else:
                yield found
                continue
            left_out[reason] = left_out.get(reason, 0) + 1
