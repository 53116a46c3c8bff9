"""Logs of before the installation, through a real store: every line once, and answers that are declared and never better."""

from __future__ import annotations

import gzip
import json
import os
import pwd
import re
from datetime import UTC
from pathlib import Path

import pytest
from sqlalchemy import select, text

from gridwarden import holders, ledger
from gridwarden.accounting import claimed, collect, evidence, expire, imports, report, schema
from gridwarden.accounting.living import Node
from gridwarden.accounting.past import Past
from gridwarden.accounting.question import ask
from gridwarden.accounting.report import BY
from gridwarden.accounting.retention import Cutoffs
from gridwarden.accounting.store import open_store, open_to_read
from gridwarden.accounting.whoran import whoran
from gridwarden.holders import Holder
from gridwarden.retention_settings import KindRetention, Retention
from gridwarden.times import Range
from tests.killing import run_after_kills

DATA = Path(__file__).parent.parent / "data"
SYSLOG = (DATA / "lcmaps-1.6.6/syslog").read_bytes()
SECOND = 1_000_000
NOON = 1_716_033_600 * SECOND  # 2024-05-18 12:00:00 UTC
DAY = 86_400 * SECOND
NOW = NOON + 900 * DAY
# An account of every Debian system that nobody logs in to, which this site once lent.
LENT = "games"
UID = pwd.getpwnam(LENT).pw_uid
ANNA, BELA = "/DC=org/DC=example/CN=Anna Example", "/DC=org/DC=example/CN=Bela Example"


def mapped(clock: str, subject: str, day: str = "2024-05-18", node: str = "ce1") -> str:
    return (
        f"{day}T{clock}+00:00 {node} globus-gridftp-server[12]: lcmaps: LCMAPS CRED FINAL: "
        f"DN:\"{subject}\"->mapped uid:'{UID}',pgid:'{UID}'\n"
    )


def blah(job: str, subject: str, clock: str = "12:00:00", user: int = UID) -> str:
    return (
        f'"timestamp=2024-05-18 {clock}" "userDN={subject}" "userFQAN=/cms" "ceID=ce1:9619/x" "jobID=1" '
        f'"lrmsID={job}" "localUser={user}"\n'
    )


class Site:
    """A store, and a node whose hooks recorded nothing then."""

    def __init__(self, root: Path, url: str) -> None:
        for name in ("ledger", "holders", "jobs", "spool"):
            (root / name).mkdir(mode=0o700)
        self.root, self.url = root, url
        self.node = Node(root / "holders", root / "jobs", str(root / "spool"), ("cms",))
        holder = Holder(
            account=LENT, uid=UID, gid=UID, lease="f" * 32, name="name", scheme="x509", subject="/CN=Holder of today",
            vo="cms", fqans=(), since=NOW, inode=1,
        )  # fmt: skip
        holders.publish(self.node.holders, holder)

    def put(self, name: str, *lines: str | bytes) -> Path:
        path = self.root / name
        path.write_bytes(b"".join(line if isinstance(line, bytes) else line.encode() for line in lines))
        path.chmod(0o644)
        return path

    def take(self, *paths: Path) -> list[imports.Imported]:
        store = open_store(self.url)
        found, failed = imports.import_files(store, paths, frozenset(), now=NOW, progress=lambda *_: None, node="wn042")
        assert failed == []
        return found

    def job(self, number: str = "9", user: str = LENT, submit: int = NOON, **changes: str) -> None:
        begin = submit // SECOND
        values = {
            "JobIDRaw": number, "Cluster": "site", "User": user, "UID": str(pwd.getpwnam(user).pw_uid),
            "Submit": str(begin), "Start": str(begin + 60), "End": str(begin + 3600), "State": "COMPLETED",
            "ExitCode": "0:0", "Restarts": "0", "UserCPU": "00:01:00", "SystemCPU": "00:00:00", "TotalCPU": "00:01:00",
            "NodeList": "n1", "Partition": "main", "AllocCPUS": "1", "ElapsedRaw": "1", "Group": LENT, "Account": "",
            "AdminComment": "", **changes,
        }  # fmt: skip
        lines = ["\x1f".join(values.values())]
        collect.collect_slurm(open_store(self.url), lambda _: lines, "site", since=0, now=NOW, progress=lambda *_: None)

    def ask(self, text: str | None, **filters):
        past = Past(self.url, self.root / "ledger")
        try:
            found, notes = whoran(ask(text, now=NOW, zone=UTC, **filters), self.node, past)
        finally:
            past.close()
        return found, notes

    def rows(self) -> list[tuple]:
        with open_to_read(self.url).transaction() as connection:
            return sorted(map(tuple, connection.execute(select(schema.claims))), key=repr)


@pytest.fixture
def site(tmp_path, url) -> Site:
    return Site(tmp_path, url)


@pytest.fixture
def local(tmp_path, sqlite_url) -> Site:
    return Site(tmp_path, sqlite_url)


def only(found):
    (answer,), _ = found
    return answer


def test_every_line_of_a_syslog_is_a_claim_or_put_aside_or_known_to_be_none(site):
    (found,) = site.take(site.put("syslog", SYSLOG))
    assert found.whole == imports.Counts(entries=30, records=3, quarantined=3, ignored=24)
    assert found.ignored == {"says nothing of who": 23, "of other programs": 1}
    assert found.whole.entries == len(SYSLOG.splitlines())
    assert len(site.rows()) == 3


@pytest.mark.parametrize(
    ("name", "counts"),
    [("lcmaps-1.6.6/lcmaps.log", (16, 3, 3, 10)), ("htcondor-23.9/AuditLog", (3, 0, 0, 3))],
)
def test_other_logs_are_known_by_how_they_begin(local, name, counts):
    (found,) = local.take(local.put("log", (DATA / name).read_bytes()))
    assert found.whole == imports.Counts(*counts)


def test_logs_that_overlap_are_rotated_and_compressed_give_each_line_once(local):
    lines = [mapped(f"12:00:{second:02}", ANNA) for second in range(20)]
    plain = local.put("messages", *lines[:12])
    local.take(plain)
    assert local.take(plain) == []
    local.take(local.put("messages", *lines))
    before = local.rows()
    assert len(before) == 20
    (local.root / "messages-20240519.gz").write_bytes(gzip.compress("".join(lines[5:]).encode()))
    (local.root / "messages-20240519.gz").chmod(0o644)
    local.take(local.root / "messages-20240519.gz", local.put("central.log", *lines))
    assert local.rows() == before


def test_an_import_killed_at_any_moment_gives_the_same_store(local, tmp_path):
    log = local.put("messages", SYSLOG, *(mapped(f"12:00:{second:02}", ANNA) for second in range(30)), "odd\n")
    program = f"""
import sys
from pathlib import Path
from gridwarden.accounting import imports
from gridwarden.accounting.store import open_store
imports.BATCH_ENTRIES = 5
tell = lambda *_: (print(flush=True), sys.stdin.readline())
imports.import_files(open_store({local.url!r}), [Path({str(log)!r})], frozenset(), now={NOW}, progress=tell, node="wn042")
"""
    run_after_kills(program, (1, 3, 4))
    (tmp_path / "other").mkdir()
    undisturbed = Site(tmp_path / "other", f"sqlite:///{tmp_path}/other.sqlite")
    undisturbed.take(log)
    assert local.rows() == undisturbed.rows()
    assert len(local.rows()) == 33


def test_a_job_of_before_the_installation_is_declared_to_be_whose_blah_says_it_was(site):
    site.job()
    site.take(site.put("blahp.log-20240518", blah("9", ANNA)), site.put("messages", mapped("11:00:00", BELA)))
    for found in (site.ask(None, job="9"), site.ask("2024-05-18 12:30"), site.ask("2024-05-18 12:30", node="n1")):
        answer = only(found)
        assert (answer.evidence, answer.identity, answer.vo) == (evidence.DECLARED, ANNA, "cms")
        assert (answer.account, answer.job, answer.node) == (LENT, "9", "n1")
        assert "blahp.log-20240518:1" in answer.because


def test_a_job_that_no_ce_logged_is_declared_to_be_whom_lcmaps_mapped_last(local):
    local.job()
    lines = [mapped("12:00:30", ANNA), mapped("12:00:20", BELA, day="2024-04-01"), mapped("12:10:00", BELA)]
    local.take(local.put("messages", *lines))
    answer = only(local.ask(None, job="9"))
    assert (answer.evidence, answer.identity) == (evidence.DECLARED, ANNA)
    assert "messages:1" in answer.because


def test_an_account_that_several_were_mapped_to_names_them_all_and_is_ambiguous(local):
    local.job()
    local.take(local.put("messages", mapped("11:59:00", BELA), mapped("12:00:30", ANNA)))
    found, _ = local.ask(None, job="9")
    assert {(each.evidence, each.identity) for each in found} == {
        (evidence.AMBIGUOUS, ANNA), (evidence.AMBIGUOUS, BELA)
    }  # fmt: skip


def test_a_number_that_came_again_or_another_account_is_not_the_job(local):
    local.job()
    other = pwd.getpwnam("news").pw_uid
    lines = [
        blah("9", BELA).replace("2024-05-18", "2022-05-18"),
        blah("9", BELA).replace("2024-05-18", "2025-05-18"),
        blah("9", BELA, user=other),
        blah("9.pbs.example.org", BELA),
        blah("10", BELA),
    ]
    local.take(local.put("blahp.log", *lines))
    answer = only(local.ask(None, job="9"))
    assert (answer.evidence, answer.identity) == (evidence.AMBIGUOUS, "")


def test_who_held_an_account_then_is_declared_where_gridwarden_has_no_record(site):
    site.take(site.put("messages", mapped("11:00:00", ANNA)))
    answer = only(site.ask("2024-05-18 12:00..2024-05-18 13:00", account=LENT))
    assert (answer.evidence, answer.identity, answer.since) == (evidence.DECLARED, ANNA, NOON - 3600 * SECOND)
    assert site.ask("2024-05-18 10:00..2024-05-18 10:30", account=LENT)[0] == []


def test_what_hooks_recorded_beats_every_log(local):
    fields = {
        "batch": "slurm", "job": "9", "restart": 0, "account": LENT, "uid": UID, "lease": "a" * 32, "scheme": "x509",
        "subject": ANNA, "vo": "cms", "stamp": "", "evidence": "holder+link", "batch_start": None,
    }  # fmt: skip
    ledger.append(local.root / "ledger", "job_start", fields, node="n1", cluster="site")
    local.take(local.put("messages", mapped("11:00:00", BELA, day="2024-05-17")))
    found, _ = local.ask(None, job="9")
    assert [(each.evidence, each.identity) for each in found] == [(evidence.BATCH, ANNA)]


def test_the_job_of_a_local_user_stays_theirs_whatever_a_log_says(local):
    local.job(user="news")
    local.take(local.put("blahp.log", blah("9", BELA, user=pwd.getpwnam("news").pw_uid)))
    found, _ = local.ask(None, job="9")
    assert {(each.evidence, each.identity) for each in found} == {
        (evidence.BATCH, "news"), (evidence.DECLARED, BELA)
    }  # fmt: skip


def test_a_payload_of_glexec_is_found_by_its_time_and_its_pid(site):
    begin = "2024-05-18T12:{}:00+00:00 wn042 glexec.mon[4000#4001]: {}\n"
    lines = [
        begin.format("00", f"Started, target uid {UID}"),
        begin.format("00", f'Used DN: "{ANNA}"'),
        begin.format("30", "Terminated, CPU user 5 system 1"),
        begin.format("40", f"Started, target uid {UID}"),  # the same two pids again, of nobody known
    ]
    site.take(site.put("glexec.log", *lines))
    for found in (site.ask("2024-05-18 12:15", node="wn042"), site.ask("4001@2024-05-18 12:15", node="wn042")):
        answer = only(found)
        assert (answer.evidence, answer.identity, answer.account) == (evidence.DECLARED, ANNA, LENT)
        assert (answer.pid, answer.since, answer.until) == (4001, NOON, NOON + 1800 * SECOND)
    assert site.ask("2024-05-18 12:35", node="wn042")[0] == []
    later = only(site.ask("2024-05-18 12:50", node="wn042"))
    assert (later.evidence, later.identity) == (evidence.AMBIGUOUS, "")


def test_mappings_of_a_moment_are_found_by_time_and_by_person(site):
    site.take(site.put("messages", mapped("12:00:00", ANNA), mapped("12:00:00", ANNA), mapped("13:00:00", BELA)))
    answer = only(site.ask("2024-05-18 12:00:00"))
    assert (answer.evidence, answer.identity, answer.account, answer.node) == (evidence.DECLARED, ANNA, LENT, "ce1")
    assert [each.identity for each in site.ask("2024-05-18 11:00..2024-05-18 14:00", identity="bela")[0]] == [BELA]


def test_ten_thousand_forged_mappings_drown_nothing_and_it_is_said_how_many_there_are(local):
    local.job()
    forged = [mapped("11:30:00", f"/CN=Forged {number}", node=f"n{number % 100}") for number in range(10_000)]
    local.take(local.put("messages", *forged, mapped("12:00:00", ANNA)))
    found, notes = local.ask("2024-05-18 12:00..2024-05-18 13:00")
    assert len(found) == claimed.MOST_PEOPLE
    assert {each.job for each in found} == {"9"}
    assert ANNA in {each.identity for each in found}
    assert any(f"{10_001 - claimed.MOST_PEOPLE} more people who were mapped to {LENT}" in note for note in notes)
    found, notes = local.ask("2024-05-18 11:30:00")
    assert len(found) == claimed.MOST
    assert any(f"{10_000 - claimed.MOST} more mappings: ask for" in note for note in notes)
    found, notes = local.ask("2024-05-18 11:30:00", identity="Forged 999")
    assert sorted(each.identity for each in found) == [
        "/CN=Forged 999",
        *(f"/CN=Forged 999{last}" for last in range(10)),
    ]
    assert notes == []


def test_forged_payloads_of_glexec_drown_nothing_and_it_is_said_how_many_there_are(local):
    begin = "2024-05-18T12:00:00+00:00 wn042 glexec.mon[{0}#{0}]: "
    lines = [begin.format(pid) + f"Started, target uid {UID}\n" for pid in range(2, 1_002)]
    named = [begin.format(pid) + f'Used DN: "{ANNA if pid == 1_001 else BELA}"\n' for pid in range(2, 1_002)]
    local.take(local.put("glexec.log", *lines, *named))
    found, notes = local.ask("2024-05-18 12:15", node="wn042")
    assert len(found) == claimed.MOST
    assert any(f"{1_000 - claimed.MOST} more payloads of gLExec's: ask for" in note for note in notes)
    (answer,), notes = local.ask("2024-05-18 12:15", identity="Anna")
    assert (answer.identity, answer.pid, notes) == (ANNA, 1_001, [])


def test_no_cpu_time_is_ever_given_to_whom_a_log_names(local):
    local.job()
    local.take(local.put("blahp.log", blah("9", ANNA)), local.put("messages", mapped("12:00:00", ANNA)))
    told = report.report(open_to_read(local.url), Range(0, NOW), BY)
    assert ANNA not in repr(told)


def test_claims_go_at_their_age_and_lose_their_names_before(site):
    site.take(site.put("messages", mapped("12:00:00", ANNA), mapped("12:00:00", BELA, day="2024-06-20")))
    day = 86_400 * SECOND

    def run(retention: Retention, now: int) -> list[tuple]:
        expire.expire(open_store(site.url), Cutoffs.of(retention, now), b"k" * 32, now=now, progress=lambda _: None)
        return site.rows()

    names = Retention(days=400, pseudonym_days=20)
    kept = run(names, NOON + 30 * day)
    assert len(kept) == 2
    assert ANNA not in repr(kept)
    assert BELA in repr(kept)
    (left,) = run(Retention(kinds=(KindRetention(kind="claim", days=20),)), NOON + 45 * day)
    assert BELA in repr(left)


def test_the_history_of_a_computing_element_says_whose_a_job_of_the_batch_system_was(local):
    ad = (DATA / "htcondor-23.9/history.2.0").read_text(encoding="utf-8")
    ad = re.sub(r"(?m)^(JobUniverse|QDate|CompletionDate|Owner|OsUser|LastRemoteHost|NumShadowStarts) = .*\n", "", ad)
    ad += (
        f'QDate = {NOON // SECOND}\nCompletionDate = {NOON // SECOND + 3700}\nOwner = "{LENT}"\nJobUniverse = 9\n'
        f'GridJobId = "batch slurm slurm/20240518/9"\nx509userproxysubject = "{ANNA}"\n'
    )
    local.job()
    (found,) = local.take(local.put("history.7.0", ad))
    assert (found.whole.records, found.whole.quarantined) == (1, 0)
    answer = only(local.ask(None, job="9"))
    assert (answer.evidence, answer.identity) == (evidence.DECLARED, ANNA)
    # The ad that it was routed from is no job either: its CPU time is Slurm's job's.
    source = ad.replace("JobUniverse = 9", 'JobUniverse = 5\nRoutedToJobId = "8.0"')
    (routed,) = local.take(local.put("history.6.0", source.replace(f"QDate = {NOON // SECOND}", "QDate = 5")))
    assert routed.ignored == {"routed to another job, which says more": 1}
    # But one that ran here is a job of HTCondor's, whatever its owner wrote into it.
    (ran,) = local.take(local.put("history.5.0", source + 'LastRemoteHost = "slot1@n1"\n'))
    assert ran.whole.records == 1


def test_the_other_lines_of_each_payload_are_found_by_their_index(local):
    """Whatever else the monitor logged in a month, which would be read again for each payload of it."""
    with open_store(local.url).transaction() as connection:
        plan = connection.execute(text(f"EXPLAIN QUERY PLAN {claimed._PAYLOADS}"), {"since": 0, "until": NOW}).all()
    steps = [step for *_, step in plan if " other" in step]
    assert len(steps) == 2
    assert all("USING INDEX claims_by_session (session=? AND node=? AND time>?)" in step for step in steps), steps


def test_a_name_that_is_no_text_is_asked_for_as_it_was_collected(site):
    site.job(user="daemon")
    for name in ("account", "node", "job"):
        assert site.ask(None, **{name: "caf\udce9"})[0] == []


def test_what_an_owner_wrote_into_an_htcondor_job_names_nobody_who_had_that_account_then(local):
    """Its number is all that is sure of it, and by that a hook has recorded who it was."""
    ad = re.sub(
        "(?m)^Owner = .*", f'Owner = "{LENT}"', (DATA / "htcondor-23.9/history.2.0").read_text(encoding="utf-8")
    )
    told = SECOND * int(re.search("(?m)^QDate = (.*)", ad)[1])
    name = re.search('(?m)^GlobalJobId = "(.*)"', ad)[1]
    begin = {"account": LENT, "uid": UID, "scheme": "x509", "vo": "", "node": "n1", "cluster": "site"}
    job = {"batch": "htcondor", "job": name, "restart": 0, "evidence": "holder"}
    head, lines = (0, ledger.FIRST), b""
    for time, kind, lease, subject, more in (
        (told - 9 * DAY, "lease", "a" * 32, ANNA, {"name": "n"}),
        (told + DAY, "lease", "b" * 32, BELA, {"name": "m"}),
        (told + 2 * DAY, "job_start", "b" * 32, BELA, job),
    ):
        body = {"kind": kind, "time": time, "lease": lease, "subject": subject, **begin, **more}
        line, *head = ledger._line(head[1], head[0] + 1, json.dumps(body).encode())
        lines += line
    local.put("ledger/current.jsonl", lines)
    local.take(local.put("history.2.0", ad))
    found, _ = local.ask(None, job=name.split("#")[1])
    assert {(each.identity, each.evidence) for each in found} == {(BELA, evidence.BATCH), ("", evidence.AMBIGUOUS)}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a file of somebody else's")
def test_a_log_that_somebody_else_could_have_written_is_refused(local):
    log = local.put("messages", mapped("12:00:00", ANNA))
    log.chmod(0o664)
    _, (error,) = imports.import_files(
        open_store(local.url), [log], frozenset(), now=NOW, progress=lambda *_: None, node="n"
    )
    assert "can be written by others" in str(error)
