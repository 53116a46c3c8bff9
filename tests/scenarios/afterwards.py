"""What whoran and accounting say of the rows' jobs once everything is collected."""

from __future__ import annotations

import json
import subprocess
import time
from typing import TYPE_CHECKING

from gridwarden.accounting.attributed import of_number
from gridwarden.accounting.store import open_to_read

if TYPE_CHECKING:
    from tests.scenarios.statements import Seen

TRIES = 5
STORE = "sqlite:////var/lib/gridwarden/store.sqlite"


def collected(numbers: set[str]) -> bool:
    """Collect; whether the store then has every one of these jobs."""
    subprocess.run(["gridwarden", "collect"], check=True, capture_output=True)
    with open_to_read(STORE).transaction() as connection:
        return all(of_number(connection, number) for number in numbers)


def look_up(everything: list[Seen], began: float) -> None:
    """Collect, and let each row see what is now said of its jobs since ``began`` (seconds since the epoch)."""
    started = [one for seen in everything for one in seen.of("job_start") + seen.of("payload_start")]
    numbers = {one["job"] for one in started}
    numbers |= {number for seen in everything if seen.runs and not seen.of("job_start") for number in seen.numbers}
    for _ in range(TRIES):  # what is not there then, the statements miss
        if collected(numbers):
            break
    when = f"@{began:.6f}..@{time.time():.6f}"
    done = subprocess.run(["whoran", when, "--format", "json"], capture_output=True, text=True, check=False)
    assert done.returncode <= 1, done.stderr  # 1: nothing ran at all
    answers = json.loads(done.stdout)
    with open_to_read(STORE).transaction() as connection:
        for seen in everything:
            payloads = {one["payload"] for one in seen.of("payload_start")}
            seen.past = [answer for answer in answers if answer["job"] in {*seen.numbers, *payloads}]
            for number in seen.numbers:
                for run in of_number(connection, number):
                    seen.total += run.attribution.total
                    seen.parts += [(part.subject, part.cpu) for part in run.attribution.parts]
