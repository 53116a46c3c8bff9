"""A pool of accounts from one declaration: users, group, homes and files of the gridmapdir; pure.

An account's file comes last, when the machine knows its user and it has a home: LCMAPS lends whatever file it
finds, and fails for good where there is no user behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from gridwarden.errors import BadQuestion, ConfigurationError
from gridwarden.mapper.accounts import may_be_account
from gridwarden.pools import FIRST_ORDINARY_UID, NOBODY, is_of_pool

if TYPE_CHECKING:
    import grp
    import pwd
    from collections.abc import Iterable

LONGEST_ACCOUNT = 32  # useradd(8), utmp
MOST_SHOWN = 5


class Declaration(NamedTuple):
    """Accounts ``first`` to ``last`` of a pool, with uids from ``first_uid`` on; ``homes`` is the directory of homes."""

    pool: str
    first: int
    last: int
    first_uid: int
    gid: int
    digits: int = 3
    homes: str = "/home"
    shell: str = "/bin/bash"


class Wanted(NamedTuple):
    """One account as it is to be."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str


class System(Protocol):
    """The users and groups of a machine."""

    def user(self, name: str) -> pwd.struct_passwd | None:
        """The user of that name."""

    def owner(self, uid: int) -> pwd.struct_passwd | None:
        """The first user of that uid."""

    def group(self, name: str) -> grp.struct_group | None:
        """The group of that name."""

    def group_of(self, gid: int) -> grp.struct_group | None:
        """The first group of that gid."""


def wanted(declared: Declaration) -> list[Wanted]:
    """The accounts of a declaration, in order."""
    names = [f"{declared.pool}{number:0{declared.digits}}" for number in range(declared.first, declared.last + 1)]
    return [
        Wanted(name, declared.first_uid + place, declared.gid, f"{declared.homes.rstrip('/')}/{name}", declared.shell)
        for place, name in enumerate(names)
    ]


def refuse_faulty(declared: Declaration, system: System) -> None:
    """Raise ConfigurationError with every reason for which a declaration cannot be made as it is."""
    faults = []
    accounts = wanted(declared)
    last_uid = declared.first_uid + len(accounts) - 1
    if declared.first_uid < FIRST_ORDINARY_UID or declared.first_uid <= NOBODY <= last_uid or declared.gid == 0:
        faults.append(f"uids {declared.first_uid} to {last_uid}, gid {declared.gid}: not those of ordinary users")
    if accounts and len(accounts[-1].name) > LONGEST_ACCOUNT:
        faults.append(f"{accounts[-1].name}: longer than {LONGEST_ACCOUNT} characters")
    group = system.group(declared.pool)
    if group and group.gr_gid != declared.gid and needs_group(declared, system):
        faults.append(f"the group {declared.pool} has gid {group.gr_gid} here, not {declared.gid}")
    for account in accounts:
        user, owner = system.user(account.name), system.owner(account.uid)
        if user and (user.pw_uid, user.pw_gid) != (account.uid, account.gid):
            faults.append(
                f"{account.name} has uid {user.pw_uid} and gid {user.pw_gid} here, not {account.uid} and {account.gid}"
            )
        elif owner and owner.pw_name != account.name:
            faults.append(f"uid {account.uid}, for {account.name}, is {owner.pw_name}'s")
    if faults:
        hidden = len(faults) - 20
        raise ConfigurationError(faults[:20] + [f"and {hidden} more"] * (hidden > 0), "nothing was made or written")


def needs_group(declared: Declaration, system: System) -> bool:
    """Whether the accounts' group is the pool's own and comes with it: not another's, and not there from before."""
    group = system.group_of(declared.gid)
    return declared.first == 1 and (group is None or group.gr_name == declared.pool)


def created(declared: Declaration, names: Iterable[str]) -> Declaration:
    """A declaration that makes a pool, or ends what was begun of it; raises BadQuestion when the pool is another."""
    planned = {account.name for account in wanted(declared)}
    if others := sorted(set(of_pool(names, declared.pool)) - planned):
        raise BadQuestion(
            f"pool {declared.pool} has other accounts already, such as {others[0]}",
            f"gridwarden pool grow {declared.pool} adds to it",
        )
    return declared


def grown(pool: str, size: int, first_uid: int | None, names: Iterable[str], system: System) -> Declaration:
    """The declaration that adds accounts to a pool until it has ``size``, like its last one.

    ``names`` are those in the gridmapdir.  Raises BadQuestion when there is nothing to go by.
    """
    numbers = {int(name.removeprefix(pool)): name for name in of_pool(names, pool)}
    last = numbers.get(max(numbers, default=0), "")
    model = system.user(last) if last else None
    if model is None:
        raise BadQuestion(
            f"pool {pool} has no account with a user yet" if not last else f"{last} has no user on this machine",
            f"gridwarden pool create {pool} makes it",
        )
    first, missing = max(numbers) + 1, size - len(numbers)
    if missing <= 0:
        raise BadQuestion(
            f"pool {pool} has {len(numbers)} accounts already", "--size is the number it is to have in all"
        )
    return Declaration(
        pool,
        first,
        first + missing - 1,
        first_uid if first_uid is not None else model.pw_uid + 1,
        model.pw_gid,
        len(last) - len(pool),
        model.pw_dir.rpartition("/")[0] or "/home",
        model.pw_shell,
    )


def of_pool(names: Iterable[str], pool: str) -> list[str]:
    """The names that are accounts of a pool."""
    return [name for name in names if is_of_pool(name, pool)]


def sysusers(declared: Declaration, *, group: bool) -> str:
    """The users, and their group if it is to be made, as sysusers.d(5) has them."""
    lines = ["# Written by gridwarden pool; systemd-sysusers makes these users."]
    lines += [f"g {declared.pool} {declared.gid}"] * group
    lines += [
        f'u {account.name} {account.uid}:{account.gid} "pool account" {account.home} {account.shell}'
        for account in wanted(declared)
    ]
    return "".join(f"{line}\n" for line in lines)


def ldif(declared: Declaration, base: str, *, group: bool) -> str:
    """The users, and their group if it is to be made, as LDIF (RFC 2849) of the NIS schema (RFC 2307), below ``base``."""
    entries = [
        [
            f"dn: cn={declared.pool},ou=Group,{base}", "objectClass: posixGroup", f"cn: {declared.pool}",
            f"gidNumber: {declared.gid}",
        ]
    ] * group  # fmt: skip
    entries += [
        [
            f"dn: uid={account.name},ou=People,{base}", "objectClass: account", "objectClass: posixAccount",
            f"cn: {account.name}", f"uid: {account.name}", f"uidNumber: {account.uid}",
            f"gidNumber: {account.gid}", f"homeDirectory: {account.home}", f"loginShell: {account.shell}",
        ]
        for account in wanted(declared)
    ]  # fmt: skip
    return "version: 1\n" + "".join("\n" + "".join(f"{line}\n" for line in entry) for entry in entries)


def overlapping(pool: str, names: Iterable[str]) -> str:
    """Which names in the gridmapdir begin with the pool's prefix and are not its accounts, in words; or nothing."""
    others = sorted(
        name for name in names if name.startswith(pool) and may_be_account(name) and not is_of_pool(name, pool)
    )
    if not others:
        return ""
    shown = ", ".join(others[:MOST_SHOWN]) + (", …" if len(others) > MOST_SHOWN else "")
    return f"programs that match any name with the prefix lend these as {pool}'s: {shown}"
