"""The launcher as a pilot of the site calls it, in a working directory of the pilot's and without a terminal."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

from gridwarden import chain
from gridwarden.reason_sentences import SENTENCES
from tests.site import pilot

WORK = Path("/var/tmp/launcher")
CLIENT, SYSTEM, AUTHORIZATION, NOT_EXECUTABLE = 201, 202, 203, 126


def own(path: Path, account: str = pilot.ACCOUNT) -> None:
    os.chown(path, pwd.getpwnam(account).pw_uid, pwd.getpwnam(account).pw_gid)


def call(
    *words: object,
    face: str = "gridwarden-exec",
    before: tuple[str, ...] = (),
    groups: tuple[int, ...] = (),
    stdin: int = subprocess.DEVNULL,
    **variables: object,
) -> subprocess.CompletedProcess[str]:
    """A face, called by the pilot with bela's proxy as its own and anna's as the payload's; what came of it.

    ``variables`` are the pilot's, None for one that it has not; ``before`` is what starts the face.
    """
    user = pwd.getpwnam(pilot.ACCOUNT)
    for name, person in (("X509_USER_PROXY", "bela"), ("GLEXEC_CLIENT_CERT", "anna")):
        if name not in variables:
            variables[name] = pilot.proxy(person)
    environment = {name: str(value) for name, value in variables.items() if value is not None}
    return subprocess.run(
        [*before, face, *map(str, words)],
        stdin=stdin,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        check=False,
        cwd=WORK,
        env={"PATH": "/usr/bin:/bin:/usr/sbin"} | environment,
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[user.pw_gid, *groups],
        start_new_session=True,
    )


def refused(done: subprocess.CompletedProcess[str], reason: str, code: int) -> None:
    """One short sentence, the code, and all of it on record."""
    assert (done.returncode, done.stdout) == (code, ""), done
    assert done.stderr == f"gridwarden-exec: {SENTENCES[reason]} ({reason})\n"
    # The last one, but for the end of a payload that a test before this one has had killed.
    last = [line.body for line in chain.read(pilot.LEDGER) if line.body["kind"] != "payload_end"][-1]
    assert (last["kind"], last["reason"], last["command"]) == ("refused", reason, f"exec of {pilot.ACCOUNT}")
