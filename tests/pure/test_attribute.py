"""The CPU time of a job goes to whoever used it, and always adds up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gridwarden.accounting import evidence, past_answers
from gridwarden.accounting.attribute import attribute
from gridwarden.accounting.batch_records import Job, Step
from gridwarden.accounting.job_runs import SOMEBODY, Run
from gridwarden.accounting.lease_history import Sighting, sighting
from gridwarden.accounting.same_job import CLOCK_SKEW, CONTRADICTED

ANNA, BELA, CHEN = (f"/DC=org/DC=example/CN={name}" for name in ("Anna", "Bela", "Chen"))
SECOND = 1_000_000


def job(**changes) -> Job:
    values = {
        "batch": "slurm", "cluster": "site", "job": "7", "submit": 1000 * SECOND, "restart": 0, "account": "cms001",
        "uid": 2101, "start": 1001 * SECOND, "end": 1100 * SECOND, "state": "COMPLETED", "exit_code": "0:0",
        "user_cpu": 0, "system_cpu": 0, "total_cpu": 90 * SECOND, "nodes": "n1", "stamp": "",
    }  # fmt: skip
    return Job(**{**values, **changes})


def step(cpu: int, name: str = "batch") -> Step:
    return Step("slurm", "site", "7", 1000 * SECOND, 0, name, None, None, "COMPLETED", 0, 0, cpu, "n1")


def run(**changes) -> Run:
    values = {
        "ledger": "l", "seq": 1, "batch": "slurm", "cluster": "site", "node": "n1", "job": "7", "restart": 0,
        "account": "cms001", "lease": "a" * 32, "scheme": "x509", "subject": ANNA, "vo": "cms", "stamp": "",
        "evidence": "holder+link", "boot": "b", "start": 1001 * SECOND, "end": None, "ended_by": "",
    }  # fmt: skip
    return Run(**{**values, **changes})


LEASE = Sighting(500 * SECOND, "cms001", "a" * 32, "x509", ANNA, "cms", begins=True)


def owner(*args) -> str:
    (part,) = attribute(*args).parts
    return part.subject


def test_the_holder_whom_a_hook_verified_gets_the_cpu_time():
    found = attribute(job(), [step(60 * SECOND), step(29 * SECOND, "0")], [run()], {})
    (part,) = found.parts
    assert (part.subject, part.vo, part.account, part.cpu) == (ANNA, "cms", "cms001", 89 * SECOND)
    assert part.evidence == evidence.BATCH
    assert found.batch_discrepancy == SECOND


def test_the_verified_holder_counts_more_than_the_stamp():
    stamped = job(stamp="b" * 32)
    leases = {"b" * 32: LEASE._replace(lease="b" * 32, subject=BELA)}
    assert owner(stamped, [], [run()], leases) == ANNA


def test_a_stamp_alone_is_only_declared():
    (part,) = attribute(job(stamp=LEASE.lease), [step(SECOND)], [], {LEASE.lease: LEASE}).parts
    assert (part.subject, part.evidence) == (ANNA, evidence.DECLARED)


def test_a_stamp_of_another_accounts_lease_buys_nothing():
    found = attribute(job(stamp=LEASE.lease, account="cms002"), [step(SECOND)], [], {LEASE.lease: LEASE})
    assert (found.parts, found.unattributed) == ((), SECOND)
    assert "another account" in found.because


def test_nodes_that_disagree_about_the_holder_leave_it_unattributed():
    found = attribute(job(), [step(SECOND)], [run(), run(node="n2", subject=BELA, lease="b" * 32)], {})
    assert (found.parts, found.unattributed) == ((), SECOND)


def test_two_nodes_that_agree_count_once():
    found = attribute(job(), [step(SECOND)], [run(), run(node="n2", seq=2)], {})
    assert [part.cpu for part in found.parts] == [SECOND]


def test_a_job_number_used_again_does_not_get_an_earlier_holder():
    earlier = run(start=job().submit - CLOCK_SKEW - 1)
    later = run(start=job().end + CLOCK_SKEW + 1)
    another = run(restart=1, start=job().end + SECOND)
    for other in (earlier, later, another, run(cluster="other"), run(account="cms002"), run(job="8")):
        assert attribute(job(), [step(SECOND)], [other], {}).parts == ()


def test_a_requeued_run_is_whose_the_hook_saw_it_start_also_where_sacct_counts_no_restarts():
    """Slurm 22.05: the hook says restart 1, and the run has a submission of its own, with which counting begins anew."""
    begin = job().end + 2 * CLOCK_SKEW
    runs = [run(), run(restart=1, seq=2, start=begin, lease="b" * 32, subject=BELA)]
    second = job(submit=begin - SECOND, start=begin, end=begin + SECOND)
    assert [owner(each, [step(SECOND)], runs, {}) for each in (job(), second)] == [ANNA, BELA]


def test_a_job_without_steps_counts_as_a_whole():
    found = attribute(job(), [], [run()], {})
    assert (found.parts[0].cpu, found.batch_discrepancy) == (90 * SECOND, 0)


def test_steps_above_the_jobs_total_show_as_a_negative_discrepancy():
    assert attribute(job(total_cpu=0), [step(SECOND)], [run()], {}).batch_discrepancy == -SECOND


def test_what_the_kernel_counted_beyond_the_batch_system_is_the_holders():
    found = attribute(job(), [step(SECOND)], [run()], {}, exact=3 * SECOND)
    (part,) = found.parts
    assert (part.cpu, part.batch, found.batch_discrepancy) == (3 * SECOND, SECOND, 87 * SECOND)
    assert "the kernel counted more" in part.because
    (part,) = attribute(job(), [step(SECOND)], [run()], {}, exact=SECOND // 2).parts
    assert part.cpu == SECOND


CPU = st.integers(0, 10**15)


@given(
    exact=CPU,
    total=CPU,
    steps=st.lists(CPU, max_size=5),
    subjects=st.lists(st.sampled_from([ANNA, BELA, ""]), max_size=3),
    stamp=st.sampled_from(["", "a" * 32, "b" * 32]),
    known=st.booleans(),
)
def test_the_parts_always_add_up_to_what_the_batch_system_says(exact, total, steps, subjects, stamp, known):
    runs = [run(seq=number, subject=subject, node=f"n{number}") for number, subject in enumerate(subjects)]
    rows = [step(cpu, str(number)) for number, cpu in enumerate(steps)]
    found = attribute(job(total_cpu=total, stamp=stamp), rows, runs, {LEASE.lease: LEASE} if known else {}, exact=exact)
    assert found.total == total
    assert sum(part.cpu for part in found.parts) + found.unattributed + found.batch_discrepancy == total
    assert all(part.cpu >= 0 for part in found.parts)
    assert bool(found.parts) != bool(found.because)


def lent(time: int, subject: str, *, begins: bool = True, ends: bool = False) -> Sighting:
    return Sighting(time * SECOND, "cms001", subject[-4] * 32, "x509", subject, "cms", begins=begins, ends=ends)


def by_history(sightings: list[Sighting], **changes):
    return attribute(job(**changes), [step(SECOND)], [], {}, (), sightings)


def test_a_job_that_no_hook_saw_is_whose_account_it_was_then_and_not_todays_holders():
    freed = lent(1200, ANNA, begins=False, ends=True)
    (part,) = by_history([lent(500, ANNA), freed, lent(1300, BELA)]).parts
    assert (part.subject, part.evidence, part.cpu) == (ANNA, evidence.LEASE_HISTORY, SECOND)
    assert by_history([lent(1300, BELA)]).parts == ()


def test_an_account_that_changed_hands_during_the_job_gives_nobody_its_time_and_names_both_and_when():
    found = by_history([lent(500, ANNA), lent(1010, ANNA, begins=False), lent(1060, BELA, begins=False)])
    assert (found.parts, found.unattributed) == ((), SECOND)
    assert [each.subject for each in found.candidates] == [ANNA, BELA]
    assert "between 1970-01-01T00:16:50+00:00 and 1970-01-01T00:17:40+00:00" in found.candidates[0].because


def test_a_change_after_the_job_that_nobody_recorded_may_have_been_during_it():
    found = by_history([lent(500, ANNA), lent(9000, BELA, begins=False)])
    assert (found.parts, [each.subject for each in found.candidates]) == ((), [ANNA, BELA])


def test_an_htcondor_job_whose_owner_changed_its_times_is_not_given_to_whoever_had_its_account_then():
    history = [lent(100, BELA), lent(1000, ANNA)]
    recorded = run(batch="htcondor", start=1101 * SECOND)
    told = job(batch="htcondor", submit=1050 * SECOND, start=1100 * SECOND, end=1200 * SECOND)
    assert owner(told, [], [recorded], {}, [], history) == ANNA
    before = {"start": 200 * SECOND, "end": 300 * SECOND}
    for forged in (before, before | {"submit": 150 * SECOND}):
        assert owner(told._replace(**forged), [], [], {}, [], history) != ANNA
        found = attribute(told._replace(**forged), [], [recorded], {}, [], history)
        assert (found.parts, found.because) == ((), CONTRADICTED)
    assert owner(told, [], [recorded._replace(account="slot1_1")], {}, [], history) == ANNA, "where slots have accounts"


def test_an_htcondor_job_that_no_hook_recorded_is_declared_and_never_looks_as_good_as_one_that_was_observed():
    told = {"batch": "htcondor", "total_cpu": SECOND}
    (part,) = by_history([lent(500, ANNA)], **told).parts
    assert (part.subject, part.evidence) == (ANNA, evidence.DECLARED)
    assert "which its owner can change" in part.because
    (part,) = attribute(job(**told), [], [run(batch="htcondor")], {}, (), [lent(500, ANNA)]).parts
    assert (part.subject, part.evidence) == (ANNA, evidence.BATCH)


def test_an_end_that_no_hook_recorded_is_said_to_be_the_batch_systems_or_the_owners_word():
    for batch, words in (("slurm", "the batch system says when it ended"), ("htcondor", "its owner can change that")):
        (answer,) = past_answers.of_run(run(batch=batch), job(batch=batch), {})
        assert (answer.until, answer.evidence) == (job().end, evidence.BATCH)
        assert answer.because.endswith(words)


def test_a_stamp_that_contradicts_the_records_buys_nothing():
    found = by_history([lent(500, ANNA)], stamp="b" * 32)
    assert (found.parts, found.because) == ((), "its stamp names another lease than the account was lent under")


def test_a_hook_that_saw_another_holder_at_the_end_leaves_the_job_nobodys_and_names_both():
    other = "b" * 32
    changed = run(end=job().end, ended_by="job_end", held=other)
    found = attribute(job(), [step(SECOND)], [changed], {other: lent(1050, BELA)._replace(lease=other)})
    assert (found.parts, found.unattributed) == ((), SECOND)
    assert [each.subject for each in found.candidates] == [ANNA, BELA]
    assert "between 1970-01-01T00:17:30+00:00 and 1970-01-01T00:18:20+00:00" in found.candidates[1].because


def test_a_hook_that_saw_another_programs_link_at_the_end_names_both():
    link = sighting(
        {"kind": "observation", "time": 1100 * SECOND, "account": "cms001", "lease": "", "name": "%2fcn%3deve"}
    )
    changed = run(end=job().end, ended_by="job_end", held=SOMEBODY)
    found = attribute(job(), [step(SECOND)], [changed], {}, (), [lent(500, ANNA), link])
    assert (found.parts, found.unattributed) == ((), SECOND)
    assert [each.subject for each in found.candidates] == [ANNA, "/cn=eve"]


def test_a_hook_that_saw_two_links_of_others_at_the_end_names_all_three():
    about = {"kind": "observation", "time": 1100 * SECOND, "account": "cms001", "lease": "", "inode": 1}
    links = [sighting({**about, "name": name}) for name in ("%2fcn%3deve", "%2fcn%3dmallory")]
    changed = run(end=job().end, ended_by="job_end", held=SOMEBODY)
    found = attribute(job(), [step(SECOND)], [changed], {}, (), [lent(500, ANNA), *links])
    assert found.parts == ()
    assert [each.subject for each in found.candidates] == [ANNA, "/cn=eve", "/cn=mallory"]


def test_a_job_whose_account_was_linked_to_two_names_at_once_is_nobodys_and_both_are_named():
    about = {"kind": "observation", "time": 900 * SECOND, "account": "cms001", "inode": 1}
    links = [
        sighting({**about, "name": name, "lease": lease}) for name, lease in (("%2fcn%3deve", ""), ("n", ANNA[-4] * 32))
    ]
    found = by_history([lent(500, ANNA), *links, lent(950, ANNA, begins=False)])
    assert (found.parts, found.unattributed) == ((), SECOND)
    assert {each.subject for each in found.candidates} == {ANNA, "/cn=eve"}
    assert "2 names were linked to the account at once, from 1970-01-01T00:15:00" in found.candidates[0].because


def test_all_whom_the_hooks_of_a_jobs_nodes_saw_are_named_in_whatever_order_they_are_read():
    others = {lease * 32: lent(1050, who)._replace(lease=lease * 32) for lease, who in (("b", BELA), ("c", CHEN))}
    runs = [
        run(ledger=lease, node=f"n{lease}", end=job().end, ended_by="job_end", held=lease * 32)
        for lease in ("a", "b", "c")
    ]
    for order in (runs, runs[::-1]):
        found = attribute(job(), [step(SECOND)], order, others)
        assert (found.parts, [each.subject for each in found.candidates]) == ((), [ANNA, BELA, CHEN])
        assert "a hook on na" in found.candidates[0].because
    differing = [run(ledger="k", node="n2", subject=BELA, lease="b" * 32), *runs]
    for order in (differing, differing[::-1]):
        found = attribute(job(), [step(SECOND)], order, others)
        assert found.because == "its nodes recorded different holders"
        assert [each.subject for each in found.candidates] == [ANNA, BELA]


def test_one_person_under_two_leases_on_two_nodes_is_one_person():
    assert owner(job(), [], [run(), run(ledger="m", node="n2", lease="b" * 32)], {}) == ANNA


def test_it_is_said_whether_the_holder_was_seen_at_the_end_too():
    (at_both,) = attribute(job(), [], [run(end=job().end, held="a" * 32)], {}).parts
    (at_start,) = attribute(job(), [], [run(end=job().end)], {}).parts
    assert at_both.because.endswith("when the job started, and when it ended")
    assert at_start.because.endswith("when the job started, and nobody looked when it ended")


@given(st.data())
def test_an_account_handed_over_between_two_jobs_never_gives_one_persons_time_to_the_other(data):
    """Every lending is on record; of all else, any part may be missing."""
    people = data.draw(st.lists(st.sampled_from([ANNA, BELA]), min_size=2, max_size=5))
    certain, others, jobs = [], [], []
    for turn, person in enumerate(people):
        begin, lease = 10_000 * (turn + 1), f"{turn}" * 32
        of_turn = [lent(begin + after, person, begins=not after)._replace(lease=lease) for after in (0, 2000, 5000)]
        certain.append(of_turn[0])
        others += [*of_turn[1:], lent(begin + 9000, person, begins=False, ends=True)._replace(lease=lease)]
        start = begin + data.draw(st.integers(1, 4000))
        length = data.draw(st.integers(0, 4000))
        jobs.append((person, job(submit=start * SECOND, start=start * SECOND, end=(start + length) * SECOND)))
    kept = [each for each in others if data.draw(st.booleans())]
    for person, each in jobs:
        found = attribute(each, [step(SECOND)], [], {}, (), [*certain, *kept])
        assert {part.subject for part in found.parts} == {person}
        total = sum(part.cpu for part in found.parts) + found.unattributed + found.batch_discrepancy
        assert total == found.total
