"""The real LCMAPS logs to the site's syslog whom it mapped, and whoran says so: declared, since nobody of ours was asked."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
import time
from pathlib import Path

from tests.site.lcmaps import ENVIRONMENT, VOMS_FORM
from tests.site.slurm import until

SYSLOG = Path("/var/log/syslog")
# gLExec opens the log under its own name, and has LCMAPS write there.
GLEXEC = """
import ctypes, os, sys
from tests.site.lcmaps import GRIDMAPDIR, LIBRARY, Lcmaps
ctypes.CDLL(None).openlog(b"glexec", 1, 8)
lcmaps = Lcmaps.__new__(Lcmaps)
lcmaps.library = ctypes.CDLL(LIBRARY, mode=ctypes.RTLD_GLOBAL)
assert lcmaps.library.lcmaps_init_and_logfile(None, None, ctypes.c_ushort(2)) == 0
for subject in sys.argv[1:]:
    uid, lease = lcmaps.uid_and_lease(subject.encode(), [b"/atlas"])
    os.unlink(os.path.join(GRIDMAPDIR, os.fsdecode(lease)))  # the account is free for stories after this one
    print(uid)
"""


def whoran(*words: str) -> list[dict[str, object]]:
    done = subprocess.run(["whoran", *words, "--format", "json"], capture_output=True, text=True, check=False)
    answers: list[dict[str, object]] = json.loads(done.stdout or "[]")
    return answers


def test_whom_the_real_lcmaps_mapped_is_declared_to_have_held_the_account() -> None:
    begun = time.time()
    person = f"/DC=org/DC=example/CN=Before {os.getpid()}"
    forger = f"/DC=org/DC=example/CN=x\"->mapped uid:'0',pgid:'0' {os.getpid()}"
    environment = {**os.environ, **ENVIRONMENT, "LCMAPS_DB_FILE": VOMS_FORM, "LCMAPS_DEBUG_LEVEL": "3"}
    words = [sys.executable, "-c", GLEXEC, person, forger]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment, cwd="/src")
    uid = int(done.stdout.split()[0])
    until(
        "both lines in syslog",
        lambda: SYSLOG.read_text(encoding="utf-8", errors="replace").count(f'{os.getpid()}"->') == 2,
    )
    said = subprocess.run(["gridwarden", "collect", str(SYSLOG)], capture_output=True, text=True, check=True)
    assert " lines = " in said.stdout
    assert "names nobody clearly" in said.stderr
    account = pwd.getpwuid(uid).pw_name
    (answer,) = whoran("--account", account, f"@{begun:.6f}..now")
    assert (answer["evidence"], answer["identity"], answer["account"]) == ("declared", person, account)
    assert f"{SYSLOG}:" in str(answer["because"])
    assert whoran("--uid", "0", f"@{begun:.6f}..now") == []
