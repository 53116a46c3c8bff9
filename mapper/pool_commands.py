"""``gridwarden pool``: create, grow, show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gridwarden.mapper.pool_making_commands import How, carry_out, making_options
from gridwarden.options import Group
from gridwarden.output import format_option, write

if TYPE_CHECKING:
    from pathlib import Path

    from gridwarden.mapper.directory_view import Seen
    from gridwarden.settings import Settings

STATES = ("free", "held", "foreign", "cooling", "faulty")


@click.group("pool", cls=Group)
def pool_group() -> None:
    """Make pools of accounts, make them larger, and find what they lack.

    \b
    Examples:
      gridwarden pool show
      gridwarden pool create cms --size 200 --first-uid 50001 --gid 50000 --print sysusers
      gridwarden pool grow cms --size 300 --dry-run
    """


@pool_group.command("create")
@click.argument("pool")
@click.option("--size", type=click.IntRange(1), help="How many accounts the pool is to have.  [required]")
@click.option("--first-uid", type=int, help="The uid of the first account; the others follow.  [required]")
@click.option("--gid", type=int, help="The gid of the pool's group, which is named as the pool.  [required]")
@click.option(
    "--digits", type=click.IntRange(1, 9), default=3, show_default=True, help="Digits of an account's number."
)
@click.option("--homes", default="/home", show_default=True, help="Directory of the homes.")
@click.option("--shell", default="/bin/bash", show_default=True, help="The accounts' shell.")
@making_options
@click.pass_obj
def create_command(
    path: Path,
    pool: str,
    size: int | None,
    first_uid: int | None,
    gid: int | None,
    digits: int,
    homes: str,
    shell: str,
    form: str | None,
    ldap_base: str,
    sysusers: Path | None,
    ldif: Path | None,
    dry_run: bool,
) -> None:
    """Make the pool POOL of site.yaml: users as a file, then homes and files of the gridmapdir.

    Run it again once the users are known: an account without user gets neither home nor file. What is there stays as
    it is. Exit code 1 while some account is not whole.

    \b
    Examples:
      gridwarden pool create cms --size 200 --first-uid 50001 --gid 50000 --print ldif
      mkdir -p /etc/sysusers.d
      gridwarden pool create cms --size 200 --first-uid 50001 --gid 50000 --sysusers /etc/sysusers.d/cms.conf
      systemd-sysusers /etc/sysusers.d/cms.conf
      gridwarden pool create cms --size 200 --first-uid 50001 --gid 50000
    """
    from gridwarden.errors import BadQuestion
    from gridwarden.mapper.pool import Declaration, created

    if size is None or first_uid is None or gid is None:
        given = {"--size": size, "--first-uid": first_uid, "--gid": gid}
        missing = ", ".join(name for name, value in given.items() if value is None)
        raise BadQuestion(f"{missing} must be given", "gridwarden pool create --help shows an example")
    settings, seen = survey_of(path)
    declared = Declaration(declared_pool(pool, settings), 1, size, first_uid, gid, digits, homes, shell)
    carry_out(created(declared, seen.files), settings, How(form, ldap_base, sysusers, ldif, dry_run))


@pool_group.command("grow")
@click.argument("pool")
@click.option("--size", type=click.IntRange(1), required=True, help="How many accounts the pool is to have in all.")
@click.option("--first-uid", type=int, help="The uid of the first new account; by default the one after the last's.")
@making_options
@click.pass_obj
def grow_command(
    path: Path,
    pool: str,
    size: int,
    first_uid: int | None,
    form: str | None,
    ldap_base: str,
    sysusers: Path | None,
    ldif: Path | None,
    dry_run: bool,
) -> None:
    """Add accounts to the pool POOL, like its last one, until it has --size of them.

    \b
    Examples:
      gridwarden pool grow cms --size 300 --dry-run
      gridwarden pool grow cms --size 300 --sysusers /etc/sysusers.d/cms-201-300.conf
    """
    from gridwarden.mapper.pool import grown
    from gridwarden.mapper.pool_files import ThisMachine

    settings, seen = survey_of(path)
    carry_out(
        grown(declared_pool(pool, settings), size, first_uid, seen.files, ThisMachine()),
        settings,
        How(form, ldap_base, sysusers, ldif, dry_run),
    )


@pool_group.command("show")
@click.argument("pool", required=False)
@format_option
@click.pass_obj
def show_command(path: Path, pool: str | None, format: str) -> None:
    """Count each pool's accounts by state, or list the accounts of POOL, with what they lack.

    \b
    Examples:
      gridwarden pool show
      gridwarden pool show cms --format json
    """
    settings, seen = survey_of(path)
    if pool is None:
        rows = [summary(each, seen) for each in settings.pools]
        write(rows, ["pool", "accounts", *STATES, "percent_taken", "problems"], format)
    else:
        write(account_rows(declared_pool(pool, settings), seen), ["account", "uid", "home", "state", "problem"], format)


def summary(pool: str, seen: Seen) -> dict[str, object]:
    """How many accounts of a pool are in which state, and what is wrong with it."""
    from gridwarden.mapper.pool import overlapping

    rows = account_rows(pool, seen)
    states = [row["state"] for row in rows]
    counts: dict[str, object] = {state: states.count(state) for state in STATES}
    problems = [f"{row['account']}: {row['problem']}" for row in rows if row["problem"]]
    more = [f"and {len(problems) - 3} more"] * (len(problems) > 3)
    said = "; ".join([*filter(None, [overlapping(pool, seen.files)]), *problems[:3], *more])
    taken = len(rows) - states.count("free")
    percent = 100 * taken // len(rows) if rows else 0
    return {"pool": pool, "accounts": len(rows), **counts, "percent_taken": percent, "problems": said or None}


def account_rows(pool: str, seen: Seen) -> list[dict[str, object]]:
    """Each account of a pool: uid, home, state, and why it could not be lent to anybody, or None."""
    from gridwarden.mapper.lease_list import rows
    from gridwarden.mapper.pool import of_pool
    from gridwarden.mapper.pool_files import ThisMachine, why_not_home

    states = {row.account: row.state for row in rows(seen)}
    found: list[dict[str, object]] = []
    for account in sorted(of_pool(seen.files, pool)):
        user = ThisMachine().user(account)
        hold = f"on hold: {seen.on_hold[account]}" if account in seen.on_hold else ""
        home = why_not_home(user.pw_dir, user.pw_uid) if user else ""
        problem = "; ".join(filter(None, [hold, seen.unusable.get(account) or home]))
        about = {"account": account, "uid": user.pw_uid if user else None, "home": user.pw_dir if user else None}
        found.append({**about, "state": states.get(account, "free"), "problem": problem or None})
    return found


def declared_pool(pool: str, settings: Settings) -> str:
    """A pool of site.yaml; raises BadQuestion."""
    from gridwarden.errors import BadQuestion

    if pool not in settings.pools:
        raise BadQuestion(
            f"site.yaml has no pool {pool}", f"its pools are {', '.join(settings.pools)}; add it there first"
        )
    return pool


def survey_of(path: Path) -> tuple[Settings, Seen]:
    """The configuration, and what the gridmapdir has now."""
    from gridwarden.load_settings import load
    from gridwarden.mapper.accounts import UsersReadOnce
    from gridwarden.mapper.gridmapdir import Gridmapdir
    from gridwarden.mapper.site import from_settings
    from gridwarden.mapper.survey import survey

    settings = load(path)
    with Gridmapdir(settings.gridmapdir) as directory:
        return settings, survey(directory, from_settings(settings), settings.pools, UsersReadOnce())
