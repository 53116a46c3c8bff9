"""Whether slurmd itself knows that a job is over, as its file ``cred_state`` in SlurmdSpoolDir tells.

slurmctld takes a cancellation first and tells the nodes afterwards.  slurmd starts what waits for the prolog
unless the job's credential has been revoked by then, and writes each revocation to that file at once.

The format is that of slurmd's cred_context.c, numbers big-endian: a version (from 24.11 on), a count, and an
entry a job.  Seen with 24.11.5; the others as read in the source up to 26.05.
"""

from __future__ import annotations

from gridwarden import trusted
from gridwarden.batch import slurm_spool

VERSION_24_11, VERSION_25_11, VERSION_26_05, VERSION_AFTER = 42 << 8, 44 << 8, 45 << 8, 46 << 8
LONGEST = 16 * 1024 * 1024
NO_LIST = 0xFFFFFFFE  # NO_VAL


def is_revoked(spool: str, node: str, job: str, since: int) -> bool:
    """Whether slurmd of ``node`` has revoked the credential of a job's run that began at ``since`` (s, epoch).

    ``spool`` is SlurmdSpoolDir, with its patterns.  Raises ConfigurationError when the file is
    missing or unsafe, ValueError when it is not of a known format.
    """
    state = trusted.read_file(f"{slurm_spool.of_node(spool, node)}/cred_state", LONGEST)
    return revocations(state).get(int(job), 0) >= since


def revocations(state: bytes) -> dict[int, int]:
    """The time at which each job's credential was revoked, in seconds since the epoch, 0 where it was not.

    Raises ValueError.
    """
    version = int.from_bytes(state[:2], "big")
    if version >= VERSION_AFTER:
        raise ValueError(f"format {version >> 8}.{version & 255} is newer than those that are known")
    has_version = version >= VERSION_24_11  # before, these are the high bytes of the count
    before_job, after_job = (8, 8) if version >= VERSION_25_11 else (0, 0)  # of the step's identifier
    length = before_job + 4 + after_job + 8 * (4 if version >= VERSION_26_05 else 3)
    start = 2 if has_version else 0
    count = int.from_bytes(state[start : start + 4], "big")
    if count == NO_LIST:
        count = 0
    end = start + 4 + count * length
    if len(state) < end:
        raise ValueError(f"{count} jobs do not fit in {len(state)} bytes")
    entries = state[start + 4 : end]
    found = {}
    for at in range(before_job, len(entries), length):
        revoked = at + 4 + after_job
        found[int.from_bytes(entries[at : at + 4], "big")] = int.from_bytes(entries[revoked : revoked + 8], "big")
    return found
