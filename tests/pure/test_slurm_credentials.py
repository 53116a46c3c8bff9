"""What slurmd's file of credentials says of a job that must not run, in each version's format."""

from __future__ import annotations

import pytest

from gridwarden.batch.slurm_credentials import revocations

NEVER, REVOKED, MADE, UNTIL = 0, 1795300691, 1795300600, 0x7FFFFFFF
STEP = (0xFFFFFFFB, 0xFFFFFFFE)


def number(value: int, length: int) -> bytes:
    return value.to_bytes(length, "big")


def entry(version: int, job: int, revoked: int) -> bytes:
    times = [revoked, MADE, UNTIL] + ([UNTIL] if version >= 45 else [])
    identifier = [number(job, 4)]
    if version >= 44:
        identifier = [number(0x1122334455667788, 8), *identifier, *(number(part, 4) for part in STEP)]
    return b"".join([*identifier, *(number(time, 8) for time in times)])


def state(version: int, jobs: dict[int, int]) -> bytes:
    head = [number(version << 8, 2)] if version >= 42 else []
    entries = [entry(version, job, revoked) for job, revoked in jobs.items()]
    credentials = number(1, 4) + b"\xff" * 28  # the second list, which nobody asks for
    return b"".join([*head, number(len(jobs), 4), *entries, credentials])


@pytest.mark.parametrize("version", range(38, 46))
def test_a_revocation_is_found_whichever_slurm_wrote_it(version: int) -> None:
    jobs = {7: NEVER, 0x01020304: REVOKED, 9: REVOKED + 1}
    assert revocations(state(version, jobs)) == jobs
    assert revocations(state(version, {})) == {}


@pytest.mark.parametrize(
    "bad", [b"", b"\x2a", state(42, {7: REVOKED})[:20], state(38, {7: REVOKED})[:20], state(46, {}), b"\xff" * 64]
)
def test_a_file_that_is_cut_short_or_of_a_later_slurm_lets_no_job_run(bad: bytes) -> None:
    with pytest.raises(ValueError, match=r"jobs do not fit|newer than"):
        revocations(bad)


def test_a_slurmd_that_has_seen_no_job_yet_has_revoked_none() -> None:
    assert revocations(number(42 << 8, 2) + number(0xFFFFFFFE, 4) * 2) == {}
