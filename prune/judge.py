"""Which processes of pool accounts no live job accounts for: pure, on what was read and what was answered.

What accounts for a process is inherited: what it forks is as much the job's as itself, and so is a session
that it leads, since nobody joins a session from outside.  A name, an argument or an environment proves
nothing; a parent, a session and a control group are the kernel's own words.
"""

from __future__ import annotations

from gridwarden.executables import UNTOLD
from gridwarden.prune import reasons
from gridwarden.prune.snapshot import acts_as, parent_of

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from gridwarden.batch.evidence import Answer, LiveJob
    from gridwarden.proc import Process
    from gridwarden.prune.rules import Rules
    from gridwarden.prune.snapshot import Seen, Snapshot

INIT = 1  # every orphan descends from it, even where it is a batch daemon
LOGIN_DAEMONS = frozenset(
    [
        "/usr/bin/login",
        "/usr/lib/openssh/sshd-session",
        "/usr/libexec/openssh/sshd-session",
        "/usr/sbin/gsisshd",
        "/usr/sbin/sshd",
    ]
)


class Verdict:
    """Whether ``process``, of the pool account ``account``, is a stray, and for which of ``prune.reasons``.

    ``owner`` is the account's uid, which is not the process's where that one is lent (subuid(5)); ``job`` the
    job that accounts for it, or one beside which it strayed: ``BATCH JOB``; "" for none.
    """

    __slots__ = ("account", "job", "owner", "process", "reason", "stray")

    def __init__(self, process: Process, account: str, owner: int, reason: str, job: str = "") -> None:
        self.process = process
        self.account = account
        self.owner = owner
        self.stray = reason in (reasons.LEFT_ITS_JOB, reasons.NO_JOB)
        self.reason = reason
        self.job = job


class Tree:
    """Who forked whom and who leads whose session, as far as that is certain."""

    __slots__ = ("children", "members", "rootless")

    def __init__(self, seen: dict[int, Seen]) -> None:
        self.children: dict[int, list[int]] = {}
        self.members: dict[int, list[int]] = {}
        self.rootless: list[int] = []
        for pid, one in seen.items():
            if parent_of(one, seen):
                self.children.setdefault(one.process.parent, []).append(pid)
            elif pid != INIT:
                self.rootless.append(pid)  # its parent went while it was read, or is in another pid namespace
            # While a session has a member, nobody else gets its leader's number.
            self.members.setdefault(one.process.session, []).append(pid)

    def below(self, pids: Iterable[int], without: Container[int] = ()) -> set[int]:
        """These processes and all that descend from them, but not by way of those of ``without``."""
        found = set(pids)
        waiting = list(found)
        while waiting:
            children = self.children.get(waiting.pop(), ())
            fresh = [child for child in children if child not in found and child not in without]
            found.update(fresh)
            waiting += fresh
        return found


def judge(snapshot: Snapshot, answers: list[Answer], rules: Rules) -> list[Verdict]:
    """A verdict on each process of a pool account.

    ``answers`` were asked for after the snapshot was taken, so that they hold every job that a process of it
    can belong to and that has not ended.  While one of them is unknown, or there is none, nobody is a stray.
    """
    tree = Tree(snapshot.seen)
    jobs = [job for answer in answers for job in answer.jobs]
    by_jobs = of_jobs(snapshot, tree, jobs, cgroup_protects=rules.cgroup_protects)
    below_daemons = tree.below(_batch_daemons(snapshot, rules), _strangers(snapshot, answers))
    below_logins = tree.below(_run_by_root(snapshot, LOGIN_DAEMONS))
    uncertain = tree.below(tree.rootless)
    doubted = _doubted(answers)
    job_of_owner = {job.owner: _name(job) for job in jobs}
    verdicts = []
    for pid, one in snapshot.seen.items():
        process = one.process
        uid = acts_as(process.real_uid, process.effective_uid, process.saved_uid, snapshot.accounts)
        if not uid or process.has_ended():
            continue
        account, owner, job = snapshot.accounts[uid], rules.lenders.get(uid, uid), ""
        if process.real_uid != uid:
            reason = reasons.OUTSIDER
        elif pid in by_jobs:
            reason, job = by_jobs[pid]
        elif pid in below_daemons:
            reason = reasons.BELOW_BATCH_DAEMON
        elif exemption := _exemption(one, account, rules, below_logins):
            reason = exemption
        elif pid in uncertain or doubted is None or owner in doubted or one.file == UNTOLD:
            reason = reasons.UNKNOWN
        else:
            job = job_of_owner.get(owner, "")
            reason = reasons.LEFT_ITS_JOB if job else reasons.NO_JOB
        verdicts.append(Verdict(process, account, owner, reason, job))
    return verdicts


def may_be_emptied(uid: int, verdicts: list[Verdict], answers: list[Answer]) -> bool:
    """Whether nothing that is or acts as the account ``uid`` is protected, and no job can be its own.

    All of the account may be killed then.  Who has kept its uid as a saved uid can act as it at any moment.
    """
    protected = any(
        uid in (verdict.owner, verdict.process.real_uid, verdict.process.effective_uid, verdict.process.saved_uid)
        for verdict in verdicts
        if not verdict.stray
    )
    owners = {uid, None}
    jobs = any(
        owner in owners for answer in answers for owner in (*answer.doubted, *(job.owner for job in answer.jobs))
    )
    return bool(answers) and not (protected or jobs or any(answer.unknown for answer in answers))


def of_jobs(
    snapshot: Snapshot, tree: Tree, jobs: list[LiveJob], *, cgroup_protects: bool = True
) -> dict[int, tuple[str, str]]:
    """The reason and the job of each process that is a live job's."""
    found: dict[int, tuple[str, str]] = {}
    by_cgroup = {cgroup.rstrip("/"): _name(job) for job in jobs for cgroup in job.cgroups if cgroup_protects}
    by_session = {session: _name(job) for job in jobs for session in job.sessions if session > INIT}
    for pid, one in snapshot.seen.items():
        cgroup = _within(one.cgroups, by_cgroup)
        if cgroup is not None:
            found[pid] = (reasons.IN_JOB_CGROUP, by_cgroup[cgroup])
        elif one.process.session in by_session:
            found[pid] = (reasons.JOB_SESSION, by_session[one.process.session])
    for job in jobs:
        for pid, start in job.roots.items():
            if pid in snapshot.seen and snapshot.seen[pid].process.start == start and pid != INIT:
                found.setdefault(pid, (reasons.BELOW_JOB_ROOT, _name(job)))
    waiting, leaders = list(found), list[int]()
    while waiting or leaders:
        if waiting:
            pid = waiting.pop()
            leaders.append(pid)
            relatives, reason = tree.children.get(pid, []), reasons.BELOW_JOB_ROOT
        else:
            pid = leaders.pop()
            relatives, reason = tree.members.get(pid, []), reasons.JOB_SESSION
        fresh = [relative for relative in relatives if relative not in found]
        found.update((relative, (reason, found[pid][1])) for relative in fresh)
        waiting += fresh
    return found


def _batch_daemons(snapshot: Snapshot, rules: Rules) -> list[int]:
    return [pid for pid in _run_by_root(snapshot, rules.daemons) if pid != INIT]


def _strangers(snapshot: Snapshot, answers: list[Answer]) -> set[int]:
    strangers = [one for answer in answers for one in answer.strangers.items()]
    return {pid for pid, start in strangers if pid in snapshot.seen and snapshot.seen[pid].process.start == start}


def _run_by_root(snapshot: Snapshot, programs: frozenset[str]) -> list[int]:
    """The processes that root itself runs from these files, or ran from them before they were replaced.

    In a user namespace root has the real uid of whoever made it, and a set-uid program that of its caller.
    """
    return [
        pid
        for pid, one in snapshot.seen.items()
        if one.process.real_uid == 0 and one.executable.removesuffix(" (deleted)") in programs
    ]


def _exemption(one: Seen, account: str, rules: Rules, below_logins: set[int]) -> str:
    """The reason for which the site spares a process, or ""."""
    slice_of_user = f"/user.slice/user-{one.process.real_uid}.slice"  # systemd-logind's, sessions below it
    if account in rules.users:
        return reasons.EXEMPT_USER
    if one.file in rules.files:
        return reasons.EXEMPT_COMMAND
    if _within(one.cgroups, rules.cgroups) is not None:
        return reasons.EXEMPT_CGROUP
    if rules.spare_logins and (one.process.pid in below_logins or _within(one.cgroups, [slice_of_user]) is not None):
        return reasons.LOGIN_SESSION
    if one.file in rules.helpers:
        return reasons.SUBMIT_HELPER
    return ""


def _doubted(answers: list[Answer]) -> set[int] | None:
    """The uids that may have a job here of which it is not known what its processes are; None: it may be anybody's."""
    if not answers or any(answer.unknown for answer in answers):
        return None
    owners = {job.owner for job in unexplained(answers)}
    owners.update(uid for answer in answers for uid in answer.doubted)
    return None if None in owners else {owner for owner in owners if owner is not None}


def unexplained(answers: list[Answer]) -> list[LiveJob]:
    """The jobs here of which nobody says what their processes are.

    A job that only the local register lists, while its batch system answered without it, has no process yet
    or none any more.
    """
    asked = {answer.batch for answer in answers}
    jobs = [(answer.batch, job) for answer in answers for job in answer.jobs]
    known = {_name(job) for _, job in jobs if job.roots or job.sessions or job.cgroups}
    return [job for batch, job in jobs if _name(job) not in known and (batch == job.batch or job.batch not in asked)]


def _within(paths: Iterable[str], groups: Container[str]) -> str | None:
    """Which of ``groups``, without a slash at their ends, is one of these paths or above one; None if none is."""
    for path in paths:
        above = path.rstrip("/")
        while above and above not in groups:
            above = above.rpartition("/")[0]
        if above in groups:
            return above
    return None


def _name(job: LiveJob) -> str:
    return f"{job.batch} {job.job}"
