"""Resource limits (setrlimit(2)) of who watches over a payload: not those that its caller chose, which the payload keeps."""

from __future__ import annotations

import resource

MOST_FILES = 65536
CORE = resource.RLIMIT_CORE
LIMITS = sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})

Limits = dict[int, tuple[int, int]]


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
    return before


def restore(limits: Limits, limit: int) -> None:
    """Have one of these limits; raises OSError."""
    resource.setrlimit(limit, limits[limit])


def tighten(limits: Limits) -> None:
    """Have no more than these limits: Debian's pam_limits begins with those of pid 1, which are not the batch job's."""
    for limit, most in limits.items():
        soft, hard = map(_lower, most, resource.getrlimit(limit))
        resource.setrlimit(limit, (soft, hard))


def _lower(one: int, other: int) -> int:
    return min((one, other), key=lambda value: float("inf") if value == resource.RLIM_INFINITY else value)
