"""One row as it is played: its user's steps, and what others do and what fails meanwhile."""

from __future__ import annotations

import fcntl
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gridwarden import holders, register
from tests.scenarios.steps import GRIDMAPDIR, HOLDERS, LEDGER, REGISTER, Steps

if TYPE_CHECKING:
    from collections.abc import Iterator

SYSLOG = Path("/var/log/syslog")


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
        """As LCMAPS does with an account whose link is gone."""
        self.lose_lease()
        other = GRIDMAPDIR / "%2fdc%3dorg%2fdc%3dexample%2fcn%3dsomebody%20else"
        other.hardlink_to(GRIDMAPDIR / self.account)
        self.undo.callback(other.unlink)

    def fill_pool(self, pool: str) -> None:
        """Every account of a pool that is free is lent by another program."""
        for account in sorted(GRIDMAPDIR.glob(f"{pool}[0-9]*")):
            if account.stat().st_nlink == 1:
                lent = GRIDMAPDIR / f"%2fcn%3d{account.name}"
                lent.hardlink_to(account)
                self.undo.callback(lent.unlink)

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
