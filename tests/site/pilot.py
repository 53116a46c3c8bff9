"""Pilots of the site: accounts that hold other people's credentials, and run payloads by the launcher."""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gridwarden import chain
from tests.site.slurm import run_as

if TYPE_CHECKING:
    import subprocess

ACCOUNT = "pilotcms"  # whose own proxy must show /cms/Role=pilot: bela's
OWNER = "bela"
LEDGER = "/var/lib/gridwarden/ledger"
CREDENTIALS = Path("/srv/credentials")


def home(account: str = ACCOUNT) -> Path:
    return Path(pwd.getpwnam(account).pw_dir)


def give(source: Path, name: str, account: str = ACCOUNT, mode: int = 0o600) -> Path:
    """A copy of a credential in the pilot's home, and the pilot's own, as pilots have them."""
    path = home(account) / name
    path.unlink(missing_ok=True)
    shutil.copyfile(source, path)
    os.chown(path, pwd.getpwnam(account).pw_uid, pwd.getpwnam(account).pw_gid)
    path.chmod(mode)
    return path


def proxy(person: str, kind: str = "proxy", account: str = ACCOUNT) -> Path:
    """A person's proxy, in the pilot's hands."""
    return give(CREDENTIALS / person / f"{kind}.pem", f"{person}.pem", account)


def launch(
    *command: str, owner: Path | None, pilot: Path | None, account: str = ACCOUNT, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a payload as a pilot outside any batch job does, and wait for it."""
    given = {"GLEXEC_CLIENT_CERT": owner, "X509_USER_PROXY": pilot} | variables
    words = [f"{name}={value}" for name, value in given.items() if value]
    return run_as(account, "setsid", "--wait", "env", "--chdir=/", *words, "gridwarden-exec", *command)


def records(kind: str, **fields: object) -> list[dict[str, Any]]:
    bodies = (line.body for line in chain.read(LEDGER))
    return [body for body in bodies if body["kind"] == kind and fields.items() <= body.items()]
