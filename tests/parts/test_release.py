from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from gridwarden import holders, payloads, register
from gridwarden.errors import BadQuestion, EvidenceError
from gridwarden.hooks import handing_over
from gridwarden.ledger import boot_id
from gridwarden.mapper import cooling, nodes
from gridwarden.mapper import release as protocol
from gridwarden.mapper.encoding import lease_name
from gridwarden.mapper.gridmapdir import Gridmapdir
from gridwarden.mapper.mapping import map_identity, silent
from gridwarden.mapper.terms import HOUR, Terms
from tests.apart import in_child
from tests.gridmap import (
    bodies,
    holders_of_accounts,
    lcmaps_links,
    make_accounts,
    make_site,
    person,
    put_on_hold,
    state,
)
from tests.proof.silent import dead_mount

START = 1_700_000_000_000_000  # a clock of the tests' own, in µs

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes other users: needs root")
pytestmark = needs_root


class World:
    """A site with accounts, a Slurm that says what `queue` holds, and a clock that only the test moves."""

    def __init__(self, directory, *accounts):
        self.site = make_site(directory)
        self.users = make_accounts(self.site, *accounts)
        (directory / "locks").mkdir(mode=0o700)
        (directory / "bin").mkdir()
        self.queue = directory / "queue"
        self.queue.touch()
        self.slurm(f"#!/bin/sh\ncat {self.queue}\n", directory)
        self.now = START
        self.terms = Terms(
            cooling=HOUR,
            answers=2 * HOUR,
            idle=24 * HOUR,
            nodes=(),
            locks=directory / "locks",
            scratch=(),
            skeleton="/etc/skel",
            slurm_programs=str(directory / "bin"),
            slurm_spool=str(directory / "no-slurmd-here"),
        )

    def clock(self):
        return self.now

    def slurm(self, script, directory):
        (directory / "bin" / "squeue").write_text(script)
        (directory / "bin" / "squeue").chmod(0o755)

    def lend(self, name="Anna"):
        return map_identity(person(name), self.site, silent, self.users)

    def release(self, which, **options):
        return handing_over.release(
            which, "left", "test", self.site, self.terms, self.clock, users=self.users, **options
        )

    def free(self, **options):
        return handing_over.free(self.site, self.terms, self.clock, users=self.users, **options)

    def answer(self, node):
        site = self.site._replace(node=node)
        return handing_over.answer(site, self.terms, self.now, users=self.users)

    def names(self):
        return sorted(name for name in os.listdir(self.site.gridmapdir) if name != ".gridwarden")

    def own(self, kind):
        path = self.site.gridmapdir / ".gridwarden" / kind
        return sorted(name for name in os.listdir(path) if name[0] != ".") if path.exists() else []


@pytest.fixture
def world(tmp_path):
    return World(tmp_path, "cms001", "cms002")


@pytest.fixture
def scratch():
    """A directory that the accounts can reach, which pytest's own they cannot."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        Path(directory).chmod(0o1777)
        yield Path(directory)


CHANGES = ("open", "os.link", "os.rename", "os.remove", "os.utime", "os.mkdir", "fcntl.flock")


def killed_at(step, work, events=CHANGES):
    """Run `work` in a process that is killed at its nth of `events`; /proc is read too often to count."""

    def doomed():
        left = step

        def count(event, arguments):
            nonlocal left
            if event == "open" and str(arguments[0]).startswith(("/proc", "/usr", "/root")):
                return
            if event in events:
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), 9)

        sys.addaudithook(count)
        work()

    return in_child(doomed)


def states(outcomes):
    return [outcome.state for outcome in outcomes]


def test_an_account_is_lent_again_only_after_it_has_cooled(world):
    anna, _ = world.lend("Anna"), world.lend("Bela")

    assert world.release(anna.account).state == "released"
    assert world.names() == sorted(
        ["cms001", "cms002", cooling.name(anna.account, anna.lease_id), lease_name(person("Bela").subject)]
    )
    assert os.lstat(world.site.gridmapdir / anna.account).st_nlink == 2, "others would take it for free"
    assert not (world.site.holders / anna.account).exists()
    assert world.own("leases") == [lease_name(person("Bela").subject)]
    assert [(record["lease"], record["who"]) for record in bodies(world.site, "release")] == [(anna.lease_id, "test")]
    world.now += HOUR - 1
    assert states(world.free()) == ["cooling"]
    with pytest.raises(Exception, match="2 accounts, 2 taken"):
        world.lend("Chen")
    world.now += 1
    assert states(world.free()) == ["freed"]
    assert [record["lease"] for record in bodies(world.site, "freed")] == [anna.lease_id]
    assert world.own("cooling") == []
    assert world.free() == []
    assert world.lend("Chen").account == anna.account


def test_who_comes_back_while_the_old_account_cools_is_lent_another(world):
    before = world.lend()
    world.release(before.account)
    after = world.lend()
    assert after.account != before.account
    assert after.lease_id != before.lease_id
    world.now += HOUR
    assert states(world.free()) == ["freed"]
    assert world.lend().lease_id == after.lease_id


def test_a_lease_can_be_released_by_its_name(world):
    anna = world.lend()
    assert world.release(anna.name).account == anna.account


def test_a_release_that_is_asked_for_twice_is_one(world):
    anna = world.lend()
    first = world.release(anna.account)
    world.now += HOUR // 2
    assert world.release(anna.account).state == "cooling"
    assert first.lease == anna.lease_id
    world.now += HOUR // 2
    assert states(world.free()) == ["freed"]
    assert len(bodies(world.site, "release")) == 1


@pytest.mark.parametrize("which", ["cms001", "cms999", "%2fnobody", "", "../jobs"])
def test_what_nobody_holds_cannot_be_released(world, which):
    with pytest.raises(BadQuestion):
        world.release(which)


def test_a_lease_of_another_program_is_released_under_an_id_of_its_own(world):
    lcmaps_links(world.site, "cms002", person("Dora"))
    done = world.release("cms002")
    assert (done.state, len(done.lease)) == ("released", 32)
    world.now += HOUR
    assert states(world.free()) == ["freed"]


def test_a_dry_run_changes_nothing(world):
    anna = world.lend()
    before = state(world.site)
    assert world.release(anna.account, dry_run=True).state == "would-release"
    assert state(world.site) == before
    world.release(anna.account)
    world.now += HOUR
    before = state(world.site)
    assert states(world.free(dry_run=True)) == ["would-free"]
    assert state(world.site) == before


# What makes an account busy


def a_registered_job(world, account):
    entry = register.Entry(
        batch="slurm", cluster="site", node="n1", job="7", restart=0, account=account.account, uid=account.uid,
        lease=account.lease_id, start=START, boot=boot_id(),
    )  # fmt: skip
    register.enter(world.site.register, entry)


BUSY = {
    "a job that has not ended": lambda world, _: world.queue.write_text("12 RUNNING\n"),
    "a pending job": lambda world, _: world.queue.write_text("12 COMPLETED\n13 PENDING\n"),
    "a job in a state of a later Slurm": lambda world, _: world.queue.write_text("12 DREAMING\n"),
    "an answer that is no answer": lambda world, _: world.queue.write_text("slurm_load_jobs: error\n"),
    "no answer": lambda world, _: world.slurm("#!/bin/sh\nexit 1\n", world.queue.parent),
    "no squeue": lambda world, _: (world.queue.parent / "bin" / "squeue").unlink(missing_ok=True),
    "a job that a hook knows": a_registered_job,
}


@pytest.mark.parametrize("make", BUSY.values(), ids=BUSY)
def test_whatever_says_that_the_account_is_in_use_or_says_nothing_keeps_it(world, make):
    anna, bela = world.lend("Anna"), world.lend("Bela")
    world.release(bela.account)
    make(world, bela)
    world.now += HOUR
    (outcome,) = world.free()
    assert outcome.state == "busy"
    assert outcome.why
    make(world, anna)
    before = state(world.site)
    assert world.release(anna.account).state == "busy"
    assert state(world.site) == before


def test_jobs_that_have_finished_keep_nothing(world):
    world.queue.write_text("12 COMPLETED\n13 CANCELLED\n14 TIMEOUT\n")
    assert world.release(world.lend().account).state == "released"


@contextmanager
def a_process_of(uid):
    with subprocess.Popen(["/bin/sleep", "300"], user=uid, group=20000) as child:
        yield child
        child.kill()


def test_a_process_of_the_holder_keeps_the_lease_and_dies_before_another_gets_the_account(world):
    anna = world.lend()
    with a_process_of(anna.uid):
        assert world.release(anna.account).state == "busy"
    world.release(anna.account)
    world.now += HOUR
    with a_process_of(anna.uid) as child:
        assert states(world.free()) == ["freed"]
        assert child.wait() == -9
    assert [(record["account"], record["pid"]) for record in bodies(world.site, "kill")] == [(anna.account, child.pid)]


def test_the_lease_of_an_account_on_hold_for_an_incident_is_neither_released_nor_recycled(world):
    anna = world.lend()
    hold = put_on_hold(world.site, anna.account)
    assert [
        (one.state, one.why) for one in (world.release(anna.account), world.release(anna.account, dry_run=True))
    ] == [("busy", "it is on hold: ticket 4711")] * 2
    os.utime(world.site.gridmapdir / anna.name, (1, 1))  # nobody has used it since
    idle = handing_over.recycle("idle", "test", world.site, world.terms, world.clock, dry_run=False, users=world.users)
    assert [(one.state, one.why) for one in idle] == [("busy", "it is on hold: ticket 4711")]
    assert (world.site.gridmapdir / anna.name).exists()
    hold.unlink()
    assert world.release(anna.account).state == "released"


def test_an_account_on_hold_for_an_incident_is_not_emptied_and_not_lent(world):
    anna = world.lend()
    world.release(anna.account)
    world.now += HOUR
    hold = put_on_hold(world.site, anna.account)
    assert [(one.state, one.why) for one in world.free(dry_run=True)] == [("busy", "it is on hold: ticket 4711")]
    with a_process_of(anna.uid) as child:
        (outcome,) = world.free()
        assert (outcome.state, outcome.why) == ("busy", "it is on hold: ticket 4711")
        assert child.poll() is None
    hold.unlink()
    assert states(world.free()) == ["freed"]


@pytest.mark.parametrize("role", ["account", "pilot"])
def test_an_account_that_still_has_a_pilots_directory_or_is_that_pilots_is_not_emptied_and_not_lent(
    world, scratch, tmp_path, role
):
    """The directory would go with what the payload left, or to whoever had the pilot's account by the time it is given back."""
    account = world.lend().account
    world.release(account)
    entry = world.users.getpwnam(account)
    lent = scratch / "lent"
    lent.mkdir()
    os.chown(lent, entry.pw_uid, entry.pw_gid)
    directory = tmp_path / "payloads"
    directory.mkdir(mode=0o700)
    state = payloads.State(payload=payloads.new_id(), scratch=str(lent), **{role: account})
    os.close(payloads.write(str(directory), state))
    world.terms = world.terms._replace(payloads=str(directory), scratch=(str(scratch),))
    world.now += HOUR
    assert [state.payload in outcome.why for outcome in world.free()] == [True]
    assert lent.exists()
    payloads.remove(str(directory), state.payload)
    assert states(world.free()) == [protocol.FREED]
    assert not lent.exists()


def test_an_account_whose_uid_changed_is_not_lent(world):
    anna = world.lend()
    world.release(anna.account)
    world.now += HOUR
    world.users.uids[anna.account] = 29999
    assert states(world.free()) == ["faulty"]


def test_an_account_whose_user_is_gone_is_not_lent_and_the_others_are(world):
    anna, bela = world.lend("Anna"), world.lend("Bela")
    world.release(anna.account)
    world.release(bela.account)
    world.now += HOUR
    del world.users.uids[anna.account]
    outcomes = {outcome.account: outcome for outcome in world.free()}
    assert (outcomes[anna.account].state, outcomes[bela.account].state) == ("faulty", "freed")
    assert "no passwd entry" in outcomes[anna.account].why


def test_an_account_cools_from_when_its_lease_went_however_long_the_release_had_waited(world, monkeypatch):
    anna = world.lend()
    rename = Gridmapdir.rename

    def late(*arguments):
        world.now += 2 * HOUR
        return rename(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Gridmapdir, "rename", late)
        world.release(anna.account)
    assert states(world.free()) == ["cooling"]
    world.now += HOUR
    assert states(world.free()) == ["freed"]


def test_an_account_with_a_third_link_is_not_lent(world):
    anna = world.lend()
    world.release(anna.account)
    os.link(world.site.gridmapdir / anna.account, world.site.gridmapdir / "%2fother")
    world.now += HOUR
    assert states(world.free()) == ["faulty"]


def test_a_hand_over_that_cannot_be_recorded_lends_nothing(world, monkeypatch):
    anna = world.lend()
    world.release(anna.account)
    world.now += HOUR

    def full(*_arguments, **_options):
        raise EvidenceError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("gridwarden.ledger.append", full)
        assert states(world.free()) == ["faulty"]
    assert os.lstat(world.site.gridmapdir / anna.account).st_nlink == 2
    assert states(world.free()) == ["freed"]


# Nodes


@pytest.fixture
def nodes_asked(world):
    world.terms = world.terms._replace(nodes=("n1", "n2"))
    world.anna = world.lend()
    world.release(world.anna.account)
    world.now += HOUR + 1
    return world


def test_every_node_must_say_that_nothing_is_left(nodes_asked):
    world = nodes_asked
    assert "node n1 has not answered" in world.free()[0].why
    assert [answer.why for answer in world.answer("n1")] == [""]
    assert "node n2 has not answered" in world.free()[0].why
    world.answer("n2")
    world.answer("n2")
    assert states(world.free()) == ["freed"]
    assert len(bodies(world.site, "node_answer")) == 2, "the same answer is no news"
    assert {record["answer"] for record in bodies(world.site, "node_answer")} == {"none"}


@pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="the site has no /dev/fuse: this runs outside it")
def test_a_home_on_a_dead_mount_keeps_its_account_busy_and_the_node_answers_for_the_others(
    nodes_asked, scratch, monkeypatch
):
    world = nodes_asked
    monkeypatch.setattr(handing_over, "HOME_SECONDS", 0.5)
    monkeypatch.setattr(type(world.users), "home", str(scratch / "anna"))
    with dead_mount(scratch):
        assert [answer.why for answer in world.answer("n1")] == [f"its home {scratch}/anna does not answer"]


def test_an_answer_from_before_the_cooling_was_over_does_not_count(nodes_asked):
    world = nodes_asked
    world.now -= 2
    world.answer("n1")
    world.answer("n2")
    world.now += 2
    assert states(world.free()) == ["busy"]


def test_an_old_answer_does_not_count(nodes_asked):
    world = nodes_asked
    world.answer("n1")
    world.now += 2 * HOUR
    world.answer("n2")
    assert "node n1 has not answered lately" in world.free()[0].why


def test_an_answer_from_the_future_does_not_count(nodes_asked):
    world = nodes_asked
    world.now += 10
    world.answer("n1")
    world.answer("n2")
    world.now -= 5
    assert states(world.free()) == ["busy"]


def test_this_machines_answer_from_before_a_restart_does_not_count(nodes_asked):
    world = nodes_asked
    world.site = world.site._replace(node="n1")
    world.answer("n1")
    world.answer("n2")
    with Gridmapdir(world.site.gridmapdir) as directory:
        nodes.write(directory, nodes.read(directory, "n1")._replace(boot="0" * 8))
    assert "was started again" in world.free()[0].why


@pytest.mark.parametrize("data", [b"", b"version\t1\n", b"\xff\xfe", b"version\t1\nnode\tn1\nboot\tx\ntime\tnow\n"])
def test_an_answer_that_cannot_be_read_does_not_count(nodes_asked, data):
    world = nodes_asked
    world.answer("n1")
    world.answer("n2")
    (world.site.gridmapdir / ".gridwarden" / "nodes" / "n1").write_bytes(data)
    assert "node n1 has not answered" in world.free()[0].why


def test_an_answer_for_an_earlier_lease_of_the_account_does_not_count(nodes_asked):
    world = nodes_asked
    world.answer("n1")
    world.answer("n2")
    with Gridmapdir(world.site.gridmapdir) as directory:
        said = nodes.read(directory, "n1")
        other = tuple(answer._replace(lease="0" * 32) for answer in said.answers)
        nodes.write(directory, said._replace(answers=other))
    assert "node n1 does not answer for this lease" in world.free()[0].why


def test_a_node_on_which_a_job_is_left_says_so_and_touches_nothing(nodes_asked, scratch):
    world = nodes_asked
    world.terms = world.terms._replace(scratch=(str(scratch),))
    a_registered_job(world, world.anna)
    left = scratch / "output"
    left.touch()
    os.chown(left, world.anna.uid, 20000)
    assert "jobs here" in world.answer("n1")[0].why
    assert left.exists()
    register.leave(world.site.register, world.anna.account, "slurm.site.n1.7")
    assert world.answer("n1")[0].why == ""
    assert not left.exists()
    assert [record["path"] for record in bodies(world.site, "removed")] == [str(left)]


def test_a_node_forgets_who_held_a_released_account(nodes_asked):
    world = nodes_asked
    world.lend("Anna")  # the other account
    holder = holders.read(world.site.holders, world.lend("Anna").account)
    holder.account, holder.lease, holder.uid = world.anna.account, world.anna.lease_id, world.anna.uid
    holders.publish(world.site.holders, holder)
    assert world.answer("n1")[0].why == ""
    assert not (world.site.holders / world.anna.account).exists()


# Kills and crowds


def freed_when_idle(world):
    """Free what is idle and empty by the test's own word: to ask and to empty has tests of its own."""
    return protocol.free(world.site, world.terms, lambda _: "", lambda _, __: "", world.clock, users=world.users)


def test_a_kill_anywhere_in_a_release_is_repaired_by_the_next(tmp_path):
    for step in range(1000):
        world = World(tmp_path / str(step), "cms001", "cms002")
        anna = world.lend("Anna")
        outcome = killed_at(step, lambda: world.release(anna.account))  # noqa: B023 - runs in this turn

        assert os.lstat(world.site.gridmapdir / anna.account).st_nlink == 2
        assert world.lend("Bela").account != anna.account
        assert world.release(anna.account).state in ("released", "cooling")
        world.now += HOUR
        freed_when_idle(world)  # a kill may have put the beginning of the cooling off until now
        world.now += HOUR
        freed_when_idle(world)
        assert world.names() == ["%2fdc%3dorg%2fdc%3dexample%2fcn%3dbela", "cms001", "cms002"]
        assert (world.own("cooling"), world.own("leases")) == ([], [lease_name(person("Bela").subject)])
        assert world.lend("Chen").account == anna.account
        assert {record["lease"] for record in bodies(world.site, "release")} == {anna.lease_id}
        if outcome == 0:
            break
        assert outcome == -9
    assert step > 20


def test_a_kill_anywhere_in_freeing_is_repaired_by_the_next(tmp_path):
    for step in range(2000):
        world = World(tmp_path / str(step), "cms001", "cms002")
        anna = world.lend("Anna")
        world.release(anna.account)
        world.now += HOUR
        outcome = killed_at(step, lambda: freed_when_idle(world))  # noqa: B023 - runs in this turn

        freed = os.lstat(world.site.gridmapdir / anna.account).st_nlink == 1
        assert not freed or bodies(world.site, "freed")
        assert freed or world.lend("Bela").account != anna.account
        world.free()
        assert world.own("cooling") == []
        assert [name for name in world.names() if name.startswith(".")] == []
        assert sum(map(len, holders_of_accounts(world.site).values())) == (0 if freed else 1)
        if outcome == 0:
            break
        assert outcome == -9
    assert step > 20


def test_a_kill_while_an_account_is_emptied_keeps_it_taken(world, scratch):
    world.terms = world.terms._replace(scratch=(str(scratch),))
    anna = world.lend()
    world.release(anna.account)
    world.now += HOUR
    for step in range(100):
        file = scratch / "planted"
        file.touch()
        os.chown(file, anna.uid, 20000)
        outcome = killed_at(step, world.free, ("os.fork",))
        if outcome == 0:
            break
        assert outcome == -9
        assert os.lstat(world.site.gridmapdir / anna.account).st_nlink == 2
    assert step > 2
    assert not file.exists()
    assert os.lstat(world.site.gridmapdir / anna.account).st_nlink == 1


def test_many_who_free_at_once_never_empty_an_account_that_is_lent_again(tmp_path):
    world = World(tmp_path, *(f"cms{number:03}" for number in range(12)))
    for number in range(12):
        world.release(world.lend(f"P {number}").account)
    world.now += HOUR
    children = []
    for process in range(4):
        child = os.fork()
        if not child:
            try:
                world.free()
                for number in range(3):
                    world.lend(f"Q {process} {number}")
                os._exit(0)
            except BaseException:  # noqa: BLE001 - a child must not go on as a second pytest
                os._exit(1)
        children.append(child)
    codes = [os.waitpid(child, 0)[1] for child in children]
    world.free()
    assert codes == [0] * 4
    assert [len(names) for names in holders_of_accounts(world.site).values()] == [1] * 12
    assert len(bodies(world.site, "freed")) == 12


@pytest.mark.parametrize(("quota", "expected"), [(True, "busy"), (False, "freed")])
def test_a_home_that_must_be_empty_by_its_quota_keeps_the_account_until_the_quota_says_so(world, quota, expected):
    world.terms = world.terms._replace(quota=quota, skeleton="")
    anna = world.lend()
    world.release(anna.account)
    world.now += HOUR
    user = world.users.getpwnam(anna.account)
    in_proc = pwd.struct_passwd((*user[:5], "/proc", user[6]))  # where the kernel keeps no quotas
    world.users.getpwnam = lambda _: in_proc
    assert states(world.free()) == [expected]


def test_freeing_does_not_wait_for_a_mapping_of_who_held_an_account(world):
    """They may be waiting in a full pool, for just that account."""
    anna = world.lend("Anna")
    world.release(anna.account)
    signal.alarm(20)  # instead of waiting for ever
    with Gridmapdir(world.site.gridmapdir) as directory, directory.lock_own("names", anna.name):
        assert states(world.free()) == ["cooling"]
    signal.alarm(0)
