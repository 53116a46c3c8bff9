"""``gridwarden map``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from gridwarden.errors import BadQuestion, Refused
from gridwarden.output import escape, format_option, write

if TYPE_CHECKING:
    from gridwarden.mapper.globus_values import Brought
    from gridwarden.mapper.identity import Identity
    from gridwarden.mapper.mapping import Presented
    from gridwarden.mapper.site import SiteValues

dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")


@click.command("map")
@click.option(
    "--proxy",
    type=click.Path(path_type=Path),
    help="PEM file with the proxy, its key and its chain; under sudo it is read as whoever ran sudo.",
)
@click.option(
    "--token", type=click.Path(path_type=Path), help="File with a token, of the same person; read as a proxy is."
)
@click.option(
    "--claims",
    type=click.File("rb"),
    help="Ask about somebody who is not there: a JSON object of a token's claims; - for standard input.",
)
@click.option(
    "--globus",
    type=click.File("rb"),
    help="JSON file with one person's linked Globus identities, from root or a user of `credentials.callers` who has "
    "asked Globus; - for standard input.",
)
@click.option("--dn", metavar="DN", help="Ask about somebody who is not there, by a certificate's subject.")
@click.option("--fqan", "fqans", multiple=True, metavar="FQAN", help="A VOMS attribute of whom --dn names; repeatable.")
@click.option("--user", metavar="NAME", help="Ask about somebody who is not there, by a user name of the caller's own.")
@click.option(
    "--verified-by",
    metavar="WHO",
    help="Map whom --dn or --user names, as WHO has verified them: for root and users of `credentials.callers`; "
    "recorded with the lease.",
)
@click.option("--explain", is_flag=True, help="Say each step of the decision, rule by rule, on standard error.")
@click.option(
    "--slot",
    type=click.IntRange(min=1),
    metavar="K",
    help="Take the account of the identity's Kth job slot; `leases.slots` says how many there are.",
)
@dry_run_option
@format_option
@click.pass_obj
def map_command(
    path: Path,
    proxy: Path | None,
    token: Path | None,
    claims: BinaryIO | None,
    globus: BinaryIO | None,
    dn: str | None,
    fqans: tuple[str, ...],
    user: str | None,
    verified_by: str | None,
    explain: bool,
    slot: int | None,
    dry_run: bool,
    format: str,
) -> None:
    """Print the account of whose credential this is, and lend them one if they have none.

    Somebody who is not there is never lent anything: the answer is what would be decided now; but --verified-by says
    that they are. Exit code 77 when they are refused, with the reason; nothing is mapped then. --format json has the
    reason, and the steps of --explain, in its answer.

    \b
    Examples:
      gridwarden map --proxy /tmp/x509up_u1000
      gridwarden map --proxy proxy.pem --explain --dry-run
      gridwarden map --proxy proxy.pem --format json
      gridwarden map --proxy proxy.pem --slot 2
      gridwarden map --token token.jwt --proxy pilot.pem
      gridwarden map --claims claims.json --explain
      gridwarden map --globus identities.json
      gridwarden map --dn '/DC=org/DC=example/CN=Anna' --fqan /cms/Role=production --fqan /cms --explain
      gridwarden map --user anna --verified-by 'gateway gw1'
    """
    from contextlib import nullcontext

    from gridwarden.mapper.mapping import Presented, noted

    named = not (dn is None and user is None and claims is None)
    if named is bool(proxy or token or globus):
        raise BadQuestion(
            "give --proxy, --token or --globus, or --dn, --user or --claims for somebody who is not there",
            "gridwarden map --help",
        )
    if verified_by is not None and (claims is not None or (dn is None and user is None)):
        raise BadQuestion("--verified-by goes with --dn and --user", "token-map maps claims: docs/credentials.md")
    site = site_values(path)
    only_told = dry_run or (named and verified_by is None)
    steps: list[str] = []
    row: dict[str, object] = {}
    try:
        with nullcontext() if only_told else noted(site, "map"):
            word = word_of(verified_by, site) if verified_by is not None and not only_told else ""
            presented = Presented(proxy, token, somebody(dn, fqans, user, claims, site, word))
            if globus:
                presented = presented._replace(globus=brought_set(globus, site, believed=only_told))
        row = answer(presented, site, slot or 0, steps, explain=explain, only_told=only_told)
    except Refused as refusal:
        row = {"reason": refusal.reason, "detail": refusal.detail}
        raise
    finally:
        if format == "table" and (explain or only_told):
            for step in steps:
                click.echo(escape(step), err=True)
        if format != "table" and row:
            write([row | {"steps": steps}], [*(FORESEEN if only_told else ANSWER), *(["steps"] * explain)], format)
    if format == "table" and not only_told:
        click.echo(row["account"])


LONGEST_CLAIMS = 256 * 1024
LONGEST_WHO = 100
ANSWER = ["account", "uid", "gid", "groups", "lease", "scheme", "subject", "reason", "detail"]
FORESEEN = ["account", "pool", "rule", "scheme", "subject", "reason", "detail"]


def somebody(
    dn: str | None, fqans: tuple[str, ...], user: str | None, claims: BinaryIO | None, site: SiteValues, word: str
) -> tuple[Identity, ...]:
    """Who is named without a credential: a certificate's holder, a user, a token's, or one person who is several.

    ``word`` says who has verified them, if anybody has.
    """
    from gridwarden.mapper import claims as claimed
    from gridwarden.mapper.strict_json import parse_object

    if fqans and dn is None:
        raise BadQuestion("--fqan goes with --dn: a proxy says its own", "gridwarden map --help")
    found = [claimed.from_dn(dn, fqans, word)] if dn is not None else []
    if user is not None:
        found.append(claimed.from_user_name(user, word))
    if claims is not None:
        try:
            values = parse_object(claims.read(LONGEST_CLAIMS + 1), LONGEST_CLAIMS)
        except ValueError as error:
            raise BadQuestion(f"--claims: {error}", "gridwarden map --help") from None
        found.append(claimed.from_claims(values, site))
    return tuple(found)


def word_of(who: str, site: SiteValues) -> str:
    """On whose word somebody without a credential is mapped, for the records; raises BadQuestion.

    Raises Refused where the caller is not to be believed.
    """
    from gridwarden.mapper import callers

    if not 0 < len(who) <= LONGEST_WHO or not (who.isascii() and who.isprintable()) or "/" in who:
        raise BadQuestion(
            f"--verified-by: needs 1 to {LONGEST_WHO} printable characters of ASCII, no /", "gridwarden map --help"
        )
    return f"caller={callers.believed(f'somebody whom {who} has verified', site)} verified-by={who}"


def brought_set(globus: BinaryIO, site: SiteValues, *, believed: bool) -> Brought:
    """The Globus identity set of a file; raises Refused when it is none, or its bringer is not to be ``believed``."""
    from gridwarden.mapper import callers, globus_people
    from gridwarden.mapper.globus_values import Brought

    if not believed:
        callers.believed("a Globus identity set", site)
    return Brought(globus_people.parse(globus.read(globus_people.LONGEST_SET + 1)))


def answer(
    presented: Presented, site: SiteValues, slot: int, steps: list[str], *, explain: bool, only_told: bool
) -> dict[str, object]:
    """Map, or foresee what a mapping would give; ``steps`` collects what happened."""
    from gridwarden.mapper.foresee import foresee
    from gridwarden.mapper.mapping import Wanted, map_credentials

    rules = steps if explain else None
    if not only_told:
        lease = map_credentials(presented, site, Wanted(slot=slot), steps.append, rules)
        return {**lease._asdict(), "lease": lease.lease_id}
    account, decision = foresee(presented, site, steps.append, slot, rules)
    who = decision.identity
    steps.append(f"{who.subject} would have {account or 'one of the free accounts'}; nothing was done")
    pool = decision.target if decision.kind == "pool" else None
    return {**who._asdict(), "account": account or None, "pool": pool, "rule": decision.rule}


def site_values(path: Path) -> SiteValues:
    """The mapper's part of the configuration; raises ConfigurationError."""
    from gridwarden.load_settings import load
    from gridwarden.mapper.site import from_settings

    return from_settings(load(path))
