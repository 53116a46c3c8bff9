"""What ``gridwarden pool create`` and ``grow`` share: their options, and the making of what is declared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from gridwarden.output import escape

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gridwarden.mapper.pool import Declaration
    from gridwarden.settings import Settings

Function = TypeVar("Function", bound="Callable[..., Any]")
MOST_SHOWN = 10


class How(NamedTuple):
    """The options of whatever makes accounts: ``form`` to print alone, files to write, and whether to do anything."""

    form: str | None
    ldap_base: str
    sysusers: Path | None
    ldif: Path | None
    dry_run: bool


def making_options(function: Function) -> Function:
    """The options of whatever makes accounts."""
    import pathlib

    path = click.Path(path_type=pathlib.Path)
    options = [
        click.option("--print", "form", type=click.Choice(["sysusers", "ldif"]), help="Print the users in this form, and do nothing."),
        click.option("--ldap-base", default="dc=example,dc=org", show_default=True, help="Base of the entries in LDIF."),
        click.option("--sysusers", type=path, help="Write the users to this new file, for systemd-sysusers."),
        click.option("--ldif", type=path, help="Write the users to this new file, for ldapadd."),
        click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing."),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


def carry_out(declared: Declaration, settings: Settings, how: How) -> None:
    """Print, write or make what is declared; exit code 1 while some account is not whole."""
    from gridwarden.mapper import pool as pools
    from gridwarden.mapper import pool_files
    from gridwarden.mapper.gridmapdir import Gridmapdir

    system = pool_files.ThisMachine()
    pools.refuse_faulty(declared, system)
    group = pools.needs_group(declared, system)
    texts = {
        "sysusers": pools.sysusers(declared, group=group),
        "ldif": pools.ldif(declared, how.ldap_base, group=group),
    }
    if how.form:
        click.echo(texts[how.form], nl=False)
        return
    for target, text in ((how.sysusers, texts["sysusers"]), (how.ldif, texts["ldif"])):
        if target:
            click.echo(pool_files.write_new(target.absolute(), text, dry_run=how.dry_run))
    with Gridmapdir(settings.gridmapdir) as directory:
        made, not_made = pool_files.make(pools.wanted(declared), directory, system, dry_run=how.dry_run)
    for sentence in made:
        click.echo(escape(sentence))
    for sentence in not_made[:MOST_SHOWN]:
        click.echo(escape(sentence), err=True)
    if not_made:
        click.echo(
            f"accounts that are not whole yet: {len(not_made)}; make their users (--sysusers, --ldif), then again",
            err=True,
        )
        click.get_current_context().exit(1)
