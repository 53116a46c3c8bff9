"""``gridwarden globus-map``: this site's mapping as a program that Globus calls."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from gridwarden.errors import Refused

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = "globus-map"


@click.command(COMMAND)
@click.option(
    "-c", "connector", metavar="UUID", help="Connector for which Globus asks; the answer is the same for all."
)
@click.option("-s", "gateway", metavar="UUID", help="Storage gateway or Compute endpoint for which it asks; likewise.")
@click.option("-a", "every", is_flag=True, help="Globus takes several results; there is never more than one.")
@click.pass_obj
def globus_map_command(path: Path, connector: str | None, gateway: str | None, every: bool) -> None:  # noqa: ARG001 - Globus's arguments
    """Map a Globus identity set for Globus: the program of an external_identity_mapping#1.0.0 document.

    Reads an identity_mapping_input#1.0.0 on standard input and writes an identity_mapping_output#1.0.0. Bans, policy
    and leases are those of `gridwarden map`. Where no rule matches, the result is empty; where somebody is refused for
    another reason there is none, and the exit code is 77.

    \b
    Examples:
      gridwarden globus-map -a < identities.json
    """
    from gridwarden import reasons
    from gridwarden.mapper import callers, globus_people, site_cache
    from gridwarden.mapper.globus_values import Brought
    from gridwarden.mapper.mapping import Presented, Wanted, map_credentials, noted

    site = site_cache.load(path)
    with noted(site, COMMAND):
        callers.believed("a Globus identity set", site)
        data = sys.stdin.buffer.read(globus_people.LONGEST_SET + 1)
        brought = Brought(globus_people.parse(data, status_required=False))
    result = []
    try:
        lease = map_credentials(Presented(globus=brought), site, Wanted(COMMAND))
        mapped = next(person for person in brought.people if person.identity.subject == lease.subject)
        result = [{"id": mapped.properties.get("id", lease.subject), "output": lease.account}]
    except Refused as refusal:
        if refusal.reason != reasons.POLICY_NO_MATCH:
            raise
    click.echo(json.dumps({"DATA_TYPE": "identity_mapping_output#1.0.0", "result": result}))
