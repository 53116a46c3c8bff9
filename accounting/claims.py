"""What a line of another program's log claims of who was behind an account.  Pure.

Nothing of it was verified by gridwarden, and whoever can write to syslog can write such a line: it is ``declared`` evidence,
for ``whoran`` alone, and no CPU time is ever attributed by it.
"""

from __future__ import annotations

import pwd
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

LCMAPS, GLEXEC, BLAH, CE = "lcmaps", "glexec", "blah", "htcondor-ce"
MAPPING, JOB, START, NAME, END = "mapping", "job", "start", "name", "end"
X509, TOKEN = "x509", "token"
UNSAID = "says nothing of who"


class Claim(NamedTuple):
    """One line: at ``time`` (microseconds), on ``node``, ``log`` said ``what``.

    A ``mapping`` names an account and whom it was given to, a ``job`` besides the batch system's number, without its
    server, and ``until`` when it lasted; ``start``, ``name`` and ``end`` are lines of one ``session``, which say together
    who ran as which account, in the process ``pid``.  ``place`` is file and line.
    """

    log: str
    what: str
    node: str
    time: int
    account: str = ""
    scheme: str = ""
    subject: str = ""
    fqan: str = ""
    vo: str = ""
    session: str = ""
    pid: int | None = None
    batch: str = ""
    job: str = ""
    until: int | None = None
    place: str = ""

    @property
    def digest(self) -> str:
        """What a claim is known by: the same line of two files is one."""
        return sha256(repr(self[:-1]).encode("utf-8", "backslashreplace")).hexdigest()


@lru_cache(maxsize=1 << 12)
def account_of(uid: int) -> str:
    """Return the name of the account that has a uid on this machine today, the uid itself where none has it."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return str(uid)


def vo_of(fqan: str) -> str:
    """Return the VO that an FQAN begins with."""
    return fqan.removeprefix("/").partition("/")[0] if fqan.startswith("/") else ""
