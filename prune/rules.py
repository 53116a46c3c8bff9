"""What a site has decided about pruning: whose processes are judged, and what it exempts."""

from __future__ import annotations

import os
import pwd

from gridwarden import pools

SUBORDINATE = "/etc/subuid"

Site = dict[str, list[str]]


class Rules:
    """The keys ``prune_...`` of the node file, as the judge needs them.

    ``pools`` are prefixes, ``uids`` ranges with both ends; ``files`` the (device, inode) of exempt commands and
    ``helpers`` of submit helpers; ``cgroups`` exempt control groups; ``daemons`` the paths of the batch
    systems' programs that start jobs; ``subordinate`` the file that lends accounts more uids, and ``lenders``
    the uids of the accounts by those of their lent ones that ``whose`` has met.
    """

    __slots__ = (
        "_lent", "cgroup_protects", "cgroups", "daemons", "files", "helpers", "lenders", "pools", "spare_logins",
        "subordinate", "uids", "users",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913 - one argument a setting
        self,
        *,
        pools: tuple[str, ...] = (),
        uids: tuple[tuple[int, int], ...] = (),
        users: frozenset[str] = frozenset(),
        files: frozenset[tuple[int, int]] = frozenset(),
        helpers: frozenset[tuple[int, int]] = frozenset(),
        cgroups: tuple[str, ...] = (),
        daemons: frozenset[str] = frozenset(),
        cgroup_protects: bool = True,
        spare_logins: bool = False,
        subordinate: str = SUBORDINATE,
    ) -> None:
        self.pools = pools
        self.uids = uids
        self.users = users
        self.files = files
        self.helpers = helpers
        self.cgroups = cgroups
        self.daemons = daemons
        self.cgroup_protects = cgroup_protects
        self.spare_logins = spare_logins
        self.subordinate = subordinate
        self.lenders: dict[int, int] = {}
        self._lent: list[tuple[str, int, int]] | None = None

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
        """The account whose processes those of ``uid`` are, "" if they are not to be judged.

        With newuidmap(1) an account's process takes any uid that subuid(5) lends the account, and would
        otherwise be nobody's.
        """
        account = self.account_of(uid)
        if account or not pools.is_ordinary(uid):
            return account
        if not _is_nobodys(uid):
            return ""
        if self._lent is None:  # only now: hardly any node has such a process, and the file can be long
            self._lent = _read_lent(self.subordinate)
        for name, first, count in self._lent:
            if first <= uid < first + count and (lender := _uid_of(name)) and (account := self.account_of(lender)):
                self.lenders[uid] = lender
                return account
        return ""


def read(site: Site) -> Rules:
    """The rules of a node file; a file that is exempt by name exempts nothing while it is not there."""
    daemons = site.get("prune_daemon", [])
    return Rules(
        pools=tuple(site["pool"]),
        uids=tuple(_range(text) for text in site.get("prune_uids", [])),
        users=frozenset(site.get("prune_exempt_user", [])),
        files=_files(site.get("prune_exempt_command", [])),
        helpers=_files(site.get("prune_submit_helper", [])),
        cgroups=tuple(site.get("prune_exempt_cgroup", [])),
        daemons=frozenset([*daemons, *map(os.path.realpath, daemons)]),
        cgroup_protects=site.get("prune_cgroup_protects") != ["no"],
        spare_logins=site.get("prune_login_sessions") == ["spare"],
    )


def _range(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    return int(first), int(last or first)


def _files(paths: list[str]) -> frozenset[tuple[int, int]]:
    found = set()
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            continue
        found.add((status.st_dev, status.st_ino))
    return frozenset(found)


def _read_lent(path: str) -> list[tuple[str, int, int]]:
    """Account, first uid and count of each line of subuid(5); a line of another form lends nothing."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.split(":") for line in file.read().splitlines()]
    except OSError:
        return []
    return [(line[0], int(line[1]), int(line[2])) for line in lines if len(line) == 3 and "".join(line[1:]).isdecimal()]


def _is_nobodys(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return True
    return False


def _uid_of(name: str) -> int:
    """The uid of an account by name or number, as subuid(5) has either; 0 if there is none."""
    try:
        return int(name) if name.isdecimal() else pwd.getpwnam(name).pw_uid
    except KeyError:
        return 0
