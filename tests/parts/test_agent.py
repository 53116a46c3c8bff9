"""The agent as a program: what it believes of whom, and what it keeps whatever happens to it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from socket import AF_UNIX, SOCK_DGRAM, SOCK_SEQPACKET, socket
from typing import TYPE_CHECKING

import pytest

from gridwarden import agent_client, chain, holders, ledger, register, tab_file
from gridwarden.hooks.agent import held
from gridwarden.hooks.doctor import examine
from tests.agent import CLIENT, ROOT, Node, client, fresh_node, until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="starts processes of other users: needs root")

UID, FLOODER = 61001, 61002
GAMES = 5  # a user that every Debian has; the agent asks NSS for its name
LEASE = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def node() -> Iterator[Node]:
    with fresh_node() as node:
        yield node


@pytest.fixture
def small_disk(node: Node) -> Iterator[Path]:
    ledger = node.base / "ledger"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k,mode=0700", "tmpfs", ledger], check=True)
    yield ledger
    subprocess.run(["umount", "--lazy", ledger], check=True)


def said(process: subprocess.Popen[str]) -> list[str]:
    output, _ = process.communicate(timeout=60)
    return output.splitlines()


def test_the_doctor_says_when_the_agent_cannot_see_who_holds_what(node):
    node.configure(agent_poll_seconds="1", gridmapdir="/nowhere")
    node.start()
    until(lambda: agent_client.status(node.socket)["gridmapdir"] != "ok")
    (found,) = examine.agent_serves({"agent_socket": [node.socket], "gridmapdir": ["/nowhere"]})
    assert (found.kind, found.remedy) == ("agent-gridmapdir", "ls -ld /nowhere")


def test_what_somebody_says_in_no_job_is_on_record_as_their_own_word_alone(node):
    node.start()
    (answer,) = said(client(node, UID, f"job_start,job=7,account=root,lease={LEASE}"))
    assert answer.startswith("declared 1 ")
    (record,) = node.records("declared")
    assert (record["uid"], record["what"]) == (UID, "job_start")
    assert "account\troot" in record["text"]
    assert not node.records("job_start")
    assert not set(record) & {"account", "lease", "subject", "job"}


def starter(
    node: Node, *messages: str, startd: str = "condor_startd", uid: int = GAMES, between: str = ""
) -> subprocess.Popen[bytes]:
    """A startd and a starter of root's, and below them a hook of a user's; both stay until they are ended."""
    for name in ("condor_startd", "condor_starter"):
        shutil.copy("/bin/bash", node.base / "programs" / name)
    shutil.copy("/bin/bash", node.base / "programs" / "other")
    hook = node.base / "hook.py"
    hook.write_text(CLIENT.format(root=str(ROOT)))
    out = node.base / "answers"
    run = f"{sys.executable} -ISB {hook} {uid} {node.socket}"
    words = " ".join(f"'{word}'" for word in messages)
    inner = f"{between} {run} {words} > {out}.new; mv {out}.new {out}; sleep 60 & wait; true"
    outer = f"""{node.base}/programs/condor_starter -c "{inner}" -a slot1_1; true"""
    return subprocess.Popen([f"{node.base}/programs/{startd}", "-c", outer], cwd="/", start_new_session=True)


def answers(node: Node) -> list[str]:
    path = node.base / "answers"
    return until(lambda: path.exists() and path.read_text().splitlines())


def condor(node: Node, job: str = "schedd#1.0#7", number: str = "1.0") -> None:
    """A startd that says which job is in its slot, as condor_status of 23.9 does."""
    (node.base / "address").write_text("<127.0.0.1:9618>\n")
    programs = {
        "condor_config_val": f"echo {node.base}/address",
        "condor_status": f'printf \'"slot1_1@here"\\t1\\t"{job}"\\t"{number}"\\t"schedd"\\n\'',
    }
    for name, text in programs.items():
        path = node.base / "programs" / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)


def holder(node: Node, **changed: object) -> None:
    values = {
        "account": "games", "uid": GAMES, "gid": 60, "lease": LEASE, "name": "", "scheme": "x509", "subject": "/CN=Anna",
        "vo": "cms", "fqans": (), "since": 1, "inode": 0,
    }  # fmt: skip
    holders.publish(node.base / "holders", holders.Holder(**(values | changed)))


def end(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_job_that_its_owner_gave_another_number_is_on_record_under_its_own(node):
    condor(node, "schedd#99.0#7")
    holder(node)
    node.start()
    process = starter(node, "job_start,job=schedd#99.0#7")
    try:
        (said_of_it,) = answers(node)
        assert said_of_it.startswith("stored")
        (start,) = node.records("job_start")
        assert start["job"] == "schedd#1.0#"
    finally:
        end(process)
    until(lambda: node.records("job_end"))


def test_a_hook_of_htcondors_records_its_jobs_start_and_the_starters_end_the_jobs_end(node):
    condor(node)
    holder(node)
    node.start()
    process = starter(
        node, "job_start,job=schedd#1.0#7", "job_start,job=schedd#1.0#7", "hook,n=1", "job_end,exit_code=3"
    )
    try:
        first, second, third, fourth = answers(node)
        assert first.startswith("stored 0")
        assert second.startswith("declared")
        assert third.startswith("stored")
        assert fourth.startswith("stored")
        (start,) = node.records("job_start")
        assert (start["batch"], start["job"], start["account"], start["subject"], start["lease"]) == (
            "htcondor", "schedd#1.0#7", "games", "/CN=Anna", LEASE,
        )  # fmt: skip
        assert [note["job"] for note in node.records("noted")] == ["schedd#1.0#7"] * 2
        assert not node.records("job_end")  # the job may say that it has ended, and run on
        assert [entry.job for entry in register.jobs_of(node.base / "jobs", "games")] == ["schedd#1.0#7"]
        assert node.end(signal.SIGKILL) == -9
        node.start()  # another agent knows what the first has promised
    finally:
        end(process)
    (record,) = until(lambda: node.records("job_end"))
    assert (record["job"], record["exit_code"], record["lease"]) == ("schedd#1.0#7", "3", LEASE)
    until(lambda: not register.jobs_of(node.base / "jobs", "games"))


def test_a_hook_speaks_for_the_process_above_it_only_where_that_is_of_its_own_job(node):
    """What Slurm's TaskProlog says of the task that is about to be: its parent, but never the starter itself."""
    condor(node)
    holder(node)
    node.start()
    process = starter(node, "job_start,job=schedd#1.0#7", "task,pid=1", "sub:task,pid=1")
    try:
        assert [line.split()[0] for line in answers(node)] == ["stored"] * 3
    finally:
        end(process)
    alone, below = node.records("noted")
    assert alone["pid"] == below["pid"]
    assert alone["process_start"] == below["process_start"]


@pytest.mark.parametrize(
    ("why", "changed"),
    [
        ("the startd schedd#1.0#7", {"messages": ("job_start,job=schedd#9.0#7",)}),
        ("not below root's own condor_startd", {"startd": "other"}),
        ("another account's process lies between", {"between": "timeout 60"}),
        ("its ancestors changed|no batch daemon of root's", {"between": "setsid --fork"}),
        ("has no passwd entry|uid not found", {"uid": 60123}),
        ("holder-missing", {"nobody": True}),
    ],
)
def test_a_start_that_the_machine_itself_does_not_confirm_is_a_declaration(node, why, changed):
    condor(node)
    if not changed.pop("nobody", False):
        holder(node)
    node.start()
    process = starter(node, *changed.pop("messages", ("job_start,job=schedd#1.0#7",)), **changed)
    try:
        (answer,) = answers(node)
    finally:
        end(process)
    assert answer.startswith("declared")
    assert any(part in answer for part in why.split("|")), answer
    assert not node.records("job_start")
    assert len(node.records("declared")) == 1


def test_a_user_whose_jobs_wait_for_their_accounts_lock_keeps_no_job_of_others_waiting(node):
    condor(node)
    holder(node)
    holder(node, account="man", uid=6, gid=12)
    for name in ("condor_startd", "condor_starter"):
        shutil.copy("/bin/bash", node.base / "programs" / name)
    (node.base / "hook.py").write_text(CLIENT.format(root=str(ROOT)))
    node.start()
    started = f"{node.base}/programs/condor_starter"

    def pilot(uid: int, count: int) -> subprocess.Popen[bytes]:
        run = f"{sys.executable} -ISB {node.base}/hook.py {uid} {node.socket} job_start,job=schedd#1.0#7 > {node.base}/answers"
        inner = f"""for i in $(seq {count}); do {started} -c "{run}$i-{uid}; sleep 60; true" -a slot1_1 & done; wait; true"""
        return subprocess.Popen([f"{node.base}/programs/condor_startd", "-c", inner], cwd="/", start_new_session=True)

    with register.AccountLock(node.base / "locks", "games", 1):  # as long as a clean-up lasts
        many = pilot(GAMES, 9)
        until(lambda: len(list(node.base.glob("answers*"))) == 9)
        time.sleep(1)
        other = pilot(6, 1)
        try:
            until(lambda: "stored" in "".join(path.read_text() for path in node.base.glob("answers1-6")), 15)
            assert not [record for record in node.records("job_start") if record["account"] == "games"]
        finally:
            end(many)
            end(other)


def test_a_payload_that_a_starter_adopts_speaks_for_nobodys_job(node):
    """Its launcher was killed; the job that its starter started is the pilot's."""
    condor(node)
    holder(node)
    node.start()
    pilot = f"{sys.executable} -ISB {node.base}/hook.py {GAMES} {node.socket} job_start,job=schedd#1.0#7;"
    process = starter(node, "hook,n=forged", "job_end,exit_code=9", uid=UID, between=pilot)
    try:
        assert all(answer.startswith("declared") for answer in answers(node))
    finally:
        end(process)
    (record,) = until(lambda: node.records("job_end"))
    assert (record["uid"], record["exit_code"]) == (GAMES, "")
    assert not node.records("noted")


def test_a_connection_that_was_made_in_a_job_speaks_for_none_once_who_made_it_has_ended(node):
    """It was left to another process, which may be anybody's, and the account may have another job."""
    shutil.copy("/bin/bash", node.base / "programs/pbs_mom")
    node.configure(prune_daemon=f"{node.base}/programs/pbs_mom")
    entry = register.Entry(
        batch="pbs", cluster="site", node="here", job="7.server", restart=0, account="games", uid=GAMES, lease=LEASE, start=0,
        boot=ledger.boot_id(),
    )  # fmt: skip
    register.enter(node.base / "jobs", entry)
    node.start()
    program = f"""
import os, socket, time
said = open("{node.base}/said", "w")
os.setgid({GAMES}); os.setuid({GAMES})
one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
one.connect({node.socket!r})
def tell():
    one.send({tab_file.encode([("kind", "note")])!r})
    print(one.recv(9999).split()[3].decode(), file=said, flush=True)
tell()
before = os.getpid()
if os.fork() == 0:
    while os.getppid() == before:
        time.sleep(0.01)
    tell()
    print("done", file=said, flush=True)
"""
    (node.base / "job.py").write_text(program)
    mom = [f"{node.base}/programs/pbs_mom", "-c", f"{sys.executable} -ISB {node.base}/job.py; sleep 60; true"]
    process = subprocess.Popen(mom, cwd="/", start_new_session=True)
    told = node.base / "said"
    try:
        until(lambda: told.exists() and told.read_text().endswith("done\n"))
    finally:
        end(process)
    assert told.read_text().split() == ["stored", "declared", "done"]


def test_a_banned_holders_job_is_refused_and_the_hook_is_told_why(node):
    condor(node)
    holder(node, verdict="banned", because="/CN=Anna matches /CN=A*")
    node.start()
    process = starter(node, "job_start,job=schedd#1.0#7")
    try:
        assert answers(node) == ["refused 0 banned: /CN=Anna matches /CN=A*"]
    finally:
        end(process)
    assert not node.records("job_start")


def test_the_flood_of_one_user_costs_nobody_else_a_message_and_is_one_gap(node):
    """The long form, with its times, is bench/agent.py."""
    node.configure(agent_messages_at_once="20", agent_messages_per_second="5")
    node.start()
    message = tab_file.encode([("kind", "flood"), ("n", "0" * 500)])
    flood = f"""
import os, socket, time
os.setgid({FLOODER}); os.setuid({FLOODER})
kept = []
end = time.monotonic() + 3
while time.monotonic() < end:
    one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    one.setblocking(False)
    try:
        one.connect({node.socket!r})
        for _ in range(1000):
            one.send({message!r})
    except OSError:
        pass
    kept = [*kept[-40:], one]
"""
    flooding = subprocess.Popen([sys.executable, "-c", flood])
    others = [client(node, 62000 + number, *(f"note,n={number}-{turn}" for turn in range(10))) for number in range(10)]
    told = [line for other in others for line in said(other)]
    assert flooding.wait() == 0
    assert len(told) == 100
    assert all(line.startswith("declared") for line in told)
    own = [text for text in node.texts() if "-" in text]
    assert sorted(own) == sorted(f"{number}-{turn}" for number in range(10) for turn in range(10))
    assert node.end() == 0
    (gap,) = node.records("gap")
    assert gap["what"] == f"messages of uid {FLOODER}"
    count = [record["uid"] for record in node.records("declared")].count(FLOODER)
    assert 20 <= count <= 20 + 5 * 40  # what its rate allows, and no more
    assert not chain.faults(node.base / "ledger")


def test_nobody_is_told_that_a_record_is_kept_which_a_killed_agent_had_not_written(node):
    node.configure(agent_messages_at_once="100000")
    node.start()
    others = [client(node, 62000 + number, *(f"note,n={number}-{turn}" for turn in range(40))) for number in range(4)]
    for _ in range(4):
        time.sleep(0.1)
        node.end(signal.SIGKILL)
        node.start()
    told = [line for other in others for line in said(other)]
    assert all(line.startswith("declared") for line in told), told
    assert {f"{number}-{turn}" for number in range(4) for turn in range(40)} == set(node.texts())
    assert not chain.faults(node.base / "ledger")


def test_a_full_disk_is_told_to_the_sender_and_what_was_taken_is_written_once_there_is_room(node, small_disk):
    node.configure(agent_reserve_megabytes="0")
    node.start()
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="space"):
        while True:
            file.write(bytes(4096))
    assert said(client(node, UID, "note,n=a", "note,n=b"))[0].startswith("held 0")
    assert agent_client.status(node.socket)["held"] == "2"
    assert "No space" in agent_client.status(node.socket)["ledger"]
    filler.unlink()
    until(lambda: node.texts() == ["a", "b"])
    assert agent_client.status(node.socket)["ledger"] == "ok"


def test_the_last_room_on_the_disk_is_for_evidence_not_for_anybodys_words(node, small_disk):
    node.configure(agent_reserve_megabytes="1")
    node.start()
    assert said(client(node, UID, "note,n=a"))[0].startswith("refused 0 there is hardly room")


def test_an_agent_that_ends_in_good_order_answers_first_whoever_has_sent_something(node):
    node.start()
    node.process.send_signal(signal.SIGSTOP)
    with ExitStack() as stack:
        waiting = [stack.enter_context(socket(AF_UNIX, SOCK_SEQPACKET)) for _ in range(5)]
        for number, one in enumerate(waiting):
            one.connect(node.socket)
            one.send(tab_file.encode([("kind", "note"), ("n", str(number))]))
        node.process.send_signal(signal.SIGTERM)
        node.process.send_signal(signal.SIGCONT)
        assert all(tab_file.decode(one.recv(9999))["outcome"] == ["declared"] for one in waiting)
    assert node.process.wait(60) == 0
    assert sorted(node.texts()) == list("01234")


def test_a_reload_reads_the_files_anew_and_loses_nobody(node):
    node.configure(agent_messages_at_once="1", agent_messages_per_second="1")
    node.start()
    before = node.process.pid
    slow = client(node, UID, *(f"note,n={number}" for number in range(20)))
    node.configure(agent_messages_at_once="1000", agent_messages_per_second="1000")
    until(node.texts)
    for _ in range(4):  # the second comes to who has its socket from the first
        node.process.send_signal(signal.SIGHUP)
        time.sleep(0.05)
    assert all(line.startswith("declared") for line in said(slow))
    assert set(node.texts()) == {str(number) for number in range(20)}
    assert agent_client.status(node.socket)["pid"] == str(before)
    (node.base / "node").write_text("nonsense\n")
    node.process.send_signal(signal.SIGHUP)
    assert said(client(node, UID, "note,n=still"))[0].startswith("declared")
    assert agent_client.status(node.socket)["pid"] == str(before)


def test_a_clock_that_jumps_about_keeps_nobody_waiting(node):
    jumps = """
import time
_really, _turn = time.time_ns, [0]
def _jumps():
    _turn[0] += 1
    return _really() + (-1) ** _turn[0] * _turn[0] * 3600 * 10 ** 9
time.time_ns = _jumps
time.time = lambda: _jumps() / 10 ** 9
"""
    node.start(jumps)
    assert len(said(client(node, UID, *(f"note,n={number}" for number in range(50))))) == 50
    assert node.texts() == [str(number) for number in range(50)]
    assert node.end() == 0


def test_a_second_agent_is_turned_away_and_the_first_serves_on(node):
    node.start()
    first = node.process
    with pytest.raises(AssertionError, match="another agent serves"):
        node.start()
    node.process = first
    assert node.answers()


@pytest.mark.parametrize(
    "message",
    [b"", b"x", b"version\t1\n", b"version\t1\nkind\t\n", b"version\t1\nkind\tA b\n", b"\xff" * 100, b"version\t1\nkind\tx\n" + b"a\tb" * 9000],
)  # fmt: skip
def test_whatever_comes_in_place_of_a_message_is_refused_and_others_are_served(node, message):
    node.start()
    with socket(AF_UNIX, SOCK_SEQPACKET) as one:
        one.connect(node.socket)
        one.send(message)
        answer = one.recv(9999)
    assert not answer or tab_file.decode(answer)["outcome"] == ["refused"]
    assert said(client(node, UID, "note,n=fine"))[0].startswith("declared")


def test_only_root_has_the_agent_look_for_holders_at_once(node):
    """A look is a child, and asks a file server."""
    node.start()
    assert said(client(node, UID, "holder"))[0].startswith("refused")
    assert agent_client.look_for_holders(node.socket, 10)
    assert not agent_client.look_for_holders("", 10)


def test_who_has_many_uids_in_user_namespaces_of_their_own_takes_no_more_than_one_user(node):
    node.configure(agent_connections="3")
    node.start()
    program = f"""
import ctypes, os, socket, sys
os.setgid(FIRST); os.setuid(FIRST)
assert ctypes.CDLL(None).unshare(0x10000000) == 0  # CLONE_NEWUSER
kept = []
for _ in range(3):
    one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    one.connect({node.socket!r})
    kept.append(one)
print("there", flush=True)
sys.stdin.read()
"""
    with ExitStack() as stack:
        for uid in (61005, 61006):
            command = [sys.executable, "-c", program.replace("FIRST", str(uid))]
            one = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            assert one.stdout.readline() == b"there\n"
        until(lambda: agent_client.status(node.socket)["dropped_total"] == "3")
        assert said(client(node, UID, "note,n=others"))[0].startswith("declared")


def test_who_calls_a_process_slurmctld_has_no_nodes_root_ask_the_controller():
    """Every few seconds, from each node where such a job runs."""
    name = "import os, sys; open('/proc/self/comm', 'w').write('slurmctld'); os.setuid({uid}); print(flush=True); sys.stdin.read()"
    for uid, slurm, counts in ((UID, 0, False), (0, 0, True), (GAMES, 0, True), (UID, UID, True)):
        command = [sys.executable, "-c", name.format(uid=uid)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as called:
            called.stdout.readline()
            assert held.is_controller(called.pid, slurm) is counts
            called.stdin.close()
    assert not held.is_controller(os.getpid(), 0)


def test_a_question_that_lasts_too_long_leaves_no_whoran_behind(node):
    asks = node.base / "whoran"
    asks.write_text(f"#!/bin/sh\necho $$ > {node.base}/pid\nexec sleep 600\n")
    asks.chmod(0o755)
    node.start(
        f"from gridwarden.hooks.agent import questions\nquestions.WHORAN_SECONDS = 2\nsys.argv[0] = '{node.base}/agent'"
    )
    told = agent_client.question(node.socket, ["12345"], 20)
    assert "did not answer in time" in told["detail"]
    pid = (node.base / "pid").read_text().strip()
    until(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text())


def test_a_reload_while_children_are_under_way_leaves_no_ended_ones_behind(node):
    """The unit has 64 tasks; with as many of them nothing could be done any more."""
    asks = node.base / "whoran"
    go_on = node.base / "go-on"
    asks.write_text(f"#!/bin/sh\nuntil [ -e {go_on} ]; do sleep 0.1; done\n")
    asks.chmod(0o755)
    node.start(
        f"from gridwarden.hooks.agent import serve\nserve.DRAIN_SECONDS = 0.1\nsys.argv[0] = '{node.base}/agent'"
    )
    children = Path(f"/proc/{node.process.pid}/task/{node.process.pid}/children")
    for turn in range(2):
        with socket(AF_UNIX, SOCK_SEQPACKET) as one:
            one.connect(node.socket)
            one.send(tab_file.encode([("kind", "question"), ("word", "1")]))
            until(lambda turn=turn: len(children.read_text().split()) == turn + 1)
        node.process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
    assert node.answers()
    assert children.read_text()
    go_on.touch()
    until(lambda: not children.read_text())


@pytest.mark.parametrize("connections", [1, 40])
def test_who_sends_open_files_that_take_long_to_close_holds_up_nobody(node, connections):
    """A TCP socket that lingers: whoever drops a message with it, read or unread, would wait for ten minutes."""
    node.start()
    program = f"""
import array, os, socket, struct, sys
os.setgid({UID}); os.setuid({UID})
listening, unsent = socket.create_server(("127.0.0.1", 0)), socket.socket()
unsent.connect(listening.getsockname())
unsent.setblocking(False)
try:
    while True:
        unsent.send(bytes(65536))
except BlockingIOError:
    pass
unsent.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 600))
kept = []
for _ in range({connections}):
    one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    one.connect({node.socket!r})
    one.send({tab_file.encode([("kind", "note")])!r})
    socket.send_fds(one, [{tab_file.encode([("kind", "note")])!r}], [unsent.fileno()])
    kept.append(one)
unsent.close()
print("closed", flush=True)
sys.stdin.read()
"""
    node.process.send_signal(signal.SIGSTOP)  # so that nobody else has the file when it drops the message
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as sending:
        assert sending.stdout.readline() == b"closed\n"
        node.process.send_signal(signal.SIGCONT)
        time.sleep(0.3)
        assert said(client(node, UID + 1, "note,n=others"))[0].startswith("declared")
        node.process.send_signal(signal.SIGHUP)  # what is not read holds up nobody who executes itself anew, either
        assert said(client(node, UID + 1, "note,n=again"))[0].startswith("declared")
        assert node.end() == 0
        sending.stdin.close()


def test_what_is_asked_of_a_dead_file_server_holds_up_nobody(node):
    """The gridmapdir's child hangs for ever, as in the kernel; the agent serves on, and ends when it is told to."""
    node.configure(agent_poll_seconds="1")
    hangs = """
import time
from gridwarden.hooks.agent import lease_errand, leases
lease_errand.look = lambda *_, **__: time.sleep(600)
leases.LOOK_SECONDS = 0.5
"""
    node.start(hangs)
    until(lambda: agent_client.status(node.socket)["gridmapdir"] == "it did not answer in time")
    assert said(client(node, UID, "note,n=a"))[0].startswith("declared")
    assert agent_client.status(node.socket)["gridmapdir_up"] == "0"
    assert node.end() == 0


def test_while_a_look_hangs_in_the_kernel_no_other_is_begun(node):
    """Each would hang, too, half a minute after the last one, until the unit has no task left for starts and ends of jobs."""
    node.configure(agent_poll_seconds="1")
    hangs = """
import os, time
from gridwarden.hooks.agent import lease_errand, leases
lease_errand.look = lambda *_, **__: time.sleep(600)
leases.LOOK_SECONDS = 0.5
os.kill = lambda *_: None
"""
    node.start(hangs)
    children = Path(f"/proc/{node.process.pid}/task/{node.process.pid}/children")
    until(lambda: agent_client.status(node.socket)["gridmapdir"] == "it did not answer in time")
    time.sleep(3)
    hanging = [int(pid) for pid in children.read_text().split()]
    for pid in hanging:
        os.kill(pid, signal.SIGKILL)
    assert len(hanging) == 1


def test_a_fault_of_the_agents_own_ends_neither_the_agent_nor_the_next_one(node):
    node.start("from gridwarden.hooks.agent import sender\nsender.look = lambda *_: 1 / 0\n")
    assert said(client(node, UID, "note,n=a"))[0].startswith("refused 0 a fault of the agent's own")
    assert node.answers()


def test_systemd_hands_its_socket_over_and_hears_when_the_agent_serves_lives_and_ends(node):
    """As sd_listen_fds(3) and sd_notify(3) have it; who connects before there is an agent waits for it."""
    with (
        socket(AF_UNIX, SOCK_SEQPACKET) as listening,
        socket(AF_UNIX, SOCK_DGRAM) as heard,
        socket(AF_UNIX, SOCK_SEQPACKET) as early,
    ):
        listening.bind(node.socket)
        Path(node.socket).chmod(0o666)  # SocketMode of the unit
        listening.listen()
        heard.bind(f"{node.base}/notify")
        heard.settimeout(60)
        early.connect(node.socket)
        early.send(tab_file.encode([("kind", "note"), ("n", "early")]))
        number = listening.fileno()
        shell = f'LISTEN_PID=$$ LISTEN_FDS=1; export LISTEN_PID LISTEN_FDS; exec "$@" 3<&{number}'
        environment = {"NOTIFY_SOCKET": f"{node.base}/notify", "WATCHDOG_USEC": "400000"}
        node.run(["bash", "-c", shell, "bash", *node.command()], env=environment, pass_fds=[number])
        assert heard.recv(99) == b"READY=1"
        assert tab_file.decode(early.recv(9999))["outcome"] == ["declared"]
        assert {heard.recv(99) for _ in range(3)} == {b"WATCHDOG=1"}
        node.process.send_signal(signal.SIGHUP)
        told = [heard.recv(99)]
        while told[-1] != b"READY=1":
            told.append(heard.recv(99))
        assert [each for each in told if each.startswith(b"RELOADING=1\nMONOTONIC_USEC=")]
        assert b"STOPPING=1" not in told, "systemd would end it"
        assert said(client(node, UID, "note,n=late"))[0].startswith("declared")
        node.process.send_signal(signal.SIGTERM)
        until(lambda: heard.recv(99) == b"STOPPING=1")
        assert node.process.wait(60) == 0


def test_an_agent_that_is_started_by_hand_is_there_once_the_command_is_done_and_stays(node):
    command = [word for word in node.command() if word != "--foreground"]
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command]
    subprocess.run(closed, cwd="/", check=True)
    told = agent_client.status(node.socket, 60)
    pid = int(told["pid"])
    try:
        os.kill(pid, signal.SIGHUP)
        assert said(client(node, UID, "note,n=a"))[0].startswith("declared")
        assert agent_client.status(node.socket, 60)["pid"] == told["pid"]
    finally:
        os.kill(pid, signal.SIGTERM)
        until(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text())


def test_a_node_file_that_others_could_have_written_starts_no_agent(node):
    (node.base / "node").chmod(0o666)
    node.run(node.command())
    assert node.process.wait(60) == 78
    assert b"can be written by others" in node.process.stderr.read()


def test_a_message_of_who_does_not_wait_for_the_answer_is_kept(node):
    """A hook in a shell: printf ... | socat."""
    node.start()
    for number in range(3):
        with socket(AF_UNIX, SOCK_SEQPACKET) as one:
            one.connect(node.socket)
            one.send(tab_file.encode([("kind", "note"), ("n", str(number))]))
    until(lambda: sorted(node.texts()) == ["0", "1", "2"])


@pytest.mark.parametrize("how", ["never started", "killed", "stopped"])
def test_a_hook_that_no_agent_answers_carries_on_and_hears_that_its_evidence_is_weaker(node, how):
    if how != "never started":
        node.start()
    if how == "killed":
        node.end(signal.SIGKILL)
    if how == "stopped":
        node.process.send_signal(signal.SIGSTOP)
    told = agent_client.tell(node.socket, "job_start", {"job": "7"}, 0.5)
    assert (told.outcome, told.seq) == (agent_client.ABSENT, 0)
    assert "the evidence of this job is weaker" in told.detail
