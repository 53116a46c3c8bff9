"""What the mapping plugin costs beside the interpreter's own start, in interleaved runs of the installed program.

Run inside the test site, where gridwarden is installed as a wheel::

    python3 -m tests.site run -- /opt/gridwarden/bin/python /src/bench/plugin.py

Prints a table, or JSON with ``--json``.  Every run decides anew: bans, policy, a look-up of the lease.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.tokens import CMS, HERE, Key, claims, key_set

PROGRAM = Path("/usr/libexec/gridwarden/token-map")
SITE = Path("/etc/gridwarden/site.d/50-bench.yaml")
KEYS = Path("/etc/gridwarden/bench.jwks")
BUDGETS = {"claims": 10, "environment": 10, "token": 10}


def milliseconds(command: list[str], presented: bytes, environment: dict[str, str]) -> float:
    """Run a command to its end with ``presented`` on its standard input and return how long that took."""
    source = os.memfd_create("claims")
    os.write(source, presented)
    os.lseek(source, 0, os.SEEK_SET)
    start = time.perf_counter()
    quiet = [(os.POSIX_SPAWN_DUP2, source, 0), (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    child = os.posix_spawn(command[0], command, environment, file_actions=quiet)
    _, status = os.waitpid(child, 0)
    took = (time.perf_counter() - start) * 1000
    os.close(source)
    if status != 0:
        sys.exit(f"{' '.join(command)} ended with wait status {status}")
    return took


def measure(rounds: int, directory: Path) -> dict[str, list[float]]:
    """The times of each, taken in turn, the first rounds left out."""
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
    runs: dict[str, tuple[list[str], bytes, dict[str, str]]] = {
        "floor": ([interpreter, "-I", "-S", "-c", "pass"], b"", {}),
        "claims": ([str(PROGRAM)], payload, {}),
        "environment": ([str(PROGRAM), "--environment"], b"", arc),
        "token": ([str(PROGRAM), "--token", str(token)], b"", {}),
    }
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 2):
        for name, run in runs.items():
            took = milliseconds(*run)
            if number > 1:
                taken[name].append(took)
    return taken


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    try:
        taken = measure(arguments.rounds, Path("/root"))
    finally:
        SITE.unlink(missing_ok=True)
        KEYS.unlink(missing_ok=True)
    floor = statistics.median(taken["floor"])
    rows = [
        {
            "what": name,
            "median_ms": round(statistics.median(times), 2),
            "ratio": round(statistics.median(times) / floor, 2),
            "budget": BUDGETS.get(name),
        }
        for name, times in taken.items()
    ]
    if arguments.json:
        print(json.dumps({"rounds": arguments.rounds, "python": sys.version.split()[0], "rows": rows}, indent=1))
        return
    for row in rows:
        budget = f"budget {row['budget']}" if row["budget"] else ""
        print(f"{row['what']:12} {row['median_ms']:7.2f} ms   {row['ratio']:5.2f} x floor   {budget}")


if __name__ == "__main__":
    main()
