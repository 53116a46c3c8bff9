"""The real LCMAPS logs to the site's syslog whom it mapped, and whoran says so: declared, since nobody of ours was asked."""

from __future__ import annotations

import json
import os
import pwd
import secrets
import subprocess
import sys
import time
from pathlib import Path

import yaml

from tests.site.lcmaps import ENVIRONMENT, VOMS_FORM
from tests.site.slurm import until

SITE, SYSLOG = Path("/etc/gridwarden/site.yaml"), Path("/var/log/syslog")
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


def whoran(*words: str | Path) -> list[dict[str, object]]:
    done = subprocess.run(["whoran", *words, "--format", "json"], capture_output=True, text=True, check=False)
    answers: list[dict[str, object]] = json.loads(done.stdout or "[]")
    return answers


def test_whom_the_real_lcmaps_mapped_is_declared_to_have_held_the_account(
    tmp_path: Path,
) -> None:
    config = tmp_path / "site.yaml"  # with evidence of its own: other stories have lent the accounts to others
    settings = {"directories": {"state": str(tmp_path)}, "store": f"sqlite:///{tmp_path}/store.sqlite"}
    config.write_text(yaml.safe_dump(yaml.safe_load(SITE.read_text()) | settings))
    (tmp_path / "ledger").mkdir(mode=0o700)
    begun, before, mark = time.time(), SYSLOG.stat().st_size, secrets.token_hex(4)
    person = f"/DC=org/DC=example/CN=Before {mark}"
    forger = f"/DC=org/DC=example/CN=x\"->mapped uid:'0',pgid:'0' {mark}"
    environment = {**os.environ, **ENVIRONMENT, "LCMAPS_DB_FILE": VOMS_FORM, "LCMAPS_DEBUG_LEVEL": "3"}
    words = [sys.executable, "-c", GLEXEC, person, forger]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment, cwd="/src")
    uid = int(done.stdout.split()[0])
    until(
        "both lines in syslog",
        lambda: SYSLOG.read_text(encoding="utf-8", errors="replace").count(f'{mark}"->') == 2,
    )
    log = tmp_path / "syslog"
    log.write_bytes(SYSLOG.read_bytes()[before:])
    collect = ["gridwarden", "--config", config, "collect", log]
    said = subprocess.run(collect, capture_output=True, text=True, check=True)
    assert " lines = " in said.stdout
    assert "names nobody clearly" in said.stderr
    account = pwd.getpwuid(uid).pw_name
    (answer,) = whoran("--config", config, "--account", account, f"@{begun:.6f}..now")
    assert (answer["evidence"], answer["identity"], answer["account"]) == ("declared", person, account)
    assert f"{log}:" in str(answer["because"])
    assert whoran("--config", config, "--uid", "0", f"@{begun:.6f}..now") == []
