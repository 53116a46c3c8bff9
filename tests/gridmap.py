"""A gridmapdir with its site in a temporary directory, and users who exist only for the test."""

from __future__ import annotations

import json
import os
import pwd
import stat
from collections import Counter
from pathlib import Path

from gridwarden import chain
from gridwarden.mapper.encoding import lease_name
from gridwarden.mapper.identity import Identity
from gridwarden.mapper.lease import Lease
from gridwarden.mapper.mapping import map_identity, silent
from gridwarden.mapper.rules import Rule
from gridwarden.mapper.site import SiteValues


class Users:
    """What the system would say of users; accounts get uids of their own from 20001 on."""

    home = "/nowhere"

    def __init__(self, *names: str) -> None:
        self.uids = {name: 20001 + place for place, name in enumerate(names)}

    def getpwnam(self, name: str) -> pwd.struct_passwd:
        return pwd.struct_passwd((name, "x", self.uids[name], 20000, "", self.home, "/bin/sh"))

    def getpwuid(self, uid: int) -> pwd.struct_passwd:
        return self.getpwnam(next(name for name, known in self.uids.items() if known == uid))


def make_site(directory: Path, **values: object) -> SiteValues:
    """A site whose every directory is below `directory`, with pools cms and atlas but no account file yet."""
    for name in ("gridmapdir", "holders", "jobs", "ledger"):
        (directory / name).mkdir(mode=0o755, parents=True)
    (directory / "bans").touch(mode=0o644)
    site = SiteValues(
        site="TEST",
        node="ce",
        cluster="site",
        gridmapdir=directory / "gridmapdir",
        rules=(
            Rule(fqan="/cms/Role=production", account="cmsprod"),
            Rule(fqan="/cms", pool="cms"),
            Rule(fqan="/atlas", pool="atlas"),
        ),
        bans=(directory / "bans",),
        certificates=directory / "certificates",
        vomsdir=directory / "vomsdir",
        limited_proxies=False,
        verify_seconds=2,
        holders=directory / "holders",
        holders_group=os.getegid(),
        register=directory / "jobs",
        ledger=directory / "ledger",
        holds=directory / "holds",
    )
    return site._replace(**values)


def make_accounts(site: SiteValues, *names: str) -> Users:
    """Account files of these names, and their users."""
    for name in names:
        (site.gridmapdir / name).touch(mode=0o644)
    return Users(*names)


def person(name: str = "Anna", fqans: tuple[str, ...] = ("/cms",)) -> Identity:
    """Somebody with a verified credential."""
    vo = fqans[0].split("/")[1] if fqans else ""
    return Identity("x509", f"/DC=org/DC=example/CN={name}", fqans, vo, "01/test", 2**40, limited=False)


def asked(site: SiteValues, identity: Identity, users: Users) -> Lease:
    """The account that somebody is given, everything done that a mapping does."""
    return map_identity(identity, site, silent, users)


def free_account(site: SiteValues, pool: str = "cms") -> str:
    """An account that nobody has, and of which nobody is told to be the holder; accounts are lent at random."""
    free = (
        path.name
        for path in sorted(site.gridmapdir.glob(f"{pool}[0-9]*"), reverse=True)
        if path.stat().st_nlink == 1 and not (site.holders / path.name).exists()
    )
    return next(free)


def lcmaps_links(site: SiteValues, account: str, identity: Identity) -> Path:
    """Lease as LCMAPS does: one hard link, nothing else."""
    lease = site.gridmapdir / lease_name(identity.subject)
    os.link(site.gridmapdir / account, lease)
    return lease


def put_on_hold(site: SiteValues, account: str) -> Path:
    """The hold file that root writes during an incident."""
    site.holds.mkdir(mode=0o700, exist_ok=True)
    path = site.holds / account
    path.write_text("ticket 4711")
    path.chmod(0o600)
    return path


def bodies(site: SiteValues, kind: str) -> list[dict[str, object]]:
    """The records of one kind, from a ledger whose chain is whole."""
    assert not chain.faults(site.ledger)
    return [line.body for line in chain.read(site.ledger) if line.body["kind"] == kind]


def state(site: SiteValues) -> str:
    """Everything that a mapping could change, as text to compare."""
    seen = {}
    for place in (site.gridmapdir, site.holders, site.ledger, *site.bans):
        for path in [place, *sorted(place.rglob("*"))]:
            status = path.lstat()
            data = path.read_bytes().hex() if stat.S_ISREG(status.st_mode) else ""
            seen[str(path)] = (status.st_ino, status.st_nlink, data)
    return json.dumps(seen)


def holders_of_accounts(site: SiteValues) -> dict[str, list[str]]:
    """Account -> the lease names linked to it, from the directory alone; asserts that nobody shares."""
    entries = [(entry.name, entry.stat(follow_symlinks=False)) for entry in os.scandir(site.gridmapdir)]
    files = [
        (name, status.st_ino, status.st_nlink)
        for name, status in entries
        if not name.startswith(".") and stat.S_ISREG(status.st_mode)
    ]
    links = Counter(inode for _, inode, _ in files)
    assert all(count <= 2 and links[inode] == count for _, inode, count in files)
    return {
        name: [other for other, its, _ in files if its == inode and other != name]
        for name, inode, _ in files
        if not name.startswith("%")
    }
