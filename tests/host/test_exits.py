"""Exit statistics of this machine's kernel: what every process really used, and what was missed said.

They are sent to the host's own namespaces only, so these tests run there.  Processes are children of the test.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from gridwarden import agent_client, chain, exit_lines, ledger, register
from gridwarden.accounting import collect, exit_records, schema
from gridwarden.accounting.attribute import attribute
from gridwarden.accounting.batch_records import Job
from gridwarden.accounting.job_runs import Run
from gridwarden.accounting.store import open_store, open_to_read
from gridwarden.cli import gridwarden
from gridwarden.errors import EvidenceError
from gridwarden.hooks.agent import exit_part, exit_spool, subordinate
from gridwarden.register import Entry
from tests import agent as agents

# Numbers of the kernel's first namespaces, the same on every machine (include/linux/nsfs.h, PROC_PID_INIT_INO).
FIRST = {"pid": "pid:[4026531836]", "user": "user:[4026531837]"}
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or any(os.readlink(f"/proc/self/ns/{kind}") != first for kind, first in FIRST.items()),
    reason="the kernel tells of exits only root of its first pid and user namespace, and this is a container",
)

UID = 61007
# What it was asked to do, then what wait4(2) says of each child: children of 5 ms, threads, killed ones, ones that left it.
WORK = """
import json, os, resource, signal, sys, threading, time  # all before the uid changes: nobody else may read the interpreter
os.setgroups([]); os.setresgid({uid}, {uid}, {uid}); os.setresuid({uid}, {uid}, {uid})
def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
def threads():
    all = [threading.Thread(target=burn, args=(0.1,)) for _ in range(4)]
    [each.start() for each in all]
    [each.join() for each in all]
def killed():
    burn(0.3)
    os.kill(os.getpid(), signal.SIGKILL)
def orphan():  # says itself what it used, since nobody waits for it
    if os.fork() == 0:
        burn(0.3)
        os.write(saying, json.dumps(["orphan", os.getpid(), 1, 0, time.process_time()]).encode() + b"\\n")
said, saying = os.pipe()
kinds = {{"short": lambda: burn(0.005), "threads": threads, "killed": killed, "long": lambda: burn(0.5), "orphan": orphan}}
used = []
for kind, count in json.loads(sys.argv[1]).items():
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            kinds[kind]()
            os._exit(7)
        _, status, usage = os.wait4(pid, 0)
        used.append([kind, pid, os.getpid(), status, usage.ru_utime + usage.ru_stime])
os.close(saying)
with open(said) as orphans:
    used += [json.loads(line) for line in orphans]
print(json.dumps(used))
"""


class Node:
    """A machine's directories, and the part of the agent that listens, without the agent."""

    def __init__(self, base: Path) -> None:
        for name in ("ledger", "jobs"):
            (base / name).mkdir(mode=0o700)
        self.base = base
        self.url = f"sqlite:///{base}/store.sqlite"
        self.part: exit_part.Exits | None = None

    def record(self, kind: str, fields: dict[str, str | int | None]) -> None:
        ledger.append(self.base / "ledger", kind, fields, node="n1", cluster="site")

    def start(self) -> exit_part.Exits:
        site = {"ledger": [f"{self.base}/ledger"], "cluster": ["site"], "register": [f"{self.base}/jobs"]}
        self.part = exit_part.start(site, self.record)
        assert self.part is not None
        return self.part

    def work(self, uid: int = UID, **kinds: int) -> list[list]:
        program = [sys.executable, "-c", WORK.format(uid=uid), json.dumps(kinds)]
        used = json.loads(subprocess.run(program, capture_output=True, check=True).stdout)
        self.read()
        return used

    def read(self) -> None:
        assert self.part is not None
        for _ in range(200):
            self.part.on_readable()
        self.part.on_tick(time.clock_gettime(time.CLOCK_BOOTTIME))

    def stop(self) -> None:
        assert self.part is not None
        self.part.close()
        self.part = None

    def collect(self, url: str | None = None) -> exit_records.Taken:
        store = open_store(url or self.url)
        collect.collect_ledger(store, self.base / "ledger", now=1, progress=lambda *_: None)
        return exit_records.take(store, self.base / "ledger", now=1, progress=lambda *_: None)

    def rows(self, uid: int = UID) -> dict[int, object]:
        with open_to_read(self.url).transaction() as connection:
            found = connection.execute(select(schema.processes).where(schema.processes.c.uid == uid)).all()
        assert len({row.pid for row in found}) == len(found)
        return {row.pid: row for row in found}

    def gaps(self) -> list[str]:
        return [str(line.body["reason"]) for line in chain.read(self.base / "ledger") if line.body.get("kind") == "gap"]

    def files(self) -> list[str]:
        return sorted(path.name for path in (self.base / "exits").iterdir())


@pytest.fixture
def node(tmp_path: Path):
    node = Node(tmp_path)
    yield node
    if node.part:
        node.stop()


def test_what_processes_used_is_within_two_percent_of_wait4(node):
    node.start()
    used = node.work(short=100, threads=3, killed=3, long=2)
    node.stop()
    assert node.collect().fresh_faults == []
    rows = node.rows()
    shares = {}
    for kind in ("short", "threads", "killed", "long"):
        waited = sum(seconds for each, *_, seconds in used if each == kind)
        shares[kind] = sum(rows[pid].cpu for each, pid, *_ in used if each == kind) / 1e6 / waited
    # The kernel tells before a process gives its memory back: of the 5 ms of one forked from Python 0.4, twice that on a busy machine.
    assert 0.5 < shares.pop("short") < 1.02
    assert all(share == pytest.approx(1, abs=0.02) for share in shares.values()), shares
    for kind, pid, parent, status, _ in used:
        row = rows[pid]
        assert (row.parent, row.status, row.gid, row.exact) == (parent, status, UID, 1), kind
        assert row.threads == (5 if kind == "threads" else 1)
        assert abs(row.end - time.time_ns() // 1000) < 120_000_000
        assert row.start <= row.end
    assert node.gaps() == []


@pytest.mark.parametrize(("kind", "count"), [("short", 100), ("threads", 3), ("killed", 3), ("long", 1), ("orphan", 3)])
def test_the_figure_that_a_plain_job_is_given_is_within_two_percent_of_what_it_used(node, kind, count):
    """Of a batch system that waits, as Slurm, which knows nothing of processes that left their parents."""
    node.start()
    used = node.work(**{kind: count})
    node.stop()
    node.collect()
    rows = node.rows()
    really = sum(1_000_000 * seconds for name, *_, seconds in used if name == kind)
    waited = 0 if kind == "orphan" else int(really)
    exact = sum(rows[pid].cpu for name, pid, *_ in used if name == kind)
    job = Job("slurm", "site", "7", 0, 0, "cms001", UID, 0, 100, "COMPLETED", "0:0", 0, 0, waited, "n1", "")
    run = Run(
        "l",
        1,
        "slurm",
        "site",
        "n1",
        "7",
        0,
        "cms001",
        "a" * 32,
        "x509",
        "/CN=Anna",
        "cms",
        "",
        "holder",
        "b",
        0,
        100,
        "",
    )
    (part,) = attribute(job, [], [run], {}, exact=exact).parts
    print(
        f"{kind}: {part.cpu / really:.4f} of what it used; exit statistics {exact / really:.4f}, batch {waited / really:.4f}"
    )
    assert part.cpu == pytest.approx(really, rel=0.02)
    assert (part.batch, part.cpu >= exact) == (waited, True)


def test_processes_of_the_system_are_not_kept(node):
    node.start()
    node.work(uid=998, short=3)
    node.work(short=1)
    node.stop()
    node.collect()
    assert node.rows(998) == {}
    assert len(node.rows()) == 2  # and their parent


def test_a_process_is_given_the_only_job_of_its_user(node):
    entry = Entry(
        batch="slurm", cluster="site", node="n1", job="7", restart=0, account="cms001", uid=UID, lease="a" * 32,
        start=time.time_ns() // 1000, boot="boot",
    )  # fmt: skip
    register.enter(node.base / "jobs", entry)
    node.start()
    ((_, pid, *_),) = node.work(short=1)
    entry.job = "8"
    register.enter(node.base / "jobs", entry)
    ((_, other, *_),) = node.work(short=1)
    node.stop()
    node.collect()
    rows = node.rows()
    assert (rows[pid].batch, rows[pid].job, rows[pid].cluster) == ("slurm", "7", "site")
    assert "register" in rows[pid].known_by
    assert rows[other].job == ""


def test_exits_that_the_kernel_dropped_are_counted_as_a_gap(node, monkeypatch):
    monkeypatch.setattr("gridwarden.hooks.agent.exit_netlink.BUFFER_BYTES", 1 << 16)
    part = node.start()
    program = [sys.executable, "-c", WORK.format(uid=UID), json.dumps({"short": 0})]
    subprocess.run(["sh", "-c", "i=0; while [ $i -lt 400 ]; do /bin/true; i=$((i+1)); done"], check=True)
    subprocess.run(program, check=True, capture_output=True)
    node.read()
    (gap,) = node.gaps()
    assert int(gap.split()[0]) >= 100
    assert part.figures()["exits_lost_total"] == int(gap.split()[0])


def test_what_a_killed_agent_had_written_is_kept_and_the_hole_said(node):
    node.start()
    ((_, pid, *_),) = node.work(short=1)
    node.part._listener.socket.close()  # as a kill does: nothing is completed
    node.part = None
    assert exit_lines.CURRENT in node.files()
    node.start()
    ((_, other, *_),) = node.work(short=1)
    node.stop()
    assert any("nobody listened for" in gap for gap in node.gaps())
    node.collect()
    assert {pid, other} <= node.rows().keys()


def test_files_are_taken_once_however_often_collected_or_killed(node, monkeypatch):
    node.start()
    node.work(short=3)
    node.stop()
    removed = exit_records._remove
    monkeypatch.setattr(exit_records, "_remove", lambda *_: None)  # killed between
    assert node.collect().rows >= 4  # whatever else this machine runs
    monkeypatch.setattr(exit_records, "_remove", removed)
    before = node.rows()
    node.start()  # records what is left once more
    node.stop()
    assert node.collect().fresh_faults == []
    assert node.rows() == before
    assert node.files() == ["watched"]


@pytest.mark.parametrize("how", ["altered", "gone"])
def test_a_file_that_somebody_altered_or_took_away_is_found(node, how):
    node.start()
    node.work(short=1)
    node.stop()
    (path,) = (node.base / "exits").glob("*.exits")
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes().replace(b"\t61007\t", b"\t61008\t"))
    found = node.collect()
    assert found.rows == 0
    assert ("gone" if how == "gone" else "altered") in found.fresh_faults[0]
    assert node.rows() == node.rows(61008) == {}
    assert node.collect().fresh_faults == []
    assert path.exists() == (how == "altered")


def test_the_command_takes_what_there_is_and_fails_where_it_was_altered(node, tmp_path):
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "sacct").write_text("#!/bin/sh\n")
    (programs / "sacct").chmod(0o755)
    config = tmp_path / "site.yaml"
    config.write_text(f"""
site: EXAMPLE
pools: [cms]
policy: [{{fqan: /cms, pool: cms}}]
directories: {{state: {node.base}}}
slurm: {{cluster: site, programs: {programs}}}
store: {node.url}
""")

    def collect_all() -> object:
        return CliRunner().invoke(gridwarden, ["--config", str(config), "collect"], catch_exceptions=False)

    node.start()
    node.work(short=1)
    node.stop()
    done = collect_all()
    assert done.exit_code == 0, done.output
    assert re.search(r"^exits:[0-9a-f]{32}: \d+ rows collected$", done.output, re.MULTILINE)
    assert len(node.rows()) == 2
    node.start()
    node.work(short=1)
    node.stop()
    (path,) = (node.base / "exits").glob("*.exits")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(EvidenceError, match="not as the ledger"):
        collect_all()


def test_on_a_full_disk_what_is_lost_is_counted_and_files_stay_whole(node, tmp_path, monkeypatch):
    node.start()
    node.work(short=1)
    monkeypatch.setattr(exit_spool.Spool, "_write", _no_room)
    node.work(short=2)
    monkeypatch.undo()
    ((_, pid, *_),) = node.work(short=1)
    node.part._gap_next = 0.0
    node.stop()
    (gap,) = node.gaps()
    assert int(gap.split()[0]) >= 3
    assert "could not be kept: No space" in gap
    assert node.collect().fresh_faults == []
    assert len(node.rows()) == 4
    assert pid in node.rows()


def _no_room(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def test_the_last_room_on_the_disk_is_left_to_the_ledger(node, monkeypatch):
    monkeypatch.setattr(exit_part, "Spool", lambda *given: exit_spool.Spool(*given[:3], 1 << 60))
    node.start()
    node.work(short=1)
    node.stop()
    assert any("which are the ledger's" in gap for gap in node.gaps())


def test_a_user_who_fills_the_file_system_hides_no_process_while_root_has_room_there(tmp_path, monkeypatch):
    """As ext4 keeps a part for root; then users have none left."""
    really = os.fstatvfs
    monkeypatch.setattr(os, "fstatvfs", lambda file: os.statvfs_result((*really(file)[:4], 0, *really(file)[5:])))
    assert not os.fstatvfs(0).f_bavail
    heading = exit_lines.heading("n", "c", "b")
    spool = exit_spool.Spool(str(tmp_path / "exits"), heading, lambda *_: None, 1 << 20)
    spool.add(lambda seq: b"%d\n" % seq)
    spool.close()
    assert (spool.kept, spool.lost) == (1, 0), spool.why


def test_what_ended_with_the_machine_is_said_to_be_missing(node):
    node.start()
    node.stop()
    (node.base / "exits" / "watched").write_text("another-boot\t1.0")
    node.start()
    assert any("started again" in gap for gap in node.gaps())


def test_a_file_that_cannot_be_completed_now_is_completed_later(node, monkeypatch):
    node.start()
    node.work(short=1)
    monkeypatch.setattr(exit_spool, "COMPLETE_SECONDS", 0.0)
    monkeypatch.setattr(exit_spool.os, "rename", _no_room)
    node.read()
    monkeypatch.undo()
    assert exit_lines.CURRENT in node.files()
    node.work(short=1)
    node.stop()
    assert node.collect().fresh_faults == []
    assert len(node.rows()) == 4


def test_whoever_forks_without_end_does_not_hide_others_when_room_is_scarce(node, monkeypatch):
    monkeypatch.setattr(exit_part, "MOST_OF_USER", 5)
    monkeypatch.setattr(subordinate, "PATH", str(node.base / "subuid"))
    (node.base / "subuid").write_text("anna:100000:65536\n")
    node.start()
    assert not node.part._spool.scarce
    node.part._spool._begin()
    node.part._spool._room = exit_spool.MOST_BYTES // 2 - 1
    node.read()
    node.work(uid=UID + 1, short=30)
    node.work(short=1)
    uids = range(100_000, 100_005)  # all of them at once, as in a user namespace of one person
    work = [[sys.executable, "-c", WORK.format(uid=uid), json.dumps({"short": 2})] for uid in uids]
    for program in [subprocess.Popen(each, stdout=subprocess.DEVNULL) for each in work]:
        assert program.wait() == 0
    node.read()
    node.stop()
    assert any("of one user" in gap for gap in node.gaps())
    node.collect()
    assert len(node.rows(UID + 1)) == 5
    assert len(node.rows()) == 2
    assert sum(len(node.rows(uid)) for uid in uids) == 5


def test_files_that_nobody_collects_do_not_fill_the_disk(node, monkeypatch):
    monkeypatch.setattr(exit_spool, "MOST_BYTES", 300)
    node.start()
    node.work(short=30)
    node.stop()
    assert any("wait to be collected" in gap for gap in node.gaps())
    assert sum(path.stat().st_size for path in (node.base / "exits").glob("*.exits")) < 600


def test_lines_of_any_command_are_read_as_they_were():
    for command in (b"a\tb\nc", b"\xff\\", b"", "ä".encode()):
        numbers = tuple(range(1, 13))
        line = exit_lines.line(numbers, "slurm", "7", exit_lines.GROUP, command)
        assert line.count(b"\n") == 1
        found = exit_lines.parse(line.removesuffix(b"\n"))
        assert found == ([*numbers], "slurm", "7", "its control group", command.decode("utf-8", "surrogateescape"))


@pytest.mark.parametrize(("namespace", "said"), [("--pid", "pid and user namespace"), ("--net", "network namespace")])
def test_in_other_namespaces_than_the_hosts_it_says_so(namespace, said, tmp_path):
    program = """
from gridwarden.hooks.agent import exit_part
from gridwarden.hooks.agent.exit_netlink import Listener
try:
    exit_part.probe(Listener())
except Exception as error:
    print(type(error).__name__, error)
"""
    ran = subprocess.run(
        ["unshare", namespace, "--fork", sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.startswith("Unavailable")
    assert said in ran.stdout


def test_the_agent_itself_listens_and_says_for_how_long_none_did(tmp_path):
    agent = agents.Node(tmp_path)
    agent.start()
    try:
        told = agent_client.status(agent.socket)
        assert told is not None
        assert "exits" in told["parts"].split()
        program = [sys.executable, "-c", WORK.format(uid=UID), json.dumps({"short": 3})]
        subprocess.run(program, capture_output=True, check=True)
        lines = tmp_path / "exits" / exit_lines.CURRENT
        agents.until(lambda: lines.exists() and lines.read_bytes().count(b"\t61007\t61007\t") == 4)
        agent.end(signal.SIGKILL)
        agent.start()
    finally:
        agent.end()
    record, *_ = agent.records("exits")
    assert (tmp_path / "exits" / str(record["file"])).stat().st_size == record["bytes"]
    assert any("nobody listened for" in str(gap["reason"]) for gap in agent.records("gap"))


def test_the_listener_keeps_up_with_a_thousand_exits_a_second(node):
    node.start()
    used = node.work(short=0)
    command = f"import os\nos.setresuid({UID}, {UID}, {UID})\nfor _ in range(3000):\n pid = os.fork()\n if not pid: os._exit(0)\n os.waitpid(pid, 0)"
    process = subprocess.Popen([sys.executable, "-c", command])
    while process.poll() is None:
        node.part.on_readable()
        time.sleep(0.01)
    node.read()
    node.stop()
    node.collect()
    assert used == []
    assert len(node.rows()) == 3002
    assert node.gaps() == []
