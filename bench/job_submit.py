"""What job_submit.lua takes of slurmctld's time, measured inside slurmctld at each of 1 000 real submissions.

Run inside the test site, on either suite::

    python3 -m tests.site run -- python3 /src/bench/job_submit.py

A file around the installed one takes the processor's clock before and after each call.  That clock is all of
slurmctld's, so what other threads use meanwhile is counted, too: the mean is an upper bound.  The floor is an empty function.
Prints a table, or JSON with ``--json``; exit code 1 when the mean is over its budget.
"""

from __future__ import annotations

import argparse
import json
import pwd
import statistics
import subprocess
import sys
import time
from pathlib import Path

PLUGIN = Path("/etc/slurm/job_submit.lua")
INNER = Path("/etc/slurm/job_submit.measured.lua")
TIMES = Path("/var/log/slurm/job_submit.times")
PROXY = "/srv/credentials/anna/proxy.pem"
BUDGET_MICROSECONDS = 100
AROUND = f"""\
assert(loadfile("{INNER}"))()
local judge = slurm_job_submit
local function empty() return slurm.SUCCESS end
local times = assert(io.open("{TIMES}", "a"))

function slurm_job_submit(job, partitions, uid)
  local began = os.clock()
  empty(job, partitions, uid)
  local between = os.clock()
  local answer = judge(job, partitions, uid)
  local ended = os.clock()
  times:write(string.format("%.0f %.0f\\n", (between - began) * 1e6, (ended - between) * 1e6))
  times:flush()
  return answer
end

return slurm.SUCCESS
"""


def submit(account: str) -> None:
    """One submission, as the account itself; the job waits for ever."""
    user = pwd.getpwnam(account)
    subprocess.run(
        ["sbatch", "--hold", "--output=/dev/null", "--wrap=true"],
        check=True,
        capture_output=True,
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
        cwd="/",
        env={"PATH": "/usr/bin:/bin", "HOME": user.pw_dir},
    )


def measure(count: int) -> dict[str, list[float]]:
    """The microseconds of each call: of an empty function, and of job_submit.lua."""
    mapped = subprocess.run(["gridwarden", "map", "--proxy", PROXY], check=True, capture_output=True, text=True)
    account = mapped.stdout.split()[0]
    original = PLUGIN.read_bytes()
    INNER.write_bytes(original)
    TIMES.touch()
    subprocess.run(["chown", "slurm:", str(TIMES)], check=True)
    time.sleep(1.1)  # to slurmctld a file that changed within the second in which it was loaded is the same
    PLUGIN.write_text(AROUND)  # loaded anew at the next submission
    try:
        for _ in range(count):  # one after the other: what slurmctld does for another submission would be counted
            submit(account)
        rows = [tuple(map(float, line.split())) for line in TIMES.read_text().splitlines()]
    finally:
        PLUGIN.write_bytes(original)
        INNER.unlink()
        TIMES.unlink()
        subprocess.run(["scancel", "--user", account], check=False)
    if len(rows) != count:
        raise SystemExit(f"{len(rows)} calls were measured, of {count} submissions")
    return {"floor": [floor for floor, _ in rows], "job_submit.lua": [call for _, call in rows]}


def main() -> int:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--submissions", type=int, default=1000)
    options.add_argument("--json", action="store_true")
    arguments = options.parse_args()
    times = measure(arguments.submissions)
    figures = {
        name: {
            "mean": statistics.fmean(all_of_it),
            "median": statistics.median(all_of_it),
            "p99": statistics.quantiles(all_of_it, n=100)[98],
        }
        for name, all_of_it in times.items()
    }
    if arguments.json:
        version = subprocess.run(["sinfo", "--version"], check=True, capture_output=True, text=True).stdout.strip()
        told = {"slurm": version, "budget": BUDGET_MICROSECONDS, "submissions": arguments.submissions}
        print(json.dumps(told | {"figures": figures}, indent=1))
    else:
        for name, row in figures.items():
            print(f"{name:16}" + "".join(f"  {key} {value:7.1f} µs" for key, value in row.items()))
    return int(figures["job_submit.lua"]["mean"] > BUDGET_MICROSECONDS)


if __name__ == "__main__":
    sys.exit(main())
