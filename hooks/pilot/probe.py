"""The monitoring check of the launcher: whether a payload runs here under another account.

After the probes that sites ran for gLExec: the face is found as pilots find it, ``id -u`` runs under it, the same uid is looked at
by its groups (log-only), and a program brought in through ``gridwarden exec-dir`` runs.  Codes are those of Nagios plug-ins.
"""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING, NamedTuple

from gridwarden.output import escape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OK, WARNING, CRITICAL, UNKNOWN = range(4)
WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
SECONDS = 60.0  # for each step
FACE = "/usr/sbin/glexec"
LOCATIONS = ("GLEXEC_LOCATION", "OSG_GLEXEC_LOCATION", "GLITE_LOCATION")
MEANINGS = {
    1: "sudo does not let this account call the launcher",
    126: "the program could not be executed",
    201: "what this account gave is not accepted",
    202: "this node cannot run payloads",
    203: "the site refuses this caller or this credential",
}
GREETING = "Hello world"
PAYLOAD = f"#!/bin/sh\necho '{GREETING}'\n"
BRING_IN = 'cat > "$1/hello" && chmod 500 "$1/hello"'


class Verdict(NamedTuple):
    """A code, what is wrong or right in a sentence, and how long the first launch took (None: there was none)."""

    code: int
    text: str
    seconds: float | None = None

    def line(self) -> str:
        """The one line that a monitoring system reads, with performance data."""
        measured = "" if self.seconds is None else f" | launch={self.seconds:.3f}s"
        return f"GRIDWARDEN-EXEC {WORDS[self.code]} - {escape(self.text).replace('|', '/')}{measured}"


# The launcher starts nothing for root, and root is let by where pilots are not: its answer would be about nobody's payloads.
AS_ROOT = Verdict(UNKNOWN, "root is no pilot: run this as an account of pilot.callers (runuser -u ACCOUNT -- ...)")


class FailedError(Exception):
    """A step did not end with 0; the message says which, and why."""


def find_face(environment: Mapping[str, str]) -> str:
    """Where pilots look for the face: below a location of the environment, else in /usr/sbin."""
    places = [f"{environment[name]}/sbin/glexec" for name in LOCATIONS if environment.get(name)]
    return next((place for place in [*places, FACE] if os.access(place, os.X_OK)), FACE)


def check(face: Sequence[str], exec_dir: Sequence[str], environment: Mapping[str, str]) -> Verdict:
    """Run all steps; ``face`` is the command that runs a payload, ``exec_dir`` one that makes a directory for it, and with ``-r`` removes it."""
    if not os.access(face[0], os.X_OK):
        return Verdict(CRITICAL, f"{face[0]} is not there: gridwarden hooks install")
    began = time.monotonic()
    try:
        uid = run([*face, "/usr/bin/id", "-u"], environment).strip()
        seconds = time.monotonic() - began
        groups = run([*face, "/usr/bin/id", "-G"], environment).split()
    except FailedError as error:
        return Verdict(CRITICAL, str(error))
    if uid == str(os.getuid()):
        mine = sorted({os.getgid(), *os.getgroups()})
        same = sorted(map(int, groups)) == mine
        told = "with the same groups: nobody is kept apart" if same else "with other groups"
        return Verdict(WARNING if same else OK, f"payloads run as the pilot itself (uid {uid}) {told}", seconds)
    try:
        try_directory(face, exec_dir, environment)
    except FailedError as error:
        return Verdict(WARNING, f"payloads run as uid {uid}, but {error}", seconds)
    return Verdict(OK, f"payloads run as uid {uid}, and take what is put into their directory", seconds)


def try_directory(face: Sequence[str], exec_dir: Sequence[str], environment: Mapping[str, str]) -> None:
    """Have a directory made, bring a program in, run it, remove all; raises FailedError."""
    directory = run(exec_dir, environment).strip()
    try:
        run([*face, "/bin/sh", "-c", BRING_IN, "sh", directory], environment, PAYLOAD)
        if run([*face, f"{directory}/hello"], environment).strip() != GREETING:
            raise FailedError("the program that was brought in did not say what it should")
    finally:
        run([*exec_dir, "-r", directory], environment)


def run(command: Sequence[str], environment: Mapping[str, str], text: str = "") -> str:
    """The standard output of a command that ends with 0; raises FailedError."""
    shown = " ".join(os.path.basename(word) if place == 0 else word for place, word in enumerate(command[:2]))
    try:
        done = subprocess.run(
            list(command),
            input=text,
            capture_output=True,
            text=True,
            errors="backslashreplace",
            check=False,
            timeout=SECONDS,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FailedError(f"{shown}: {error}") from error
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("hint: ")]
        why = said[-1] if said else MEANINGS.get(done.returncode, "it says nothing")
        raise FailedError(f"{shown} ended with {done.returncode}: {why}")
    return done.stdout
