"""What a batch system, or the local register, says about the jobs that run on this machine.

Ask after the processes were read: then a process that was read belongs to a job that had already started, so
a job that has not ended is in the answer.  Asked before, a job that starts meanwhile would be missing from it.
"""

from __future__ import annotations


class LiveJob:
    """A job that runs on this machine, and what its processes can be known by.

    ``owner`` is a uid, None only where it cannot be told: such a job may be anybody's.  ``roots`` are pids with
    their start times in clock ticks since boot (slurmstepd, condor_starter, session leaders): these processes
    and all that descend from them are the job's.  So are all in ``sessions``, session ids, and all in
    ``cgroups``, paths as in the last field of a line of /proc/PID/cgroup, or below one of these.
    A job without any of the three is only known to run, not by what.
    """

    __slots__ = ("batch", "cgroups", "job", "node", "owner", "roots", "sessions")

    def __init__(
        self,
        *,
        batch: str,
        job: str,
        node: str,
        owner: int | None,
        roots: dict[int, int],
        sessions: frozenset[int],
        cgroups: tuple[str, ...],
    ) -> None:
        self.batch = batch
        self.job = job
        self.node = node
        self.owner = owner
        self.roots = roots
        self.sessions = sessions
        self.cgroups = cgroups


class Answer:
    """What ``batch`` answered: all of its ``jobs`` here, or the sentence why that is ``unknown`` ("": known).

    No answer, a late one, half of one, or nothing where a service should be, is unknown; never no jobs.
    ``strangers`` are pids with their start times, children of a batch daemon that it runs for no job: it does not
    account for them, nor for what descends from them.  ``doubted`` has, by uid, the sentence why it cannot be told
    yet which of that user's processes are a job's.
    """

    __slots__ = ("batch", "doubted", "jobs", "strangers", "unknown")

    def __init__(
        self,
        batch: str,
        jobs: list[LiveJob],
        unknown: str = "",
        *,
        strangers: dict[int, int] | None = None,
        doubted: dict[int, str] | None = None,
    ) -> None:
        self.batch = batch
        self.jobs = jobs
        self.unknown = unknown
        self.strangers = strangers or {}
        self.doubted = doubted or {}
