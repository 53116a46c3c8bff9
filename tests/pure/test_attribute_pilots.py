"""A pilot's job: each payload's CPU time is its owner's, the rest the pilot's, and nothing is lost, counted twice or made up."""

from __future__ import annotations

from datetime import UTC
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridwarden.accounting import evidence
from gridwarden.accounting.attribute import NO_LEASE, NOT_ALL_MEASURED, attribute
from gridwarden.accounting.attributed import Attributed
from gridwarden.accounting.batch_records import Job, Step
from gridwarden.accounting.explain import explain
from gridwarden.accounting.job_runs import Run
from gridwarden.accounting.lease_history import Sighting
from gridwarden.accounting.payload_runs import (
    ANOTHERS,
    CLOCK_SKEW,
    NO_JOB,
    NOT_HERE,
    most_at_once,
    place,
    read_payloads,
)
from gridwarden.accounting.pilots import pilots

ANNA, BELA, CHEN = (f"/DC=org/DC=example/CN={name}" for name in ("Anna", "Bela", "Chen"))
SECOND = 1_000_000
LEASES = {ANNA: "a" * 32, CHEN: "c" * 32}


def job(**changes) -> Job:
    values = {
        "batch": "slurm", "cluster": "site", "job": "7", "submit": 1000 * SECOND, "restart": 0, "account": "pilotcms",
        "uid": 2101, "start": 1001 * SECOND, "end": 1100 * SECOND, "state": "COMPLETED", "exit_code": "0:0",
        "user_cpu": 0, "system_cpu": 0, "total_cpu": 90 * SECOND, "nodes": "n[1-2]", "stamp": "",
    }  # fmt: skip
    return Job(**{**values, **changes})


def step(cpu: int, name: str = "batch") -> Step:
    return Step("slurm", "site", "7", 1000 * SECOND, 0, name, None, None, "COMPLETED", 0, 0, cpu, "n1")


def start(number: int = 1, subject: str = ANNA, at: int = 1010 * SECOND, **changes):
    """The line of a ledger that says that a payload starts; its end is ``end``'s, of the same number."""
    body = {
        "kind": "payload_start", "time": at, "node": "n1", "cluster": "site", "payload": f"{number:032x}",
        "batch": "slurm", "job": "7", "restart": 0, "pilot": "pilotcms", "pilot_uid": 990, "pilot_subject": BELA,
        "account": "cms001", "uid": 2001, "lease": LEASES.get(subject, "d" * 32), "scheme": "x509", "subject": subject,
        "vo": "cms",
    }  # fmt: skip
    return "l", 2 * number, {**body, **changes}


def end(number: int = 1, user: int | None = 10 * SECOND, at: int = 1050 * SECOND, **changes):
    body = {
        "kind": "payload_end", "time": at, "node": "n1", "cluster": "site", "payload": f"{number:032x}",
        "batch": "slurm", "job": "7", "restart": 0, "account": "cms001", "uid": 2001, "lease": LEASES[ANNA],
        "status": 0, "signal": None, "user": user, "system": None if user is None else 0, "memory": 1,
        "group_cpu": None, "measured": "" if user is None else "wait4", "because": "",
    }  # fmt: skip
    return "l", 2 * number + 1, {**body, **changes}


def divide(starts, ends, the_job=None, steps=(), leases=None):
    the_job = the_job or job()
    placed = place(read_payloads(starts, ends), [the_job])
    return attribute(the_job, steps, [], leases or {}, placed.of_job.get(the_job[:5], []))


def shares(found) -> dict[str, int]:
    return {part.subject: part.cpu // SECOND for part in found.parts}


def adds_up(found) -> bool:
    measured = sum(part.cpu for part in found.parts) + found.unattributed + found.batch_discrepancy
    by_batch = sum(part.batch for part in found.parts) + found.batch_unattributed + found.steps_discrepancy
    return measured == by_batch == found.total


def test_each_owner_gets_what_the_kernel_measured_and_the_pilot_the_rest():
    starts, ends = [start(1), start(2, CHEN, account="cms002")], [end(1), end(2, 25 * SECOND, account="cms002")]
    found = divide(starts, ends, steps=[step(80 * SECOND), step(9 * SECOND, "0")])
    assert shares(found) == {ANNA: 10, CHEN: 25, BELA: 54}
    assert [(part.evidence, part.batch // SECOND) for part in found.parts] == [
        (evidence.KERNEL_MEASURED, 0),
        (evidence.KERNEL_MEASURED, 0),
        (evidence.BATCH, 89),
    ]
    assert (found.unattributed, found.batch_discrepancy, found.steps_discrepancy) == (0, SECOND, SECOND)


def test_two_payloads_of_one_person_are_both_theirs():
    assert sum(part.cpu for part in divide([start(1), start(2)], [end(1), end(2)]).parts if part.subject == ANNA) == (
        20 * SECOND
    )


def test_a_payload_that_hides_its_children_from_wait_is_charged_what_its_control_group_counted():
    assert shares(divide([start()], [end(group_cpu=30 * SECOND)]))[ANNA] == 30
    assert shares(divide([start()], [end(group_cpu=3 * SECOND)]))[ANNA] == 10


def test_a_payload_that_used_more_than_the_batch_system_saw_keeps_it_and_the_difference_is_said():
    found = divide([start()], [end()], job(total_cpu=SECOND // 2))
    assert shares(found) == {ANNA: 10, BELA: 0}
    assert found.batch_discrepancy == SECOND // 2 - 10 * SECOND
    assert adds_up(found)


@pytest.mark.parametrize(
    "ends",
    [[], [end(user=None)], [end(user=10 * SECOND, measured="processes")]],
    ids=["no record of its end", "killed with its launcher", "only what was left could be counted"],
)
def test_where_a_payload_was_not_measured_the_pilot_is_not_charged_for_it(ends):
    found = divide([start(1), start(2, CHEN)], [*ends, end(2)])
    assert shares(found)[CHEN] == 10
    assert shares(found)[BELA] == 0
    assert found.unattributed == found.total - sum(part.cpu for part in found.parts) > 0
    assert found.because == NOT_ALL_MEASURED


def test_an_end_without_a_start_goes_to_whoever_was_lent_the_account():
    lease = Sighting(500 * SECOND, "cms001", LEASES[ANNA], "x509", ANNA, "cms", begins=True)
    found = divide([], [end()], leases={lease.lease: lease})
    assert (found.parts[0].subject, found.parts[0].evidence) == (ANNA, evidence.LEASE_HISTORY)
    for unknown in ({}, {lease.lease: lease._replace(account="cms009")}):
        nobody = divide([], [end()], leases=unknown)
        assert (nobody.parts, nobody.unattributed) == ((), nobody.total)
        assert nobody.because.startswith(NO_LEASE)


def test_two_records_of_one_end_count_once():
    again = end(user=11 * SECOND)
    assert shares(divide([start()], [end(), (again[0], 99, again[2])]))[ANNA] == 10
    assert shares(divide([start()], [(again[0], 99, again[2]), end()]))[ANNA] == 10


def test_figures_that_nobody_can_have_measured_count_as_unknown():
    for wrong in (-1, "7", 2**70, True, 1.5):
        (payload,) = read_payloads([start()], [end(user=wrong, system=wrong, group_cpu=wrong)])
        assert payload.cpu is None


def test_what_was_not_wholly_measured_does_not_pass_for_measured():
    for ends in ([], [end(user=None, system=0)], [end(system=None, measured="processes")]):
        (part, _) = divide([start()], ends).parts
        assert part.evidence == evidence.BATCH
    assert divide([start()], [end(system=None, measured="processes")]).parts[0].cpu == 10 * SECOND


def test_a_payload_that_outlives_its_pilots_job_is_counted_whole_and_said_to():
    (payload,) = read_payloads([start()], [end(at=job().end + CLOCK_SKEW + 1)])
    assert payload.ran_over(job())
    assert not read_payloads([start()], [end(at=job().end + 1)])[0].ran_over(job())
    assert adds_up(attribute(job(), [], [], {}, [payload]))


def test_the_pilot_is_whom_the_hook_verified_and_else_whom_the_launcher_did():
    (payload,) = read_payloads([start()], [end()])
    run = Run("l", 1, "slurm", "site", "n1", "7", 0, "pilotcms", "e" * 32, "x509", CHEN, "cms", "", "holder", "b",
              1001 * SECOND, None, "")  # fmt: skip
    assert attribute(job(), [], [run], {}, [payload]).parts[-1].subject == CHEN
    assert attribute(job(), [], [], {}, [payload]).parts[-1].subject == BELA
    other = payload._replace(pilot_subject=CHEN, seq=9, payload="f" * 32)
    found = attribute(job(), [], [], {}, [payload, other])
    assert (shares(found), found.because) == ({ANNA: 10}, "its payloads' records name different pilots")
    assert {each.subject for each in found.candidates} == {BELA, CHEN}
    of_vos = [payload._replace(pilot_vo=vo, seq=seq) for seq, vo in enumerate(("", *"hgfedcba"))]
    assert attribute(job(), [], [], {}, of_vos).parts[-1].vo == "a", "it would be another at each report"
    unnamed = attribute(job(), [], [], {}, [payload._replace(pilot_subject="")])
    assert (shares(unnamed), unnamed.unattributed) == ({ANNA: 10}, 80 * SECOND)


def test_the_scheme_of_a_pilot_is_what_its_record_says_and_of_older_ones_what_its_name_looks_like():
    for changes, scheme in (
        ({"pilot_scheme": "idtoken", "pilot_subject": "pool,bela"}, "idtoken"),
        ({"pilot_scheme": "", "pilot_subject": ""}, ""),
        ({"pilot_subject": "https://issuer,bela"}, "token"),
        ({}, "x509"),
    ):
        (payload,) = read_payloads([start(**changes)], [])
        assert payload.pilot_scheme == scheme, changes


def test_a_payload_of_no_known_job_is_in_no_job_and_the_reason_is_said():
    cases = [
        (start(job=""), [job()], NO_JOB),
        (start(job="8"), [job()], NOT_HERE),
        (start(batch="pbs"), [job()], NOT_HERE),
        (start(cluster="other"), [job()], NOT_HERE),
        (start(pilot="pilotatlas"), [job()], ANOTHERS),
        (start(at=job().start - CLOCK_SKEW - 1), [job()], ANOTHERS),
        (start(at=job().end + CLOCK_SKEW + 1), [job()], ANOTHERS),
        (start(at=job().end + 1, restart=1), [job()], ANOTHERS),
    ]
    for line, jobs, because in cases:
        placed = place(read_payloads([line], []), jobs)
        assert (placed.of_job, [why for _, why in placed.outside]) == ({}, [because])


def test_a_node_cannot_put_payloads_into_a_job_that_hooks_saw_elsewhere():
    (payload,) = read_payloads([start()], [end()])
    name = job()[:3]
    assert place([payload], [job()], {name: frozenset(["l", "m"])}).outside == []
    assert place([payload], [job()], {name: frozenset(["m"])}).outside == [(payload, ANOTHERS)]


def test_records_that_no_launcher_wrote_neither_stop_a_derivation_nor_pass_for_the_jobs_holder():
    lines = [start(1, payload=""), start(2, CHEN, payload=None), start(3)]
    ends = [end(3, at=2**63 - 1), end(4, at=-(2**63), payload="")]
    payloads = read_payloads(lines, ends)
    found = attribute(job(), [], [], {}, payloads)
    assert [part.subject for part in found.parts if not part.payload] == [BELA]
    assert len(explain(Attributed(job(), [], payloads, found), UTC)) == len(payloads) + 7
    assert adds_up(found)


def test_a_payload_of_a_requeued_job_is_of_the_run_that_it_ran_in():
    first = job(end=1005 * SECOND, state="REQUEUED")
    second = job(restart=1, submit=1006 * SECOND, start=1008 * SECOND)

    def run_of(**changes):
        (key,) = place(read_payloads([start(**changes)], []), [second, first]).of_job
        return key

    assert run_of(at=1003 * SECOND) == first[:5]
    assert run_of(at=1010 * SECOND, restart=1) == second[:5]
    assert run_of(at=1007 * SECOND, restart=1) == second[:5], "a node's clock behind the controller's"
    late = first.end + CLOCK_SKEW + 1
    second = second._replace(end=late + SECOND)
    assert run_of(at=late) == second[:5], "a launcher that could not read the register says restart 0"


def test_payloads_at_once_are_those_that_ran_at_the_same_time():
    lines = [start(1, at=10), start(2, at=20), start(3, at=30)]
    ends = [end(1, at=20), end(2, at=40)]
    assert most_at_once(read_payloads(lines, ends), 100) == 2
    assert most_at_once(read_payloads(lines, [end(1, at=15), end(2, at=25)]), 100) == 1
    assert most_at_once(read_payloads(lines[:1], [end(1, at=10)]), 100) == 1
    assert most_at_once(read_payloads(lines, []), 100) == 3


def of_job(payloads, **changes) -> Attributed:
    each = job(**changes)
    return Attributed(each, [], payloads, attribute(each, [], [], {}, payloads))


def test_pilots_are_listed_with_what_no_payload_record_covers():
    both = read_payloads([start(1), start(2, CHEN)], [end(1), end(2, None)])
    lone = read_payloads([start(3)], [])
    over = read_payloads([start(4)], [end(4, at=job().end + 2 * CLOCK_SKEW)])
    jobs = [
        of_job(both, cores=1),
        of_job(lone, job="8"),
        of_job(over, job="9", total_cpu=SECOND),
        of_job([], job="10"),
        of_job([], job="11", account="alice"),
        of_job([], job="12", account="pool007", total_cpu=0),
    ]
    callers = [SimpleNamespace(account="pilotcms", unix_group=None, pool=None, service=False),
               SimpleNamespace(account=None, unix_group=None, pool="pool", service=False),
               SimpleNamespace(account="alice", unix_group=None, pool=None, service=True)]  # fmt: skip
    found = {pilot.job: pilot for pilot in pilots(jobs, callers)}
    assert list(found) == ["10", "8", "7", "12", "9"], "most CPU time that nothing covers first"
    assert (found["7"].payload_cpu, found["7"].covered, found["7"].at_once, found["7"].slots) == (
        10 * SECOND,
        11.1,
        2,
        1,
    )
    assert found["7"].remarks == "2 payloads at once, cores: 1; 1 not wholly measured"
    assert (found["8"].covered, found["8"].remarks) == (0.0, "1 ran without a record of the end")
    assert found["9"].remarks == "1 ran beyond the job's end; payloads used more than the batch system counted"
    assert (found["10"].identity, found["10"].remarks) == ("", "no payload of it is on record")
    assert (found["7"].identity, found["12"].covered) == (BELA, None)


def test_the_derivation_names_every_step_and_ends_with_the_total():
    payloads = read_payloads([start(1), start(2, CHEN)], [end(1), end(2, None)])
    each = Attributed(job(), [step(89 * SECOND)], payloads, attribute(job(), [step(89 * SECOND)], [], {}, payloads))
    lines = explain(each, UTC)
    assert [line.what for line in lines] == [
        "total", "steps", "payload", "payload", "rest", "holder", "unattributed", "batch_discrepancy", "sum",
    ]  # fmt: skip
    by_name = {line.what: line for line in lines}
    assert by_name["sum"].cpu == by_name["sum"].batch_cpu == by_name["total"].cpu == 90 * SECOND
    assert by_name["rest"].cpu == by_name["unattributed"].cpu == 79 * SECOND
    assert "killed" in lines[3].because
    assert NOT_ALL_MEASURED in by_name["unattributed"].because


def test_the_derivation_names_whom_a_payloads_other_credential_names():
    payloads = read_payloads([start(1), start(2, CHEN, also_scheme="token", also_subject=BELA)], [end(1), end(2)])
    each = Attributed(job(), [], payloads, attribute(job(), [], [], {}, payloads))
    lines = [line for line in explain(each, UTC) if line.what == "payload"]
    assert [(line.identity, f"a credential of {BELA} was shown" in line.because) for line in lines] == [
        (ANNA, False), (CHEN, True),
    ]  # fmt: skip


FIGURE = st.none() | st.integers(0, 10**13)
PAYLOADS = st.lists(
    st.tuples(
        st.sampled_from([ANNA, CHEN, ""]),  # whose, or without a record of its start
        st.integers(900, 1200),
        st.none() | st.tuples(st.integers(900, 1300), FIGURE, FIGURE, st.sampled_from(["wait4", "processes"])),
        st.sampled_from(["7", "7", "7", "8", ""]),
        st.sampled_from([BELA, BELA, CHEN, ""]),
        st.integers(0, 2),
    ),
    max_size=8,
)
CPU = st.integers(0, 10**14)


def lines_of(drawn):
    starts, ends = [], []
    for number, (subject, begin, ended, the_job, pilot, restart) in enumerate(drawn, 1):
        about = {"job": the_job, "restart": restart}
        if subject:
            starts.append(start(number, subject, begin * SECOND, pilot_subject=pilot, **about))
        if ended:
            at, user, group, measured = ended
            ends.append(end(number, user, at * SECOND, group_cpu=group, measured=measured, **about))
    return starts, ends


@given(drawn=PAYLOADS, totals=st.lists(CPU, min_size=3, max_size=3), steps=st.lists(CPU, max_size=3), rng=st.randoms())
def test_both_measures_add_up_whatever_the_records_say_and_in_whatever_order_they_come(drawn, totals, steps, rng):
    starts, ends = lines_of(drawn)
    jobs = [
        job(total_cpu=totals[0], end=1050 * SECOND, state="REQUEUED"),
        job(total_cpu=totals[1], restart=1, submit=1051 * SECOND, start=1052 * SECOND),
        job(total_cpu=totals[2], job="8"),
    ]
    rows = [step(cpu, str(number)) for number, cpu in enumerate(steps)]
    lease = Sighting(1, "cms001", LEASES[ANNA], "x509", ANNA, "cms", begins=True)

    def divisions():
        placed = place(read_payloads(starts, ends), jobs)
        found = {}
        for each in jobs:
            payloads = list(placed.of_job.get(each[:5], []))
            rng.shuffle(payloads)
            found[each[:5]] = attribute(each, rows, [], {lease.lease: lease}, payloads)
        return found, placed

    found, placed = divisions()
    assert all(adds_up(each) for each in found.values())
    assert all(part.cpu >= 0 and part.batch >= 0 for each in found.values() for part in each.parts)
    assert all(each.unattributed >= 0 for each in found.values())
    assert not any(each.unattributed and not each.because for each in found.values())
    # Every payload is somewhere, once, with all of its figure.
    everywhere = [
        *(payload for of_one in placed.of_job.values() for payload in of_one),
        *(one for one, _ in placed.outside),
    ]
    assert sorted(payload.payload for payload in everywhere) == sorted(
        {body["payload"] for _, _, body in starts + ends}
    )
    measured = sum(part.cpu for each in found.values() for part in each.parts if part.payload)
    in_jobs = sum(payload.cpu or 0 for of_one in placed.of_job.values() for payload in of_one)
    assert measured <= in_jobs <= measured + sum(each.unattributed for each in found.values())
    for items in (starts, ends, jobs, rows):
        rng.shuffle(items)
    assert divisions() == (found, placed)
