"""Nothing of a live job is ever called a stray, and nothing can pass for a job's by what it calls itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridwarden.batch.evidence import Answer, LiveJob
from gridwarden.proc import Process
from gridwarden.prune import reasons
from gridwarden.prune.explain import explain
from gridwarden.prune.judge import judge, may_be_emptied
from gridwarden.prune.rules import Rules
from gridwarden.prune.snapshot import Seen, Snapshot

CMS, ATLAS, ALICE, LENT = 20001, 20002, 1000, 165536
ACCOUNTS = {CMS: "cms001", ATLAS: "atlas001", LENT: "cms001"}
STEPD = "/usr/sbin/slurmstepd"
SSHD = "/usr/sbin/sshd"
QSUB_FILE, FUSE_FILE = (1, 100), (1, 101)
RULES = Rules(pools=("cms", "atlas"), daemons=frozenset([STEPD]))
GROUP = "/slurm/uid_20001/job_12"


class Machine:
    """Processes as a kernel would keep them: each forked from another, orphans adopted by init or a subreaper."""

    def __init__(self) -> None:
        self.clock = 0
        self.last = 0
        self.seen: dict[int, Seen] = {}
        self.subreapers: set[int] = set()
        self.init = self.start(0, uid=0)
        self.stepd = self.start(self.init, uid=0, session=-1, executable=STEPD)

    def start(self, parent: int, *, uid: int | None = None, session: int = 0, **facts) -> int:
        self.clock += 1
        self.last += 1
        above = self.seen.get(parent)
        inherited = {"executable": above.executable, "cgroups": above.cgroups} if above else {}
        effective, saved = facts.pop("effective", None), facts.pop("saved", None)
        real = uid if uid is not None else above.process.real_uid
        process = Process(
            pid=self.last,
            parent=parent,
            session=self.last if session == -1 or not above else session or above.process.session,
            start=facts.pop("started", self.clock),
            state=facts.pop("state", "S"),
            threads=facts.pop("threads", 1),
            cpu=0,
            command=facts.pop("command", "x"),
            real_uid=real,
            effective_uid=real if effective is None else effective,
            saved_uid=real if saved is None else saved,
        )
        self.seen[self.last] = Seen(process, **(inherited | facts))
        return self.last

    def end(self, pid: int) -> None:
        """The process ends; its children go to the nearest ancestor that adopts."""
        adopter = self.seen.pop(pid).process.parent
        while adopter != self.init and adopter not in self.subreapers:
            adopter = self.seen[adopter].process.parent
        for one in self.seen.values():
            if one.process.parent == pid:
                one.process.parent = adopter

    def snapshot(self) -> Snapshot:
        return Snapshot(self.seen, ACCOUNTS)

    def root(self, pid: int) -> dict[int, int]:
        return {pid: self.seen[pid].process.start}

    def judge(self, *answers: Answer, rules: Rules = RULES) -> dict[int, tuple[str, bool]]:
        verdicts = judge(self.snapshot(), list(answers), rules)
        found = {verdict.process.pid: (verdict.reason, verdict.stray) for verdict in verdicts}
        assert len(found) == len(verdicts)
        return found


def job(number="12", *, batch="slurm", owner=CMS, roots=None, sessions=(), cgroups=()) -> LiveJob:
    return LiveJob(
        batch=batch,
        job=number,
        node="n1",
        owner=owner,
        roots=roots or {},
        sessions=frozenset(sessions),
        cgroups=tuple(cgroups),
    )


def slurm(*jobs: LiveJob) -> Answer:
    return Answer("slurm", list(jobs))


@pytest.fixture
def machine() -> Machine:
    return Machine()


SPARED = False
STRAY = True


def test_a_job_and_all_that_it_forks_live(machine):
    script = machine.start(machine.stepd, uid=CMS, session=-1)
    middle = machine.start(script, session=-1)
    deep = machine.start(middle, session=-1)
    payload = machine.start(machine.start(script, uid=0), uid=ATLAS)
    told = machine.judge(slurm(job(roots=machine.root(machine.stepd))))
    assert told == dict.fromkeys((script, middle, deep, payload), (reasons.BELOW_JOB_ROOT, SPARED))


def test_what_a_batch_daemon_runs_for_no_job_is_a_stray_with_all_below_it_but_not_the_daemons_other_children(machine):
    own = machine.start(machine.stepd, uid=CMS)
    stranger = machine.start(machine.stepd, uid=CMS, session=-1)
    below = machine.start(stranger, session=-1)
    told = machine.judge(Answer("pbs", [], strangers=machine.root(stranger)))
    assert told[own] == (reasons.BELOW_BATCH_DAEMON, SPARED)
    assert told[stranger] == told[below] == (reasons.NO_JOB, STRAY)
    reused = Answer("pbs", [], strangers={stranger: machine.clock + 1})
    assert machine.judge(reused)[stranger] == (reasons.BELOW_BATCH_DAEMON, SPARED), "somebody else has its number now"
    of_job = job(batch="torque", sessions=[stranger])
    told = machine.judge(Answer("pbs", [], strangers=machine.root(stranger)), Answer("torque", [of_job]))
    assert told[stranger] == (reasons.JOB_SESSION, SPARED), "another batch system's"


def test_a_doubt_about_one_user_spares_them_and_nobody_else(machine):
    doubtful = machine.start(machine.init, uid=CMS)
    other = machine.start(machine.init, uid=ATLAS)
    answers = [Answer("pbs", [], doubted={CMS: "one of them may be a job's"})]
    assert machine.judge(*answers) == {doubtful: (reasons.UNKNOWN, SPARED), other: (reasons.NO_JOB, STRAY)}
    verdicts = judge(machine.snapshot(), answers, RULES)
    assert (may_be_emptied(CMS, verdicts, answers), may_be_emptied(ATLAS, verdicts, answers)) == (False, True)
    assert not may_be_emptied(CMS, [], answers)
    facts = explain(doubtful, machine.snapshot(), answers, RULES)
    assert ("batch system", "pbs: in doubt about this account: one of them may be a job's") in facts


def test_what_was_put_into_the_background_lives_while_its_session_is_the_jobs(machine):
    script = machine.start(machine.stepd, uid=CMS, session=-1)
    shell = machine.start(script)
    nohup = machine.start(shell)
    machine.end(shell)
    below_nohup = machine.start(nohup, session=-1)
    told = machine.judge(slurm(job(roots=machine.root(machine.stepd))))
    assert told[nohup] == (reasons.JOB_SESSION, SPARED)
    assert told[below_nohup] == (reasons.BELOW_JOB_ROOT, SPARED)


def test_a_session_that_the_mom_names_lives_after_its_leader_has_ended(machine):
    leader = machine.start(machine.init, uid=CMS, session=-1)
    child = machine.start(leader)
    machine.end(leader)
    assert machine.judge(Answer("pbs", [job(batch="pbs", sessions=[leader])]))[child] == (reasons.JOB_SESSION, SPARED)
    assert machine.judge(Answer("pbs", []))[child] == (reasons.NO_JOB, STRAY)


def test_a_session_number_that_was_never_known_ties_nobody_to_a_job(machine):
    # PBS says session 0 of a job that has none yet; 0 and 1 are also what foreign and first processes show.
    stray = machine.start(machine.init, uid=CMS, session=1)
    elsewhere = job("13", batch="pbs", sessions=[0, 1])
    assert machine.judge(Answer("pbs", [elsewhere]))[stray] == (reasons.LEFT_ITS_JOB, STRAY)


def test_a_daemon_in_the_jobs_control_group_lives_unless_the_site_says_that_this_protects_nobody(machine):
    script = machine.start(machine.stepd, uid=CMS, session=-1, cgroups=("/", f"{GROUP}/step_batch/user/task_0"))
    daemon = machine.start(script, session=-1)
    machine.end(script)
    child = machine.start(daemon, cgroups=("/",))
    answer = slurm(job(roots=machine.root(machine.stepd), cgroups=[GROUP]))
    assert machine.judge(answer)[daemon] == (reasons.IN_JOB_CGROUP, SPARED)
    assert machine.judge(answer)[child] == (reasons.BELOW_JOB_ROOT, SPARED)
    strict = Rules(daemons=frozenset([STEPD]), cgroup_protects=False)
    assert machine.judge(answer, rules=strict)[daemon] == (reasons.LEFT_ITS_JOB, STRAY)


def test_a_control_group_with_a_longer_name_is_another_one(machine):
    other = machine.start(machine.init, uid=CMS, cgroups=(f"{GROUP}3/step_0", f"{GROUP} (deleted)", f"/x{GROUP}"))
    assert machine.judge(slurm(job(cgroups=[GROUP, GROUP + "/"])))[other] == (reasons.LEFT_ITS_JOB, STRAY)


def test_what_daemonised_away_from_its_job_is_a_stray_beside_it(machine):
    script = machine.start(machine.stepd, uid=CMS, session=-1)
    middle = machine.start(script, session=-1)
    daemon = machine.start(middle)
    machine.end(middle)
    assert machine.judge(slurm(job(roots=machine.root(machine.stepd))))[daemon] == (reasons.LEFT_ITS_JOB, STRAY)
    machine.end(script)
    machine.end(machine.stepd)
    assert machine.judge(slurm())[daemon] == (reasons.NO_JOB, STRAY)


def test_a_subreaper_of_a_users_own_makes_no_job_of_what_it_adopts(machine):
    reaper = machine.start(machine.init, uid=CMS, session=-1, command="slurmstepd", executable=STEPD)
    machine.subreapers.add(reaper)
    middle = machine.start(reaper, session=-1)
    adopted = machine.start(middle)
    machine.end(middle)
    assert machine.seen[adopted].process.parent == reaper
    assert machine.judge(slurm()) == dict.fromkeys((reaper, adopted), (reasons.NO_JOB, STRAY))


@pytest.mark.parametrize("executable", [STEPD, f"{STEPD} (deleted)"])
def test_below_roots_own_batch_daemon_everything_lives_even_after_an_upgrade(machine, executable):
    daemon = machine.start(machine.init, uid=0, executable=executable)
    fresh = machine.start(machine.start(daemon, uid=0, executable="/bin/su"), uid=CMS)
    assert machine.judge(slurm())[fresh] == (reasons.BELOW_BATCH_DAEMON, SPARED)


@pytest.mark.parametrize(
    "disguise",
    [
        {"command": "slurmstepd"},
        {"command": "slurmstepd: [12.batch]"},
        {"executable": STEPD},
        {"executable": STEPD, "effective": 0},  # a set-uid program, or root of its own user namespace
        {"command": "sshd", "executable": SSHD, "effective": 0},
        {"command": ""},
        {"command": "[kworker/0:1]"},
        {"command": "x\nUid:\t0\t0\t0\t0"},
    ],
)
def test_a_disguise_saves_neither_the_stray_nor_its_children(machine, disguise):
    disguised = machine.start(machine.init, uid=CMS, **disguise)
    child = machine.start(disguised, command="sleep", executable="/bin/sleep", effective=CMS)
    rules = Rules(daemons=frozenset([STEPD]), spare_logins=True)
    assert machine.judge(slurm(), rules=rules) == dict.fromkeys((disguised, child), (reasons.NO_JOB, STRAY))


@pytest.mark.parametrize("path", ["/tmp/slurmstepd", "/usr/sbin/slurmstepd2", "/usr/bin/sudo", "", " (deleted)"])
def test_root_running_another_file_is_no_batch_daemon(machine, path):
    child = machine.start(machine.start(machine.init, uid=0, executable=path), uid=CMS)
    assert machine.judge(slurm())[child] == (reasons.NO_JOB, STRAY)


def test_a_daemon_that_is_the_first_process_of_a_container_protects_no_orphan(machine):
    machine.seen[machine.init].executable = STEPD
    orphan = machine.start(machine.init, uid=CMS)
    assert machine.judge(slurm(job(owner=ATLAS, roots={1: 1})))[orphan] == (reasons.NO_JOB, STRAY)


def test_a_daemon_that_began_later_is_not_the_parent(machine):
    # The parent ended and a new slurmstepd got its number between the two readings.
    child = machine.start(machine.start(machine.init, uid=0), uid=CMS, started=50)
    machine.seen[child - 1].process.start = 51
    machine.seen[child - 1].executable = STEPD
    assert machine.judge(slurm())[child] == (reasons.UNKNOWN, SPARED)


def test_a_root_whose_number_has_been_given_away_is_not_the_jobs(machine):
    script = machine.start(machine.init, uid=CMS, session=-1)
    assert machine.judge(slurm(job(roots=machine.root(script))))[script] == (reasons.BELOW_JOB_ROOT, SPARED)
    assert machine.judge(slurm(job(roots={script: 999})))[script] == (reasons.LEFT_ITS_JOB, STRAY)


def test_while_a_parent_is_missing_nobody_below_is_called_a_stray(machine):
    parent = machine.start(machine.init, uid=CMS, session=-1)
    grandchild = machine.start(machine.start(parent))
    del machine.seen[parent]
    assert machine.judge(slurm())[grandchild] == (reasons.UNKNOWN, SPARED)


def test_a_process_whose_parent_is_outside_this_pid_namespace_is_left_alone(machine):
    entered = machine.start(machine.init, uid=CMS)
    machine.seen[entered].process.parent = 0
    assert machine.judge(slurm())[entered] == (reasons.UNKNOWN, SPARED)


@pytest.mark.parametrize("answers", [[], [Answer("slurm", [], "it hangs")], [slurm(), Answer("pbs", [], "half")]])
def test_without_every_answer_nobody_is_a_stray(machine, answers):
    process = machine.start(machine.init, uid=CMS)
    assert machine.judge(*answers)[process] == (reasons.UNKNOWN, SPARED)
    assert not may_be_emptied(CMS, judge(machine.snapshot(), answers, RULES), answers)


def test_a_job_known_only_by_name_keeps_its_owners_processes(machine):
    own, other = machine.start(machine.init, uid=CMS), machine.start(machine.init, uid=ATLAS)
    register = Answer("register", [job(batch="pbs")])
    # Its batch system was not asked, so nobody says which processes are the job's.
    told = machine.judge(register, slurm())
    assert (told[own], told[other]) == ((reasons.UNKNOWN, SPARED), (reasons.NO_JOB, STRAY))
    # It was, and does not know the job: that has no process yet, or none any more.
    assert machine.judge(register, Answer("pbs", []))[own] == (reasons.LEFT_ITS_JOB, STRAY)
    # It was, and cannot say by what it runs.
    assert machine.judge(Answer("pbs", [job(batch="pbs")]))[own] == (reasons.UNKNOWN, SPARED)
    assert machine.judge(Answer("pbs", [job(batch="pbs", owner=None)]))[other] == (reasons.UNKNOWN, SPARED)


def test_exempt_are_users_files_and_control_groups_and_only_these(machine):
    fuse = machine.start(machine.init, uid=CMS, executable="/usr/bin/cvmfs2", file=FUSE_FILE)
    fake = machine.start(machine.init, uid=CMS, executable="/usr/bin/cvmfs2", file=None, command="cvmfs2")
    service = machine.start(machine.init, uid=CMS, cgroups=("/system.slice/xrootd.service/a",))
    helper = machine.start(machine.init, uid=CMS, executable="/usr/bin/qsub", file=QSUB_FILE)
    atlas = machine.start(machine.init, uid=ATLAS)
    rules = Rules(
        users=frozenset(["atlas001"]),
        files=frozenset([FUSE_FILE]),
        helpers=frozenset([QSUB_FILE]),
        cgroups=("/system.slice/xrootd.service",),
    )
    assert machine.judge(slurm(), rules=rules) == {
        fuse: (reasons.EXEMPT_COMMAND, SPARED),
        fake: (reasons.NO_JOB, STRAY),
        service: (reasons.EXEMPT_CGROUP, SPARED),
        helper: (reasons.SUBMIT_HELPER, SPARED),
        atlas: (reasons.EXEMPT_USER, SPARED),
    }


def test_login_sessions_live_where_the_site_says_so(machine):
    shell = machine.start(machine.start(machine.init, uid=0, executable=SSHD), uid=CMS, session=-1)
    manager = machine.start(machine.init, uid=CMS, cgroups=(f"/user.slice/user-{CMS}.slice/user@{CMS}.service",))
    other = machine.start(machine.init, uid=CMS, cgroups=(f"/user.slice/user-{ATLAS}.slice/session-3.scope",))
    spare = Rules(spare_logins=True)
    assert machine.judge(slurm(), rules=spare) == {
        shell: (reasons.LOGIN_SESSION, SPARED),
        manager: (reasons.LOGIN_SESSION, SPARED),
        other: (reasons.NO_JOB, STRAY),
    }
    assert machine.judge(slurm()) == dict.fromkeys((shell, manager, other), (reasons.NO_JOB, STRAY))


def test_nobody_outside_the_pools_is_judged_nor_who_has_ended(machine):
    machine.start(machine.init, uid=ALICE)
    machine.start(machine.init, uid=0, effective=CMS)
    machine.start(machine.init, uid=CMS, state="Z")
    without_first_thread = machine.start(machine.init, uid=CMS, state="Z", threads=2)
    setuid = machine.start(machine.init, uid=CMS, effective=0)
    assert machine.judge(slurm()) == dict.fromkeys((without_first_thread, setuid), (reasons.NO_JOB, STRAY))


def test_who_is_outside_the_pools_lives_though_they_run_an_accounts_set_uid_program(machine):
    borrowed = machine.start(machine.init, uid=ALICE, effective=CMS)
    kept = machine.start(machine.init, uid=ALICE, saved=CMS)
    told = machine.judge(slurm(job(roots=machine.root(machine.init))))
    assert told == dict.fromkeys((borrowed, kept), (reasons.OUTSIDER, SPARED))
    assert not may_be_emptied(CMS, judge(machine.snapshot(), [slurm()], RULES), [slurm()])


def test_an_account_is_emptied_only_when_nothing_acts_for_it_and_no_job_can_be_its_own(machine):
    machine.start(machine.init, uid=CMS)
    payload = machine.start(machine.stepd, uid=ATLAS)

    def may(uid: int, *answers: Answer) -> bool:
        return may_be_emptied(uid, judge(machine.snapshot(), list(answers), RULES), list(answers))

    theirs = slurm(job(owner=ATLAS, roots=machine.root(machine.stepd)))
    assert may(CMS, theirs)
    assert not may(ATLAS, theirs)
    assert not may(CMS, theirs, Answer("register", [job("13", owner=CMS)]))
    assert not may(CMS, slurm(job(owner=None, roots=machine.root(machine.stepd))))
    machine.seen[payload].process.effective_uid = CMS  # a set-uid program of the one, run by the other's job
    assert not may(CMS, theirs)
    machine.seen[payload].process.effective_uid = ATLAS  # which can be the one again at any moment
    machine.seen[payload].process.saved_uid = CMS
    assert not may(CMS, theirs)


def test_files_of_an_account_that_has_no_process_are_nobodys_only_when_everybody_said_so(machine):
    assert may_be_emptied(CMS, [], [slurm()])
    assert not may_be_emptied(CMS, [], [])
    assert not may_be_emptied(CMS, [], [slurm(), Answer("pbs", [], "it hangs")])


def test_root_and_the_systems_users_are_never_judged_whatever_the_site_configures():
    rules = Rules(uids=((0, 99_999),))
    assert [rules.account_of(uid) for uid in (0, 1, 999, 65534)] == [""] * 4
    assert rules.account_of(54321) == "54321"
    assert Rules().account_of(54321) == ""


def test_who_took_a_uid_that_is_lent_to_an_account_is_that_accounts(machine):
    taken = machine.start(machine.init, uid=LENT, apart=True)
    rules = Rules(pools=("cms",))
    rules.lenders[LENT] = CMS

    def told(*answers: Answer) -> tuple[str, str, bool]:
        (verdict,) = judge(machine.snapshot(), list(answers), rules)
        assert verdict.owner == CMS
        return verdict.account, verdict.reason, may_be_emptied(CMS, [verdict], list(answers))

    for apart in (True, False):  # a set-uid program made in a user namespace takes the uid outside of it
        machine.seen[taken].apart = apart
        assert told(slurm()) == ("cms001", reasons.NO_JOB, True)
        assert told(slurm(job(roots={99: 99}))) == ("cms001", reasons.LEFT_ITS_JOB, False)
        assert told(Answer("pbs", [job(batch="pbs")])) == ("cms001", reasons.UNKNOWN, False)


def test_a_chain_as_long_as_the_machine_allows_is_judged_too(machine):
    tip = machine.init
    for _ in range(20_000):
        tip = machine.start(tip, uid=CMS)
    assert machine.judge(slurm())[tip] == (reasons.NO_JOB, STRAY)


def test_explaining_names_every_fact_on_the_way_to_the_verdict(machine):
    script = machine.start(machine.stepd, uid=CMS, session=-1, command="a\x1b[2J", executable="/bin/sh", cgroups=("/",))
    answers = [slurm(job(roots=machine.root(machine.stepd)))]
    facts = explain(script, machine.snapshot(), answers, RULES)
    assert facts == [
        ("process", "3 (a\\x1b[2J), real uid 20001, effective uid 20001, start 3, executes /bin/sh, account cms001"),
        ("control group", "/"),
        ("session leader", "3 (a\\x1b[2J), real uid 20001, effective uid 20001, start 3, executes /bin/sh"),
        ("parent", f"2 (x), real uid 0, effective uid 0, start 2, executes {STEPD}, a batch daemon"),
        ("parent", "1 (x), real uid 0, effective uid 0, start 1, executes ?"),
        ("batch system", "slurm: 1 jobs here, of this account: 12"),
        ("verdict", "spared, below-job-root: it descends from a process of a live job (slurm 12)"),
    ]


# A machine on which anything happens: who forks, leaves its session, adopts, ends; in any order.
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["fork", "fork", "setsid", "adopt", "end", "switch", "job", "stray"]), st.integers(0, 99)
    ),
    max_size=60,
)


def happen(steps) -> tuple[Machine, set[int], dict[int, str]]:
    """The machine after these steps, the roots of its jobs, and of each process the job that it is born in."""
    machine = Machine()
    roots: set[int] = set()
    born_in: dict[int, str] = {}
    for what, which in steps:
        users = [pid for pid in machine.seen if pid > 2]
        if what in ("job", "stray"):
            group = f"/slurm/job_{machine.last + 1}"
            root = machine.start(
                machine.init,
                uid=0 if what == "job" else CMS,
                session=-1,
                executable="/opt/stepd" if what == "job" else STEPD,
                command="slurmstepd",
                cgroups=(group,) if what == "job" and which % 2 else ("/",),
            )
            born_in[root] = f"slurm {root}" if what == "job" else ""
            roots |= {root} if what == "job" else set()
        elif users:
            pid = users[which % len(users)]
            if what in ("fork", "setsid", "switch"):
                child = machine.start(
                    pid, uid=ATLAS if what == "switch" else CMS, session=-1 if what == "setsid" else 0
                )
                born_in[child] = born_in[pid]
            elif what == "adopt":
                machine.subreapers.add(pid)
            elif pid not in roots:
                machine.end(pid)
                machine.subreapers.discard(pid)
    return machine, roots, born_in


def answer_of(machine: Machine, roots: set[int]) -> Answer:
    return slurm(
        *(job(str(root), owner=None, roots=machine.root(root), cgroups=[f"/slurm/job_{root}"]) for root in roots)
    )


@given(STEPS)
def test_whatever_happens_each_live_process_of_a_pool_gets_one_verdict(steps):
    machine, roots, _ = happen(steps)
    told = machine.judge(answer_of(machine, roots))
    assert set(told) == {pid for pid, one in machine.seen.items() if one.process.real_uid in ACCOUNTS}


@given(STEPS)
def test_whatever_happens_nothing_in_a_live_jobs_tree_session_or_control_group_is_a_stray(steps):
    machine, roots, born_in = happen(steps)
    told = machine.judge(answer_of(machine, roots))
    for pid, (_, stray) in told.items():
        ancestor = pid
        while ancestor not in (0, *roots):
            ancestor = machine.seen[ancestor].process.parent
        in_group = any(group in machine.seen[pid].cgroups for group in (f"/slurm/job_{root}" for root in roots))
        if ancestor or in_group or machine.seen[pid].process.session in roots:
            assert not stray
            assert born_in[pid]


@given(STEPS)
def test_whatever_happens_what_was_never_born_in_a_job_is_a_stray(steps):
    machine, roots, born_in = happen(steps)
    for pid, (_, stray) in machine.judge(answer_of(machine, roots)).items():
        assert stray or born_in[pid]


@given(STEPS, st.integers(0, 99))
def test_whatever_happens_a_process_that_was_not_seen_makes_no_stray_of_those_below(steps, which):
    machine, roots, _ = happen(steps)
    told = machine.judge(answer_of(machine, roots))
    sessions = {one.process.session for one in machine.seen.values()}
    ordinary = [pid for pid in machine.seen if pid not in sessions]
    if ordinary:
        del machine.seen[ordinary[which % len(ordinary)]]
    for pid, (_, stray) in machine.judge(answer_of(machine, roots)).items():
        assert told[pid][1] or not stray


@given(STEPS)
def test_whatever_happens_one_unknown_answer_saves_everyone(steps):
    machine, roots, _ = happen(steps)
    told = machine.judge(answer_of(machine, roots), Answer("pbs", [], "no answer"))
    assert not any(stray for _, stray in told.values())
