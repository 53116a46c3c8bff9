"""What ``gridwarden report`` prints of single jobs: how one was divided, and what its payload records say of a pilot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gridwarden import output
from gridwarden.accounting import show
from gridwarden.accounting.attributed import ended_within, of_number
from gridwarden.accounting.explain import explain, heading
from gridwarden.accounting.pilots import Pilot, pilots
from gridwarden.accounting.store import open_to_read
from gridwarden.errors import BadQuestion
from gridwarden.times import format_instant

if TYPE_CHECKING:
    from datetime import tzinfo

    from gridwarden.accounting.batch_records import Job
    from gridwarden.settings import Settings
    from gridwarden.times import Range

JOB = ("batch", "cluster", "job", "submit", "restart")
DERIVATION = ("step", "what", "identity", "account", "cpu", "batch_cpu", "evidence", "because")
# In a table the numbers behind the remarks would only say them twice.
PILOT = ("job", "account", "identity", "payloads", "cpu", "payload_cpu", "covered", "at_once", "slots", "remarks")


def explain_job(settings: Settings, number: str, zone: tzinfo, format: str) -> None:  # noqa: A002  named as the option
    """Print the derivation of each run of a job; raises BadQuestion where the store has none, Unavailable."""
    with open_to_read(settings.store).transaction() as connection:
        found = of_number(connection, number)
    if not found:
        raise BadQuestion(f"the store has no batch job {number!r}", "ask by its number, after gridwarden collect")
    every: list[dict[str, object]] = []
    for each in found:
        lines = enumerate(explain(each, zone), 1)
        rows = [{**_key(each.job, zone), "step": step, **line._asdict()} for step, line in lines]
        if format == "table":
            click.echo(output.escape(heading(each.job, zone)))
            output.write(*show.cpu_cells(rows, DERIVATION, as_text=True), format)
        every += rows
    if format != "table":
        output.write(*show.cpu_cells(every, (*JOB, *DERIVATION), as_text=False), format)


def list_pilots(settings: Settings, within: Range, format: str) -> None:  # noqa: A002  named as the option
    """Print the pilots whose jobs ended within a range; raises Unavailable."""
    with open_to_read(settings.store).transaction() as connection:
        found = pilots(ended_within(connection, within).jobs, settings.pilot.callers)
    table = format == "table"
    rows = (pilot._asdict() for pilot in found)
    output.write(*show.cpu_cells(rows, PILOT if table else Pilot._fields, as_text=table), format)


def _key(job: Job, zone: tzinfo) -> dict[str, object]:
    return dict(zip(JOB, (*job[:3], format_instant(job.submit, zone), job.restart), strict=True))
