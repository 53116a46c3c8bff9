"""What verifying a proxy with VOMS attributes costs in a process that has its code loaded, beside openssl's chain alone.

    python bench/verify.py --json > bench/verify.json

In turn: ``verifier.who_is`` (chain, revocation lists, signing policies, key, VOMS attributes by their LSC file), the whole
``verify_proxy`` with its process without rights, ``openssl verify`` of the chain as a process, and the start of the bare
interpreter.  Needs voms-proxy-fake (Debian package voms-clients); the whole needs root for that process to be nobody.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1]))

from interleaved import cpu_milliseconds, in_turn, parser

from gridwarden.mapper import pem, verifier
from gridwarden.mapper.accepted import Accepted
from gridwarden.mapper.verify import verify_proxy
from tests.site.credentials import PEOPLE, Grid

BUDGET_MS = 3.0


def measure(directory: Path, rounds: int) -> dict[str, list[float]]:
    """The milliseconds of processor time of each, taken in turn: nothing here waits for anything else."""
    grid = Grid(directory)
    grid.make()
    proxy = grid.proxy(PEOPLE[1], directory / "proxy.pem")
    data = proxy.read_bytes()
    presented = pem.certificates_only(data) + pem.keys_only(data)
    certificates, vomsdir = str(grid.certificates), str(grid.vomsdir)
    leaf, person = directory / "leaf.pem", directory / "person.pem"
    blocks = [pem.BEGIN + block for block in pem.certificates_only(data).split(pem.BEGIN)[1:]]
    leaf.write_bytes(blocks[0])
    person.write_bytes(b"".join(blocks[1:]))
    openssl = ["openssl", "verify", "-allow_proxy_certs", "-crl_check", "-CApath", certificates, "-untrusted"]

    def whole() -> None:
        verify_proxy(proxy, certificates=certificates, vomsdir=vomsdir, limited_allowed=False, seconds=10)

    works: dict[str, Callable[[], object]] = {
        "in_process": lambda: verifier.who_is(presented, certificates, vomsdir, Accepted()),
        "whole": whole,
        "openssl": lambda: subprocess.run([*openssl, person, leaf], check=True, capture_output=True),
        "interpreter": lambda: subprocess.run([sys.executable, "-I", "-S", "-c", "pass"], check=True),
    }
    return in_turn({name: cpu_milliseconds(work) for name, work in works.items()}, rounds)


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__, rounds=200).parse_args()
    with TemporaryDirectory(prefix="gridwarden-bench-") as name:
        Path(name).chmod(0o755)  # the verifier is nobody
        taken = measure(Path(name), arguments.rounds)
    medians = {name: round(statistics.median(times), 2) for name, times in taken.items()}
    least = {f"{name}_least": round(min(times), 2) for name, times in taken.items()}
    worst = {f"{name}_p95": round(statistics.quantiles(times, n=20)[-1], 2) for name, times in taken.items()}
    python = ".".join(map(str, sys.version_info[:3]))
    result = {"python": python, "rounds": arguments.rounds, "budget_ms": BUDGET_MS, **medians, **least, **worst}
    if arguments.json:
        print(json.dumps(result, indent=1))
    else:
        for name, value in result.items():
            print(f"{name:18} {value}")
    if medians["in_process"] >= BUDGET_MS:
        sys.exit(f"in process {medians['in_process']} ms, and the budget is {BUDGET_MS} ms")


if __name__ == "__main__":
    main()
