"""Evidence levels: how an answer is known, from the strongest to the weakest."""

from __future__ import annotations

KERNEL_MEASURED = "kernel-measured"
"""The kernel's own process tree leads to a job step whose account's holder file agrees with the register; or its record
of a process that has ended names an account whose holder hooks verified, at the start of its jobs there then."""
BATCH = "batch"
"""The batch system started the job, and a hook verified the holder then, on the node."""
LEASE_HISTORY = "lease history"
"""Only the account is certain; the records say who held it at that time."""
DECLARED = "declared"
"""Only a stamp on the job says so: a claim that no hook on the node has confirmed.  Or the agent once saw a process of that
pid in the job, and nobody knows when it ended.  Or only another program's log says so, or the ad of an HTCondor job, which its owner can change."""
AMBIGUOUS = "ambiguous"
"""Several identities are possible, or a gap in the records hides who it was."""

LEVELS = (KERNEL_MEASURED, BATCH, LEASE_HISTORY, DECLARED, AMBIGUOUS)


def weakest(levels: set[str]) -> str:
    """Return the weakest of some levels, empty for none: what can be said of all of them together."""
    return max(levels, key=LEVELS.index, default="")
