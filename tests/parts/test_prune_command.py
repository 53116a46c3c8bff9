"""What gridwarden-prune does on a node: the whole command, on real processes and files, beside a live job."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gridwarden import chain, holders, node_file, proc, register
from gridwarden.batch import mom
from gridwarden.errors import Unavailable
from gridwarden.holders import Holder
from gridwarden.prune.run import prune
from gridwarden.prune.sweep import sweep
from tests.batch_nodes import UID as JOBS_UID
from tests.batch_nodes import SlurmNode, TorqueNode
from tests.proof.silent import falling_silent

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="starts processes of other users: needs root")

needs_fuse = pytest.mark.skipif(
    not os.path.exists("/dev/fuse"), reason="the site has no /dev/fuse: this runs outside it"
)

STRAYS_UID, HELD_UID = 61022, 61023
MAIN = "import sys; from gridwarden.prune.main import main; sys.exit(main())"
PRUNE = ["nice", "-n", "-20", sys.executable, "-c", MAIN]  # as cron runs it
DAY = 86400


class Node(SlurmNode):
    """A Slurm node with one live job of JOBS_UID, and gridwarden's own directories."""

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        for name in ("holders", "jobs", "locks", "ledger", "holds"):
            (base / name).mkdir(mode=0o700)
        self.scratch = base / "scratch"
        self.scratch.mkdir()
        self.scratch.chmod(0o1777)
        self.started: list[subprocess.Popen[bytes]] = []
        self.configure()

    def configure(self, **values: str) -> None:
        """Write the node file, with other values for some keys."""
        base = {name: f"{self.base}/{name}" for name in ("holders", "locks", "ledger", "holds")}
        usual = {
            "site": "EXAMPLE",
            "cluster": "site",
            "pool": "gwt",
            "register": f"{self.base}/jobs",
            "gridmapdir": str(self.base),
            "gridmapdir_local": "yes",
            "scratch": str(self.scratch),
            "slurm_programs": self.site["slurm_programs"][0],
            "slurm_spool": self.site["slurm_spool"][0],
            "prolog_on_failure": "record-gap",
            "epilog_on_failure": "record-gap",
            "prune_batch": "slurm",
            "prune_kill": "yes",
            "prune_uids": "61021-61029",
            "prune_seconds": "20",
        }
        node_file.write(self.base / "node", list({**base, **usual, **values}.items()))

    def begin(self, *options: str) -> subprocess.Popen[str]:
        command = [*PRUNE, "--node-file", str(self.base / "node"), *options]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def prune(self, *options: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        run = self.begin(*options)
        output, errors = run.communicate(timeout=120)
        assert "Traceback" not in errors, errors
        return run.returncode, output, errors

    def rows(self, *options: str) -> list[dict[str, object]]:
        _, output, errors = self.prune("--format", "json", *options)
        assert output, errors
        return json.loads(output)

    def run(self, uid: int, *command: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            command or ["sleep", "600"], user=uid, group=uid, extra_groups=[], cwd="/", start_new_session=True
        )
        self.started.append(process)
        return process

    def file(self, name: str, uid: int, age: float = 0) -> Path:
        """A file of a user.  Its ctime, which nobody can set, is now: ``age`` only sets what they could."""
        path = self.scratch / name
        path.write_text("left behind")
        os.chown(path, uid, uid)
        os.utime(path, (time.time() - age,) * 2)
        return path

    def hold(self, uid: int) -> None:
        path = self.base / "holds" / str(uid)
        path.write_text("ticket 4711,\nby sec\n")
        path.chmod(0o600)

    def records(self, kind: str) -> list[dict[str, object]]:
        return [line.body for line in chain.read(self.base / "ledger") if line.body["kind"] == kind]

    def close(self) -> None:
        super().close()
        for process in self.started:
            process.kill()
            process.wait()


@pytest.fixture
def node() -> Iterator[Node]:
    base = Path(tempfile.mkdtemp(prefix="gw-prune-"))
    base.chmod(0o755)
    node = Node(base)
    yield node
    node.close()
    shutil.rmtree(base)


def ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        return process.wait(60) == -signal.SIGKILL
    except subprocess.TimeoutExpired:
        return False


def alive(pids: list[int]) -> bool:
    return all((process := proc.read(pid)) and not process.has_ended() for pid in pids)


def test_until_a_site_switches_killing_on_nothing_dies_and_the_report_says_what_would(node: Node) -> None:
    node.configure(prune_kill="no", prune_scratch_age_hours="0")
    stray, beside = node.run(STRAYS_UID), node.run(JOBS_UID)
    file = node.file("file", STRAYS_UID)
    time.sleep(0.05)  # its ctime is the kernel's coarse clock's
    code, output, errors = node.prune()
    assert code == 1
    assert f"process {stray.pid} (sleep)" in output
    assert {(row["pid"], row["action"], row["reason"]) for row in node.rows() if row["pid"]} == {
        (stray.pid, "would kill", "no-job"),
        (beside.pid, "would kill", "left-its-job"),
    }
    assert [row["what"] for row in node.rows() if row["action"] == "would remove"] == [str(file)]
    assert "prune.kill is off" in errors
    assert alive([stray.pid, beside.pid, *node.payload()])
    assert file.exists()
    assert list(chain.read(node.base / "ledger")) == []


def test_strays_die_the_live_job_of_the_same_account_does_not_and_each_kill_is_on_record(node: Node) -> None:
    stray = node.run(STRAYS_UID)
    beside = node.run(JOBS_UID, "sh", "-c", "sleep 600; : --token hunter2")
    assert node.prune()[0] == 0
    assert ended(stray)
    assert ended(beside)
    assert alive(node.payload())
    kills = {kill["pid"]: kill for kill in node.records("kill")}
    assert (kills[stray.pid]["account"], kills[stray.pid]["why"]) == (str(STRAYS_UID), "no-job")
    assert (kills[beside.pid]["parent"], kills[beside.pid]["why"]) == (os.getpid(), "left-its-job")
    assert kills[beside.pid]["arguments"] == "sh -c sleep 600; : --token [hidden]"
    assert kills[stray.pid]["process_start"] <= kills[stray.pid]["time"]
    assert node.prune() == (0, "", ""), "a quiet node has nothing to say, and cron nothing to mail"


@pytest.mark.parametrize("answer", ["exit 1", "sleep 60", "echo 'PID      JOBID'", ":"])
def test_when_the_batch_system_fails_to_answer_nothing_is_killed_or_removed(node: Node, answer: str) -> None:
    node.configure(prune_scratch_age_hours="0", prune_seconds="5" if "sleep" in answer else "20")
    stray, beside = node.run(STRAYS_UID), node.run(JOBS_UID)
    file = node.file("file", STRAYS_UID)
    node.program("scontrol", answer)
    code, output, errors = node.prune()
    assert code == 75
    assert "unknown" in output
    assert "it cannot be told what runs here: slurm" in errors
    assert alive([stray.pid, beside.pid, *node.payload()])
    assert file.exists()


def test_an_account_on_hold_is_frozen_and_what_it_left_is_put_away_for_root(node: Node) -> None:
    stray, other = node.run(HELD_UID), node.run(STRAYS_UID)
    file = node.file("evidence", HELD_UID)
    node.hold(HELD_UID)
    code, _, _ = node.prune()
    assert code == 0
    assert ended(other)
    assert proc.read(stray.pid).state == "T"
    assert not file.exists()
    (quarantined,) = node.records("quarantined")
    kept = Path(quarantined["into"])
    assert kept.read_text() == "left behind"
    assert kept.parent.stat().st_mode & 0o777 == 0o700
    (frozen,) = node.records("frozen")
    assert (frozen["pid"], frozen["hold"]) == (stray.pid, "ticket 4711, by sec")
    assert node.prune() == (0, "", ""), "what stands still already is on record already, and cron mails it once"
    assert len(node.records("frozen")) == 1
    (row,) = [row for row in node.rows("--all") if row["pid"] == stray.pid]
    assert (row["action"], row["detail"]) == ("spared", "stands still, on hold: ticket 4711, by sec")
    node.configure(prune_kill="no")
    assert node.prune() == (0, "", "")
    node.configure()
    (node.base / "holds" / str(HELD_UID)).unlink()
    node.prune()
    assert ended(stray)
    assert kept.exists(), "what was kept is for a person to delete"


@pytest.mark.parametrize("spoil", ["mode", "directory", "empty"])
def test_a_hold_file_that_cannot_be_read_holds_all_the_same(node: Node, spoil: str) -> None:
    stray = node.run(HELD_UID)
    path = node.base / "holds" / str(HELD_UID)
    if spoil == "directory":
        path.mkdir()
    else:
        path.touch()
        path.chmod(0o666 if spoil == "mode" else 0o600)
    node.prune()
    assert proc.read(stray.pid).state == "T"


def test_what_a_former_holder_left_goes_at_once_and_the_present_ones_only_when_it_is_old(node: Node) -> None:
    former = node.file("former", STRAYS_UID)
    time.sleep(0.05)
    since = time.time_ns() // 1000
    time.sleep(0.05)
    present = node.file("present", STRAYS_UID, age=30 * DAY)
    holder = Holder(
        account=str(STRAYS_UID), uid=STRAYS_UID, gid=STRAYS_UID, lease="0" * 32, name="", scheme="x509",
        subject="/CN=Anna", vo="", fqans=(), since=since, inode=0,
    )  # fmt: skip
    holders.publish(node.base / "holders", holder)
    assert node.prune()[0] == 0
    assert not former.exists()
    assert present.exists(), "only its mtime is old, and that anybody can set"
    (removed,) = node.records("removed")
    assert (removed["path"], removed["lease"]) == (str(former), "")
    node.configure(prune_scratch_age_hours="0")
    assert node.prune()[0] == 0
    assert not present.exists()
    assert [record["lease"] for record in node.records("removed")] == ["", "0" * 32]


def test_a_directory_is_as_young_as_the_youngest_thing_in_it(node: Node) -> None:
    node.configure(prune_scratch_age_hours=str(1 / 3600))
    old, young = node.scratch / "old", node.scratch / "young"
    for path in (old, young):
        (path / "below").mkdir(parents=True)
        for each in (path / "below", path):
            os.chown(each, STRAYS_UID, STRAYS_UID)
    time.sleep(1.1)
    (young / "below" / "file").touch()
    # Young when the run comes to it, too, however late that is.
    keep = f"while :; do touch -c {young}/below/file; sleep 0.1; done"
    with subprocess.Popen(["sh", "-c", keep]) as keeping:
        node.prune()
        keeping.kill()
    assert not old.exists()
    assert (young / "below" / "file").exists()


def test_files_of_an_account_with_a_job_here_and_of_an_exempt_one_stay(node: Node) -> None:
    node.configure(prune_scratch_age_hours="0", prune_exempt_user=str(HELD_UID))
    files = [node.file("of-the-job", JOBS_UID), node.file("of-the-exempt", HELD_UID)]
    exempt = node.run(HELD_UID)
    time.sleep(0.05)
    assert node.prune()[0] == 0
    assert all(file.exists() for file in files)
    assert alive([exempt.pid])


def test_a_job_that_only_the_register_knows_keeps_its_account_alive(node: Node) -> None:
    entry = register.Entry(
        batch="slurm", cluster="site", node="n1", job="77", restart=0, account=str(STRAYS_UID), uid=STRAYS_UID,
        lease="", start=0, boot=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
    )  # fmt: skip
    file = node.file("staged", STRAYS_UID)
    node.configure(prune_scratch_age_hours="0")
    register.enter(node.base / "jobs", entry)
    time.sleep(0.05)
    node.prune()
    assert file.exists()


def test_an_account_that_is_spared_for_a_job_of_which_no_batch_system_here_tells_is_named(node: Node) -> None:
    entry = register.Entry(
        batch="pbs", cluster="site", node="n1", job="77", restart=0, account=str(STRAYS_UID), uid=STRAYS_UID,
        lease="", start=0, boot=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
    )  # fmt: skip
    register.enter(node.base / "jobs", entry)
    assert node.prune() == (0, "", ""), "as long as nothing of it is here, there is nothing to say"
    spared, stray = node.run(STRAYS_UID), node.run(HELD_UID)
    code, output, _ = node.prune()
    assert code == 1
    assert [line.split()[:3] for line in output.splitlines() if "unknown" in line] == [
        ["unknown", str(STRAYS_UID), "pbs"]
    ]
    assert "no batch system of prune.batch tells which are those of its job 77" in output
    assert ended(stray)
    assert alive([spared.pid])


def test_a_job_that_may_be_anybodys_is_named_where_it_spares_everybody(node: Node) -> None:
    (node.base / "mom_priv" / "jobs").mkdir(parents=True)
    homes = {"prune_torque_home": str(node.base), "prune_torque_programs": str(node.programs)}
    node.configure(prune_batch="torque", **homes)
    node.says("momctl", "job[7.head]  state=RUNNING sidlist=\ndiagnostics complete\n")
    stray = node.run(STRAYS_UID)
    code, output, _ = node.prune()
    assert (code, "nobody is a stray" in output, "7.head" in output) == (1, True, True)
    assert alive([stray.pid])


def test_where_there_is_no_batch_system_only_the_register_accounts_for_anybody(node: Node) -> None:
    node.configure(prune_batch="none")
    node.program("scontrol", "exit 1")
    entry = register.Entry(
        batch="slurm", cluster="site", node="n1", job="77", restart=0, account=str(HELD_UID), uid=HELD_UID,
        lease="", start=0, boot=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
    )  # fmt: skip
    register.enter(node.base / "jobs", entry)
    stray, registered = node.run(STRAYS_UID), node.run(HELD_UID)
    assert node.prune()[0] == 0
    assert ended(stray)
    assert alive([registered.pid])


def test_a_stray_gets_its_grace_time_where_the_site_gives_one(node: Node) -> None:
    node.configure(prune_term_seconds="10")
    said = node.scratch / "said"
    polite = node.run(STRAYS_UID, "sh", "-c", f"trap 'echo bye > {said}; exit 3' TERM; echo > {said}; sleep 600 & wait")
    deadline = time.monotonic() + 60
    while not said.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    node.prune()
    assert polite.wait(60) == 3
    assert said.read_text() == "bye\n"


MOMCTL = """
asked=$(($(cat {base}/asked 2>/dev/null || echo 0) + 1))
echo $asked > {base}/asked
if [ $asked -gt 2 ]; then
    echo "job[1.pbshead]  state=RUNNING sidlist=$(cat {base}/session)"
else
    if [ $asked = 2 ]; then  # the first look under the lock: a job starts just after the mom has been asked
        setsid setpriv --reuid={uid} --regid={uid} --clear-groups sleep 600 > /dev/null 2>&1 < /dev/null &
        echo $! > {base}/session
        until [ "$(cat /proc/$!/comm)" = sleep ]; do :; done
    fi
    echo "NOTE:  no local jobs detected"
fi
echo "diagnostics complete"
"""


def test_a_job_that_starts_while_its_account_is_cleared_lives_although_no_prolog_waits_for_the_lock(node: Node) -> None:
    (node.base / "mom_priv" / "jobs").mkdir(parents=True)
    homes = {
        "prune_torque_home": str(node.base),
        "prune_torque_programs": str(node.programs),
        "prune_daemon": "/sbin/pbs_mom",
    }
    node.configure(prune_batch="torque", prune_uids=f"{STRAYS_UID}-{STRAYS_UID}", **homes)
    node.program("momctl", MOMCTL.format(base=node.base, uid=STRAYS_UID))
    stray = node.run(STRAYS_UID)
    assert node.prune()[0] == 0
    assert ended(stray)
    job = int((node.base / "session").read_text())
    assert alive([job])
    os.kill(job, signal.SIGKILL)


def test_what_made_itself_the_moms_child_dies_and_until_that_is_certain_only_its_user_is_spared(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    (node.base / "mom").mkdir()
    torque = TorqueNode(node.base / "mom")
    try:
        node.configure(prune_batch="torque", **{key: value for key, (value,) in torque.site.items()})
        child = torque.child("a process that made itself the mom's child")
        stray, beside = node.run(STRAYS_UID), node.run(JOBS_UID)
        code, output, _ = node.prune()
        assert code == 1
        assert f"pbs_mom runs session {child}" in output
        assert ended(stray)
        assert alive([child, beside.pid, *torque.payload()])
        monkeypatch.setattr(mom, "ADMISSION_SECONDS", 0)
        report = sweep(node_file.read(node.base / "node"), kill=True, seconds=20)
        killed = {row["pid"]: row["reason"] for row in report.rows if row["action"] == "killed"}
        assert killed[child] == killed[beside.pid] == "left-its-job"
        assert ended(beside)
        assert not proc.read(child)
        assert alive([torque.session])
    finally:
        torque.close()


@needs_fuse
def test_a_program_on_a_file_system_that_has_died_is_spared_if_it_may_be_exempt_and_holds_nobody_up(node: Node) -> None:
    backing, place = node.base / "backing", node.base / "cvmfs"
    for path in (backing, place):
        path.mkdir()
    for name in ("exempt", "other"):
        shutil.copy("/bin/sleep", backing / name)
    with falling_silent(backing, place) as server:
        node.configure(prune_exempt_command=str(place / "exempt"), prune_seconds="20")
        exempt, other = (node.run(STRAYS_UID, str(place / name), "600") for name in ("exempt", "other"))
        stray = node.run(HELD_UID)
        until_it_executes(exempt, f"{place}/exempt")
        until_it_executes(other, f"{place}/other")
        server.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        rows = {row["pid"]: row for row in node.rows("--all")}
        assert time.monotonic() - began < 20
        assert (rows[exempt.pid]["action"], rows[exempt.pid]["reason"]) == ("spared", "unknown")
        assert rows[other.pid]["action"] == rows[stray.pid]["action"] == "killed"
        assert ended(stray)
        assert alive([exempt.pid])
        server.send_signal(signal.SIGCONT)
        rows = {row["pid"]: row for row in node.rows("--all")}
        assert rows[exempt.pid]["reason"] == "exempt-command"
        server.kill()
        server.wait()
        rows = {row["pid"]: row for row in node.rows("--all")}
        assert (rows[exempt.pid]["action"], rows[exempt.pid]["reason"]) == ("spared", "unknown")
        assert alive([exempt.pid])


OVERLAY = "mount -t overlay over -o lowerdir={silent}:{empty} {exempt} && exec setpriv --reuid={uid} --regid={uid} \\\n"
OVERLAY += "--clear-groups {exempt}/sleep 600"


@needs_fuse
def test_what_a_user_lays_over_an_exempt_command_from_a_file_system_that_answers_no_more_dies(node: Node) -> None:
    backing, silent, empty, exempt = (node.base / name for name in ("backing", "silent", "empty", "exempt"))
    for path in (backing, silent, empty, exempt):
        path.mkdir()
    for path in (backing, exempt):
        shutil.copy("/bin/sleep", path / "sleep")
    node.configure(prune_exempt_command=str(exempt / "sleep"))
    with falling_silent(backing, silent) as server:
        words = OVERLAY.format(silent=silent, empty=empty, exempt=exempt, uid=STRAYS_UID)
        stray = node.run(0, "unshare", "--mount", "sh", "-c", words)
        until_it_executes(stray, f"{exempt}/sleep")
        server.send_signal(signal.SIGSTOP)
        code, output, _ = node.prune()
        assert (code, f"process {stray.pid} (sleep)" in output) == (0, True)
        assert ended(stray)


@needs_fuse
def test_a_file_system_that_answers_no_more_keeps_one_child_of_a_run_and_nobody_who_reads_its_output(
    node: Node,
) -> None:
    backing, place = node.base / "backing", node.base / "cvmfs"
    for path in (backing, place):
        path.mkdir()
    shutil.copy("/bin/sleep", backing / "exempt")
    with falling_silent(backing, place):
        node.configure(prune_exempt_command=str(place / "exempt"))
        spared = [node.run(STRAYS_UID, str(place / "exempt"), "600") for _ in range(3)]
        for each in spared:
            until_it_executes(each, f"{place}/exempt")
        backing.with_suffix(".json").write_text('{"hangs": true}')
        before = {process.pid for process in proc.everyone()}
        run = node.begin()
        output, errors = run.communicate(timeout=30)  # to the end of both
        hanging = [process for process in proc.everyone() if process.pid not in before and process.state == "D"]
        assert len(hanging) == 1
        assert run.returncode == 1
        assert all(f"process {each.pid} (exempt)" in output for each in spared)
        assert "3 unknown" in errors
        assert alive([each.pid for each in spared])
        assert node.prune("--dry-run", "--nagios")[0] == 1


def until_it_executes(process: subprocess.Popen[bytes], path: str) -> None:
    deadline = time.monotonic() + 60
    while os.readlink(f"/proc/{process.pid}/exe") != path:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_no_account_is_always_the_last_that_a_run_comes_to(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    uids = [STRAYS_UID, HELD_UID, HELD_UID + 1]
    node.configure(prune_uids=f"{uids[0]}-{uids[-1]}")
    for uid in uids:
        node.run(uid)
    first = []
    for drawn in range(len(uids)):
        monkeypatch.setattr(os, "urandom", lambda count, drawn=drawn: drawn.to_bytes(count))
        report = sweep(node_file.read(node.base / "node"), kill=False, seconds=20)
        first.append(next(row["account"] for row in report.rows if row["action"] == "would kill"))
    assert first == [str(uid) for uid in uids]


def test_two_runs_at_once_kill_each_stray_once_and_neither_fails(node: Node) -> None:
    strays = [node.run(uid) for uid in (STRAYS_UID, JOBS_UID, HELD_UID) for _ in range(5)]
    runs = [node.begin(), node.begin()]
    outcomes = [run.communicate(timeout=60) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outcomes
    assert all(map(ended, strays))
    assert sorted(record["pid"] for record in node.records("kill")) == sorted(stray.pid for stray in strays)
    assert alive(node.payload())


def test_nagios_gets_its_one_line_and_its_four_codes(node: Node) -> None:
    def said(*options: str) -> tuple[int, str]:
        code, output, _ = node.prune("--nagios", *options)
        assert output.count("\n") == 1
        return code, output.split(" - ")[0]

    assert said() == (0, "GRIDWARDEN-PRUNE OK")
    stray = node.run(STRAYS_UID)
    assert said("--dry-run") == (1, "GRIDWARDEN-PRUNE WARNING")
    assert alive([stray.pid])
    assert said() == (0, "GRIDWARDEN-PRUNE OK")
    assert ended(stray)
    node.program("scontrol", "exit 1")
    assert said() == (3, "GRIDWARDEN-PRUNE UNKNOWN")
    (node.base / "node").unlink()
    assert said() == (3, "GRIDWARDEN-PRUNE UNKNOWN")


def test_prometheus_finds_the_figures_of_the_last_run(node: Node) -> None:
    textfile = node.base / "gridwarden.prom"
    node.configure(prune_prometheus=str(textfile))
    stray = node.run(STRAYS_UID)
    node.prune("--dry-run")
    assert not textfile.exists()
    node.prune()
    assert ended(stray)
    lines = textfile.read_text().splitlines()
    assert 'gridwarden_prune_things{action="killed"} 1' in lines
    assert "gridwarden_prune_unknown 0" in lines
    assert all(line.startswith(("# HELP ", "# TYPE ", "gridwarden_prune_")) for line in lines)


def test_every_process_can_be_asked_about(node: Node) -> None:
    stray = node.run(STRAYS_UID)
    _, output, _ = node.prune("--explain", str(stray.pid))
    assert "stray, no-job" in output
    _, output, _ = node.prune("--explain", str(node.payload()[0]))
    assert "spared, job-session: it is in a session of a live job (slurm 9)" in output
    assert "kills it" in output_of_explain(node, stray)
    node.hold(STRAYS_UID)
    assert "stops it and keeps it, since its account is on hold: ticket 4711, by sec" in output_of_explain(node, stray)
    node.configure(prune_kill="no")
    assert "only reports it, since prune.kill is off; else it stops it" in output_of_explain(node, stray)
    node.program("scontrol", "exit 1")
    assert "verdict         spared, unknown" in output_of_explain(node, stray)
    _, output, _ = node.prune("--explain", str(os.getpid()))
    assert f"never touched: process {os.getpid()} (" in output
    assert "is run by uid 0, root" in output
    outsider = node.run(12345)
    assert "uid 12345, neither of the pools nor of prune.uids" in output_of_explain(node, outsider)
    assert alive([stray.pid])


def output_of_explain(node: Node, process: subprocess.Popen[bytes]) -> str:
    code, output, _ = node.prune("--explain", str(process.pid))
    assert code == 0
    return output


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--explain", "4194305"], 2, "there is no process 4194305 here"),
        (["--explain", "0"], 2, "Invalid value for '--explain'"),
        (["--explain", "1", "--nagios"], 2, "give one of them"),
        (["--node-file", "/nowhere/node"], 78, "hint: gridwarden config install writes it"),
        (["--all"], 0, "no strays and nothing to remove"),
    ],
)
def test_who_asks_wrongly_or_for_nothing_learns_what_to_do(
    node: Node, options: list[str], code: int, said: str
) -> None:
    done, _, errors = node.prune(*options)
    assert done == code
    assert said in errors


def test_a_dry_run_where_killing_is_on_does_not_say_that_it_is_off(node: Node) -> None:
    node.run(STRAYS_UID)
    errors = node.prune("--dry-run")[2]
    assert "(--dry-run: nothing was done)" in errors
    assert "prune.kill is off" not in errors


def test_who_is_not_root_hears_so_and_not_half_an_answer() -> None:
    os.seteuid(12345)
    try:
        with pytest.raises(Unavailable, match="only root can tell") as refused:
            prune({}, dry_run=True)
    finally:
        os.seteuid(0)
    assert refused.value.hint == "run it as root: sudo gridwarden-prune"


def test_a_name_full_of_control_bytes_reaches_no_terminal(node: Node) -> None:
    code = "import ctypes, time; ctypes.CDLL(None).prctl(15, b'\\x1b[2J\\nkill 1'); print(flush=True); time.sleep(600)"
    command = [shutil.which("python3", path="/usr/bin:/usr/local/bin"), "-Ic", code]
    process = node.run(STRAYS_UID, *command)
    deadline = time.monotonic() + 60
    while b"kill" not in Path(f"/proc/{process.pid}/comm").read_bytes() and time.monotonic() < deadline:
        time.sleep(0.01)
    for options in ([], ["--nagios"], ["--explain", str(process.pid)]):
        output = "".join(node.prune("--dry-run", *options)[1:])
        assert "\x1b" not in output
        assert "\nkill" not in output


def test_what_cannot_be_recorded_ends_the_run(node: Node) -> None:
    (node.base / "ledger").chmod(0o777)
    stray = node.run(STRAYS_UID)
    code, _, errors = node.prune()
    assert code == 78
    assert "ledger" in errors
    assert alive([stray.pid]), "nothing may be killed without a record"


def test_where_a_record_has_no_room_nothing_is_killed_or_removed_and_the_run_says_so(node: Node) -> None:
    node.configure(prune_scratch_age_hours="0")
    stray, file = node.run(STRAYS_UID), node.file("file", HELD_UID)
    time.sleep(0.05)
    ledger = node.base / "ledger"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=700,size=6m", "ledger", ledger], check=True)
    try:
        (ledger / "filler").write_bytes(bytes(3 * 1024 * 1024))
        code, _, errors = node.prune()
        assert code == 74
        assert f"{ledger}: there is no room" in errors
        assert "nothing is killed or removed without its record" in errors
        assert alive([stray.pid])
        stray.kill()
        stray.wait()
        assert node.prune()[0] == 74
        assert file.exists()
        assert os.listdir(ledger) == ["filler"]
        (ledger / "filler").unlink()
        other = node.run(STRAYS_UID)
        assert node.prune()[0] == 0
        assert ended(other)
        assert not file.exists()
        assert len(node.records("kill")) == len(node.records("removed")) == 1
    finally:
        subprocess.run(["umount", ledger], check=True)


def test_a_ledger_on_a_file_system_that_nobody_can_write_is_known_before_a_kill(node: Node) -> None:
    ledger = node.base / "ledger"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=700,ro", "ledger", ledger], check=True)
    try:
        stray = node.run(STRAYS_UID)
        code, _, errors = node.prune()
        assert code == 74
        assert "Read-only file system" in errors
        assert alive([stray.pid])
    finally:
        subprocess.run(["umount", ledger], check=True)
