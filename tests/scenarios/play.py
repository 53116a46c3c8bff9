"""One row as it is played: its user's steps, and what others do and what fails meanwhile."""

from __future__ import annotations

import fcntl
import subprocess
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from gridwarden import holders, register
from gridwarden.mapper.encoding import lease_name
from tests.scenarios.statements import SOMEBODY_ELSE
from tests.scenarios.steps import GRIDMAPDIR, HOLDERS, LEDGER, REGISTER, Steps
from tests.site.lcmaps import lcmaps_map

if TYPE_CHECKING:
    from collections.abc import Iterator

SYSLOG = Path("/var/log/syslog")
FILLING = Lock()  # rows are played beside each other, and who fills a pool counts on what is free


def fill(pool: str, why: str, undo: ExitStack) -> None:
    """Link every account of a pool that is free, until ``undo``."""
    for account in sorted(GRIDMAPDIR.glob(f"{pool}[0-9]*")):
        if account.stat().st_nlink == 1:
            lent = GRIDMAPDIR / f"%2fcn%3d{why}%20{account.name}"
            lent.hardlink_to(account)
            undo.callback(lent.unlink)


class Play(Steps):
    """All that can happen in a row; what must not outlast it is in ``undo``, or a context."""

    def ban(self, *how: str) -> None:
        assert self.person
        subject = self.person.subject
        subprocess.run(
            ["gridwarden", "ban", "add", subject, "--because", "a test", *how], check=True, capture_output=True
        )
        self.undo.callback(subprocess.run, ["gridwarden", "ban", "remove", subject], check=True, capture_output=True)

    def lose_holder(self) -> None:
        holder, group = self.holder(), Path(HOLDERS).stat().st_gid
        holders.remove(HOLDERS, self.account)
        self.undo.callback(holders.publish, HOLDERS, holder, group)

    def damage_holder(self) -> None:
        """As a full disk, or an editor, might leave it."""
        path = Path(HOLDERS, self.account)
        before = path.read_bytes()
        path.write_bytes(before[: len(before) // 2])
        self.undo.callback(path.write_bytes, before)

    def lose_lease(self) -> None:
        """As when an administrator removes the link."""
        name = GRIDMAPDIR / self.holder().name
        name.unlink()
        self.undo.callback(name.hardlink_to, GRIDMAPDIR / self.account)

    def lend_to_somebody_else(self) -> None:
        """LCMAPS lends the account, whose link is gone, since no other of its pool is free.

        A site of Slurm 22.05 has no LCMAPS; there the link is made as LCMAPS makes it.
        """
        pool, name = self.account.rstrip("0123456789"), lease_name(SOMEBODY_ELSE)
        with FILLING, ExitStack() as meanwhile:
            fill(pool, "kept", meanwhile)
            self.lose_lease()
            if Path("/usr/lib/lcmaps").exists():
                assert lcmaps_map(SOMEBODY_ELSE, (f"/{pool}",)) == (self.account, name)
            else:
                (GRIDMAPDIR / name).hardlink_to(GRIDMAPDIR / self.account)
        self.undo.callback((GRIDMAPDIR / name).unlink)

    def fill_pool(self, pool: str) -> None:
        """Every account of a pool that is free is lent by another program."""
        self.undo.enter_context(FILLING)
        fill(pool, "full", self.undo)

    def forget_register(self) -> None:
        """As a reboot does: /run is empty."""
        for name in register.names_of(REGISTER, self.account):
            register.leave(REGISTER, self.account, name)

    @contextmanager
    def full_ledger(self) -> Iterator[None]:
        """The node's ledger is on a disk without room; what syslog says meanwhile of records is seen."""
        full = Path("/run/full-disk")
        full.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,mode=0700", "tmpfs", str(full)], check=True)
        (full / "filling").write_bytes(b"x" * 4096)
        try:
            with self.batch.choosing(ledger=str(full)), self.watching_syslog():
                yield
        finally:
            subprocess.run(["umount", str(full)], check=True)
            full.rmdir()

    @contextmanager
    def hooks_off(self) -> Iterator[None]:
        subprocess.run(["gridwarden", "off", "hooks", "--because", "a test"], check=True, capture_output=True)
        try:
            yield
        finally:
            subprocess.run(["gridwarden", "on", "hooks"], check=True, capture_output=True)

    @contextmanager
    def stuck_ledger(self) -> Iterator[None]:
        """Somebody has the ledger's lock, and does not let go."""
        with (LEDGER / "lock").open("rb") as lock, self.watching_syslog():
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def watching_syslog(self) -> Iterator[None]:
        """See what syslog says of records that could not be written."""
        said = len(SYSLOG.read_text(errors="replace"))
        yield
        lines = SYSLOG.read_text(errors="replace")[said:].splitlines()
        self.seen.facts["syslog"] = [line for line in lines if "outcome=unrecorded" in line and self.account in line]
