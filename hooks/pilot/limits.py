"""What a kernel holds against who watches over a payload: not what its caller chose, which the payload keeps.

Resource limits are those of setrlimit(2).  Who is killed first when memory runs out says proc_pid_oom_score_adj(5): 1000 is
always, which anybody may choose for themselves and what they start, and -1000 never.
"""

from __future__ import annotations

import resource

from gridwarden.values import NamedTuple

MOST_FILES = 65536
CORE = resource.RLIMIT_CORE
LIMITS = sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})
OOM_SCORE, USUAL, NEVER = "/proc/self/oom_score_adj", 0, -1000


class Limits(NamedTuple):
    """Resource limits, (soft, hard) of each by its number, and the adjustment of the OOM killer's score."""

    resources: dict[int, tuple[int, int]]
    oom_score: int


def lift() -> Limits:
    """Take off the limits of this process as far as it may, but leave no core file of what it knows; those that it had."""
    before = {limit: resource.getrlimit(limit) for limit in LIMITS}
    for limit, (_, hard) in before.items():
        most = max(hard, MOST_FILES) if limit == resource.RLIMIT_NOFILE else resource.RLIM_INFINITY
        try:
            resource.setrlimit(limit, (most, most))
        except (OSError, ValueError):  # a container without CAP_SYS_RESOURCE
            resource.setrlimit(limit, (hard, hard))
    resource.setrlimit(CORE, (0, resource.getrlimit(CORE)[1]))
    with open(OOM_SCORE, "rb", buffering=0) as file:
        score = int(file.read(16))
    if score > USUAL:
        score_for_oom(USUAL)
    return Limits(before, score)


def score_for_oom(score: int) -> None:
    """Be killed sooner or later than others when memory runs out, as far as this process may choose."""
    try:
        with open(OOM_SCORE, "wb", buffering=0) as file:
            file.write(str(score).encode("ascii"))
    except PermissionError:
        pass  # a container without CAP_SYS_RESOURCE


def restore(limits: Limits, limit: int) -> None:
    """Have one of these limits; raises OSError."""
    resource.setrlimit(limit, limits.resources[limit])


def tighten(limits: Limits) -> None:
    """Have no more than these limits: Debian's pam_limits begins with those of pid 1, which are not the batch job's."""
    for limit, most in limits.resources.items():
        soft, hard = map(_lower, most, resource.getrlimit(limit))
        resource.setrlimit(limit, (soft, hard))
    score_for_oom(limits.oom_score)


def _lower(one: int, other: int) -> int:
    return min((one, other), key=lambda value: float("inf") if value == resource.RLIM_INFINITY else value)
