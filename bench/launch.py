"""What launching a payload costs beside sudo and an interpreter's start, in interleaved runs of what is installed.

Run inside the test site, where gridwarden is installed as a wheel::

    python3 -m tests.site run -- python3 /src/bench/launch.py

Prints a table, or JSON with ``--json``.  ``--realtime`` gives all that is measured real-time priority, so that on a machine
that other work is done on it waits for nobody but itself.  Each launch is whole: a pilot's call of ``gridwarden-exec``, two credentials
verified, lease, records, PAM session, ``/bin/true`` as the payload's owner, the end on record, the account cleared.
"""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from interleaved import in_turn, parser, print_programs, program_milliseconds

from tests.tokens import CMS, HERE, Key, claims, key_set

SITE = Path("/etc/gridwarden/site.d/50-bench.yaml")
KEYS = Path("/etc/gridwarden/bench.jwks")
RULE = Path("/etc/sudoers.d/bench")
PILOT = pwd.getpwnam("pilotcms")
HOME = Path(PILOT.pw_dir)
FLOOR_HERE, FLOOR = Path(__file__).with_name("launch_floor.py"), Path("/etc/gridwarden/launch_floor.py")
DISK = "/var/lib/gridwarden"
FACE = "/usr/bin/gridwarden-exec"
BUDGETS = {"proxy": 3, "token": 10}
GROUP = "/cms"


def prepare() -> None:
    """What a pilot of the site has, and the rule for the floor."""
    key = Key.new()
    KEYS.write_bytes(key_set(key))
    issuer = {"issuer": CMS, "vo": "cms", "audiences": [HERE], "keys": str(KEYS)}
    policy = [{"issuer": CMS, "group": GROUP, "pool": "cms"}, {"fqan": GROUP, "pool": "cms"}]
    SITE.parent.mkdir(exist_ok=True)
    SITE.write_text(json.dumps({"tokens": {"issuers": [issuer]}, "policy": policy}))
    RULE.write_text(f"{PILOT.pw_name} ALL = (root) NOPASSWD: {interpreter()}\n")
    FLOOR.write_bytes(FLOOR_HERE.read_bytes())
    give("pilot", Path("/srv/credentials/bela/proxy.pem").read_bytes())
    give("proxy", Path("/srv/credentials/anna/proxy.pem").read_bytes())
    give("token", key.sign(claims(wlcg__groups=[GROUP])))
    (HOME / "work").mkdir(exist_ok=True)
    os.chown(HOME / "work", PILOT.pw_uid, PILOT.pw_gid)
    time.sleep(3)  # a copy of site.yaml is kept once it has been at rest for two seconds
    subprocess.run(["gridwarden", "map", "--proxy", "/srv/credentials/anna/proxy.pem"], check=True, capture_output=True)


def give(name: str, data: bytes) -> None:
    """Let the pilot have a credential file."""
    path = HOME / name
    path.write_bytes(data)
    path.chmod(0o600)
    os.chown(path, PILOT.pw_uid, PILOT.pw_gid)


def interpreter() -> str:
    """The interpreter that the launcher starts with."""
    return Path("/usr/libexec/gridwarden/exec").read_text().splitlines()[0][2:].split()[0]


def measure(rounds: int, *, realtime: bool) -> dict[str, list[float]]:
    """The times of each, taken in turn by a process that is the pilot."""
    if realtime:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    own = ["--pilot-proxy", str(HOME / "pilot")]
    bare = [interpreter(), "-I", "-S"]
    owner = pwd.getpwnam("cms001")
    runs = {
        "floor": ["/usr/bin/sudo", "-n", *bare, "-c", "pass"],
        "parts": [
            *("/usr/bin/sudo", "-n", *bare, str(FLOOR), str(HOME / "pilot"), str(HOME / "proxy")),
            *("gridwarden-exec", owner.pw_name, str(owner.pw_uid), str(owner.pw_gid), DISK),
        ],
        "proxy": [FACE, *own, "--proxy", str(HOME / "proxy"), "--", "/bin/true"],
        "token": [FACE, *own, "--token", str(HOME / "token"), "--", "/bin/true"],
    }
    os.setgroups([])
    os.setresgid(*[PILOT.pw_gid] * 3)
    os.setresuid(*[PILOT.pw_uid] * 3)
    os.chdir(HOME / "work")
    os.setsid()
    ways: dict[str, Callable[[], float]] = {
        name: partial(program_milliseconds, command, {"PATH": "/usr/bin:/bin"}) for name, command in runs.items()
    }
    return in_turn(ways, rounds, left_out=2)


def main() -> None:
    """Measure and print."""
    words = parser(__doc__, rounds=60)
    words.add_argument("--realtime", action="store_true")
    given = words.parse_args()
    prepare()
    taken = measure(given.rounds, realtime=given.realtime)
    print_programs(taken, BUDGETS, as_json=given.json, realtime=given.realtime)


if __name__ == "__main__":
    main()
