"""A real PostgreSQL server of a test run's own, reached by a socket that only the run knows.

It lies in memory where there is room: what a test stops and starts is the server, not the machine, and nothing waits for a disk.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

ROOM = 1 << 30
BINARIES = Path("/usr/lib/postgresql")
CONFIGURATION = """
listen_addresses = ''
unix_socket_directories = '{run}'
shared_buffers = 32MB
max_connections = 40
max_wal_size = 64MB
log_min_messages = warning
"""


class Server:
    """The server; ``start`` and ``stop`` may be called again and again, ``database`` makes an empty database."""

    def __init__(self) -> None:
        newest = max(BINARIES.glob("*/bin"), key=lambda path: int(path.parent.name))
        memory = "/dev/shm" if shutil.disk_usage("/dev/shm").free > ROOM else None
        self.root = Path(tempfile.mkdtemp(prefix="gridwarden-postgres.", dir=memory))
        self._pg_ctl, self._psql = newest / "pg_ctl", newest / "psql"
        self._made = 0
        owner = pwd.getpwnam("postgres") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        self._owner = owner.pw_name
        os.chown(self.root, owner.pw_uid, owner.pw_gid)
        data = str(self.root / "data")
        self._as_owner(newest / "initdb", "--pgdata", data, "--auth", "trust", "--username", "gridwarden", "--no-sync")
        with (self.root / "data/postgresql.conf").open("a") as file:
            file.write(CONFIGURATION.format(run=self.root))

    def start(self) -> None:
        log = str(self.root / "log")
        self._as_owner(self._pg_ctl, "start", "--wait", "--silent", "--log", log, "--pgdata", str(self.root / "data"))

    def stop(self, mode: str = "fast") -> None:
        """``immediate`` is as a crash: no checkpoint, connections cut."""
        self._as_owner(self._pg_ctl, "stop", "--wait", "--silent", "--mode", mode, "--pgdata", str(self.root / "data"))

    def remove(self) -> None:
        self.stop("immediate")
        shutil.rmtree(self.root)

    def database(self) -> str:
        """The URL of a new empty database."""
        self._made += 1
        self.sql(f"CREATE DATABASE store{self._made}")
        return f"postgresql://gridwarden@/store{self._made}?host={self.root}"

    def drop(self, url: str) -> None:
        """Remove a database, if it is still there."""
        self.sql(f"DROP DATABASE IF EXISTS {url.partition('@/')[2].partition('?')[0]} WITH (FORCE)")

    def sql(self, statement: str) -> None:
        command = [self._psql, "-qh", str(self.root), "-U", "gridwarden", "-c", statement, "postgres"]
        subprocess.run(command, check=True)

    def _as_owner(self, *command: str | Path) -> None:
        # The server refuses to run as root.
        as_owner = {"user": self._owner, "group": self._owner, "extra_groups": []} if os.geteuid() == 0 else {}
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/", **as_owner)
