"""Which jobs job_submit.lua has held, as squeue prints them, and who else holds them.  Pure."""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own costs a start 6 ms
if TYPE_CHECKING:
    from collections.abc import Collection

ADMINISTRATOR = "JobHeldAdmin"  # scontrol hold by root; what job_submit.lua held is JobHeldUser (22.05, 24.11)
# admin_comment that job_submit.lua gives, which users cannot.  The other: the user had held the job, too (sbatch --hold).
MARK, MARK_OF_BOTH = "gridwarden: held", "gridwarden: held, user's too"
# Columns of squeue's and how wide each is: what is printed of 60 000 pending jobs is still an answer (question.LONGEST_OUTPUT).
COLUMNS = {"jobid": 16, "hetjobid": 16, "username": 64, "submittime": 16, "reason": 128, "admin_comment": 32}


class Job:
    """A held job; ``submitted`` is in seconds since the epoch.

    ``of_administrator``, ``of_user``: held by one, or by its user, as well; it, or a part of it.
    """

    __slots__ = ("account", "job", "of_administrator", "of_user", "submitted")

    def __init__(self, job: str, account: str, submitted: int, *, of_administrator: bool, of_user: bool) -> None:
        self.job = job
        self.account = account
        self.submitted = submitted
        self.of_administrator = of_administrator
        self.of_user = of_user


def parse(text: str, begun: Collection[str] = ()) -> list[Job] | None:
    """The held jobs among squeue's lines of ``COLUMNS``; None when one is of another form.

    ``begun`` are those that are stamped, and whose release has failed: the mark is gone from them.
    """
    lines = [_fields(line) for line in text.split("\n")]
    # Of an array's tasks, which are one line with all their reasons, and of a heterogeneous job's components none is released alone.
    by_administrators = {_whole(job, leader) for job, leader, _, _, why, _ in lines if ADMINISTRATOR in why.split(",")}
    by_users = {_whole(job, leader) for job, leader, *_, comment in lines if comment == MARK_OF_BOTH}
    found = []
    for job, leader, account, submitted, _, comment in lines:
        if comment in (MARK, MARK_OF_BOTH) or job in begun:
            if not (job.isdigit() and submitted.isdigit()):
                return None
            whole = _whole(job, leader)
            by_one, by_user = whole in by_administrators, whole in by_users
            found.append(Job(job, account, int(submitted), of_administrator=by_one, of_user=by_user))
    return found


def _fields(line: str) -> list[str]:
    fields = []
    for width in COLUMNS.values():
        fields.append(line[:width].strip())
        line = line[width:]
    return fields


def _whole(job: str, leader: str) -> str:
    return leader if leader.isdigit() else job  # N/A
