"""What a site has decided about pruning: whose processes are judged, and what it exempts."""

from __future__ import annotations

import pwd

from gridwarden import executables, pools
from gridwarden.prune import lent

Site = dict[str, list[str]]


class Rules:
    """The keys ``prune_...`` of the node file, as the judge needs them.

    ``pools`` are prefixes, ``uids`` ranges with both ends; ``files`` the (device, inode) of exempt commands and
    ``helpers`` of submit helpers, ``paths`` the paths of both; ``cgroups`` exempt control groups; ``daemons`` the
    paths of the batch systems' programs that start jobs; ``lent`` the uids that accounts are lent, and ``lenders``
    the uids of the accounts by those of their lent ones that ``whose`` has met.
    """

    __slots__ = (
        "_whose", "cgroup_protects", "cgroups", "daemons", "files", "helpers", "lenders", "lent", "paths", "pools",
        "spare_logins", "uids", "users",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913 - one argument a setting
        self,
        *,
        pools: tuple[str, ...] = (),
        uids: tuple[tuple[int, int], ...] = (),
        users: frozenset[str] = frozenset(),
        files: frozenset[tuple[int, int]] = frozenset(),
        helpers: frozenset[tuple[int, int]] = frozenset(),
        paths: frozenset[str] = frozenset(),
        cgroups: tuple[str, ...] = (),
        daemons: frozenset[str] = frozenset(),
        cgroup_protects: bool = True,
        spare_logins: bool = False,
        subordinate: str = lent.PATH,
    ) -> None:
        self.pools = pools
        self.uids = uids
        self.users = users
        self.files = files
        self.helpers = helpers
        self.paths = paths
        self.cgroups = cgroups
        self.daemons = daemons
        self.cgroup_protects = cgroup_protects
        self.spare_logins = spare_logins
        self.lent = lent.Lent(subordinate)
        self.lenders: dict[int, int] = {}
        self._whose: dict[int, str] = {}

    def account_of(self, uid: int) -> str:
        """The account of ``uid`` if it is to be judged, else "": root, the system's and people's."""
        if not pools.is_ordinary(uid):
            return ""
        try:
            name = pwd.getpwuid(uid).pw_name
        except KeyError:  # or the name service does not answer
            name = ""
        if any(pools.is_of_pool(name, pool) for pool in self.pools):
            return name
        return (name or str(uid)) if any(first <= uid <= last for first, last in self.uids) else ""

    def whose(self, uid: int) -> str:
        """The account whose processes those of ``uid`` are, its own or lent to it; "" if they are not to be judged.

        Asked for once in a run: the name service may be slow, and does not answer while all others are halted.
        """
        if uid not in self._whose:
            account = self.account_of(uid)
            if not account and (name := self.lent.to(uid)) and (owner := _uid_of(name)):
                account = self.account_of(owner)
                if account:
                    self.lenders[uid] = owner
            self._whose[uid] = account
        return self._whose[uid]


def read(site: Site) -> Rules:
    """The rules of a node file; a file that is exempt by name exempts nothing while it is not there."""
    daemons = site.get("prune_daemon", [])
    commands, helpers = site.get("prune_exempt_command", []), site.get("prune_submit_helper", [])
    found = executables.resolve([*commands, *helpers, *daemons])
    return Rules(
        pools=tuple(site["pool"]),
        uids=tuple(_range(text) for text in site.get("prune_uids", [])),
        users=frozenset(site.get("prune_exempt_user", [])),
        files=frozenset(found[path][1] for path in commands) - executables.NO_FILES,
        helpers=frozenset(found[path][1] for path in helpers) - executables.NO_FILES,
        paths=frozenset(found[path][0] for path in (*commands, *helpers)),
        cgroups=tuple(site.get("prune_exempt_cgroup", [])),
        daemons=frozenset([*daemons, *(found[path][0] for path in daemons)]),
        cgroup_protects=site.get("prune_cgroup_protects") != ["no"],
        spare_logins=site.get("prune_login_sessions") == ["spare"],
    )


def _range(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    return int(first), int(last or first)


def _uid_of(name: str) -> int:
    """The uid of an account by name or number, as subuid(5) has either; 0 if there is none."""
    try:
        return int(name) if name.isdecimal() else pwd.getpwnam(name).pw_uid
    except KeyError:
        return 0
