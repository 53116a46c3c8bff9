"""What the mapping plugin costs beside the interpreter's own start, in interleaved runs of the installed program.

Run inside the test site, where gridwarden is installed as a wheel::

    python3 -m tests.site run -- python3 /src/bench/plugin.py

Prints a table, or JSON with ``--json``.  Every run decides anew: bans, policy, a look-up of the lease.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from interleaved import in_turn, parser, print_programs, program_milliseconds

from tests.tokens import CMS, HERE, Key, claims, key_set

PROGRAM = Path("/usr/libexec/gridwarden/token-map")
SITE = Path("/etc/gridwarden/site.d/50-bench.yaml")
KEYS = Path("/etc/gridwarden/bench.jwks")
BUDGETS = {"claims": 10, "environment": 10, "token": 10}


def measure(rounds: int, directory: Path) -> dict[str, list[float]]:
    """The times of each, taken in turn."""
    key = Key.new()
    KEYS.write_bytes(key_set(key))
    issuer = {"issuer": CMS, "vo": "cms", "audiences": [HERE], "keys": str(KEYS)}
    policy = [{"issuer": CMS, "group": "/cms", "pool": "cms"}]
    SITE.parent.mkdir(exist_ok=True)
    SITE.write_text(json.dumps({"tokens": {"issuers": [issuer]}, "policy": policy}))
    subprocess.run(["gridwarden", "hooks", "install"], check=True, capture_output=True)
    interpreter = PROGRAM.read_text().splitlines()[0][2:].split()[0]
    honest = claims(wlcg__groups=["/cms"])
    token = directory / "token"
    token.write_bytes(key.sign(honest))
    token.chmod(0o600)
    arc = {
        "BEARER_TOKEN_0_ISSUER": CMS,
        "BEARER_TOKEN_0_SUBJECT": honest["sub"],
        "BEARER_TOKEN_0_AUDIENCE_0": HERE,
        "BEARER_TOKEN_0_GROUP_0": "/cms",
        "BEARER_TOKEN_0_CLAIM_wlcg.ver_0": "1.0",
    }
    time.sleep(3)  # a copy of site.yaml is kept once it has been at rest for two seconds
    payload = json.dumps(honest).encode()
    runs: dict[str, tuple[list[str], dict[str, str], bytes]] = {
        "floor": ([interpreter, "-I", "-S", "-c", "pass"], {}, b""),
        "claims": ([str(PROGRAM)], {}, payload),
        "environment": ([str(PROGRAM), "--environment", "/proc/self/environ"], arc, b""),
        "token": ([str(PROGRAM), "--token", str(token)], {}, b""),
    }
    ways = {name: partial(program_milliseconds, *run) for name, run in runs.items()}
    return in_turn(ways, rounds, left_out=2)


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__, rounds=60).parse_args()
    try:
        taken = measure(arguments.rounds, Path("/root"))
    finally:
        SITE.unlink(missing_ok=True)
        KEYS.unlink(missing_ok=True)
    print_programs(taken, BUDGETS, as_json=arguments.json)


if __name__ == "__main__":
    main()
