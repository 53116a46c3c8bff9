"""Handing a payload its credentials and its own directory, against a pilot and an account that want more from it."""

from __future__ import annotations

import os
import resource
import signal
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gridwarden import reasons
from gridwarden.errors import ConfigurationError, Refused, Unavailable
from gridwarden.hooks.pilot import deliver

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becomes other users: needs root")

OWNER = deliver.Owner(61031, 61031, [61031])
PILOT = 61032
PROXY = b"-----BEGIN CERTIFICATE-----\nnew\n"


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory that every user may pass through; pytest's own is closed by each run of pytest anew."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def area(tmp_path: Path) -> Path:
    """A directory of the payload's account in one that everybody may enter."""
    (tmp_path / "own").mkdir()
    os.chown(tmp_path / "own", OWNER.uid, OWNER.gid)
    return tmp_path


def refusal(target: Path | str, data: bytes = PROXY) -> str:
    with pytest.raises(Refused) as refused:
        deliver.hand_over({str(target): data}, OWNER)
    assert refused.value.reason == reasons.TARGET_UNUSABLE
    return refused.value.detail


def test_the_payload_alone_can_read_its_copy(area: Path) -> None:
    old = os.umask(0)
    try:
        deliver.hand_over({str(area / "own/proxy"): PROXY, str(area / "own/token"): b"t"}, OWNER)
    finally:
        os.umask(old)
    status = (area / "own/proxy").stat()
    assert (status.st_uid, stat.S_IMODE(status.st_mode), status.st_nlink) == (OWNER.uid, 0o600, 1)
    assert (area / "own/proxy").read_bytes() == PROXY
    assert (area / "own/token").read_bytes() == b"t"
    assert sorted(os.listdir(area / "own")) == ["proxy", "token"], "nothing half-written may stay"


def test_a_new_copy_replaces_the_accounts_own_one_in_one_step(area: Path) -> None:
    target = area / "own/proxy"
    deliver.hand_over({str(target): b"a" * 100_000}, OWNER)
    reader = os.fork()
    if reader == 0:
        seen = set()
        while b"b" not in seen:
            data = target.read_bytes()
            seen |= {data[:1]}
            if data not in (b"a" * 100_000, b"b" * 100_000):
                os._exit(1)
        os._exit(0)
    with target.open("rb") as before:
        for _ in range(50):
            deliver.hand_over({str(target): b"a" * 100_000}, OWNER)
        deliver.hand_over({str(target): b"b" * 100_000}, OWNER)
        assert before.read() == b"a" * 100_000, "a program that is reading the old one must read all of it"
    assert os.waitpid(reader, 0)[1] == 0, "a reader saw half a credential"


def test_nothing_of_root_is_written_where_a_link_leads(area: Path) -> None:
    victim = area / "victim"
    victim.write_bytes(b"root's")
    victim.chmod(0o600)
    (area / "own/proxy").symlink_to(victim)
    assert "something else is there" in refusal(area / "own/proxy")
    (area / "linked").symlink_to("/etc")
    assert "belongs to uid 0" in refusal(area / "linked/gridwarden-proxy")
    assert victim.read_bytes() == b"root's"


def test_a_file_of_somebody_else_is_never_written_over(area: Path) -> None:
    others = area / "own/proxy"
    others.write_bytes(b"others")
    os.chown(others, PILOT, PILOT)
    assert "something else is there" in refusal(others)
    assert others.read_bytes() == b"others"


def test_a_file_with_another_name_elsewhere_is_left_alone(area: Path) -> None:
    deliver.hand_over({str(area / "own/proxy"): b"old"}, OWNER)
    os.link(area / "own/proxy", area / "elsewhere")
    assert "something else is there" in refusal(area / "own/proxy")
    assert (area / "elsewhere").read_bytes() == b"old"


@pytest.mark.parametrize("kind", ["fifo", "directory", "device"])
def test_what_is_no_file_is_not_waited_for_or_written_to(area: Path, kind: str) -> None:
    target = area / "own/proxy"
    if kind == "fifo":
        os.mkfifo(target)
    elif kind == "directory":
        target.mkdir()
    else:
        os.mknod(target, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.chown(target, OWNER.uid, OWNER.gid)
    assert "something else is there" in refusal(target)


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o775, 0o722])
def test_a_directory_in_which_others_could_put_another_in_its_place_is_refused(area: Path, mode: int) -> None:
    (area / "own").chmod(mode)
    assert "others can write its directory" in refusal(area / "own/proxy")
    assert os.listdir(area / "own") == []


def test_a_directory_of_the_pilots_is_refused_though_the_pilot_asked_for_it(area: Path) -> None:
    os.chown(area / "own", PILOT, PILOT)
    (area / "own").chmod(0o755)
    assert f"belongs to uid {PILOT}" in refusal(area / "own/proxy")


@pytest.mark.parametrize("path", ["", "relative", "/", "/tmp/", "/tmp/..", "/tmp/.", "/no/such/place", "/tmp/a\0b"])
def test_a_target_that_is_no_file_is_named(path: str) -> None:
    assert "\0" not in refusal(path)


def test_a_directory_that_only_root_may_enter_does_not_help_the_pilot(area: Path) -> None:
    (area / "closed").mkdir(mode=0o700)
    (area / "closed/in").mkdir()
    os.chown(area / "closed/in", OWNER.uid, OWNER.gid)
    assert "permission denied" in refusal(area / "closed/in/proxy")


def test_a_full_directory_leaves_the_old_credential_in_force(area: Path) -> None:
    target = area / "own/proxy"
    deliver.hand_over({str(target): b"old"}, OWNER)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
        try:
            deliver.hand_over({str(target): PROXY * 10}, OWNER)
        except Refused as refused:
            os._exit(0 if "file too large" in refused.detail else 2)
        os._exit(3)
    assert os.waitpid(child, 0)[1] == 0
    assert target.read_bytes() == b"old"
    assert os.listdir(area / "own") == ["proxy"]


def test_no_exchange_of_the_target_under_our_hands_writes_to_anybody_elses_file(area: Path) -> None:
    victim, own, target = area / "victim", area / "own", area / "own/proxy"
    victim.write_bytes(b"victim")
    os.chown(victim, OWNER.uid, OWNER.gid)  # the account's own: the kernel would allow it
    attacker = os.fork()
    if attacker == 0:
        os.setgid(OWNER.gid)
        os.setuid(OWNER.uid)
        while True:
            for put in (lambda: os.symlink(victim, target), lambda: os.link(victim, target), lambda: os.unlink(target)):
                try:
                    put()
                except OSError:
                    pass
    outcomes = set()
    try:
        deadline = time.monotonic() + 60
        while len(outcomes) < 2 and time.monotonic() < deadline:
            for _ in range(50):
                try:
                    deliver.hand_over({str(target): PROXY}, OWNER)
                    outcomes.add("written")
                except Refused:
                    outcomes.add("refused")
    finally:
        os.kill(attacker, signal.SIGKILL)
        os.waitpid(attacker, 0)
    assert outcomes == {"written", "refused"}, "the race was never met"
    assert victim.read_bytes() == b"victim"
    assert [name for name in os.listdir(own) if name != "proxy"] == []


def test_a_temporary_directory_is_the_accounts_alone(area: Path) -> None:
    area.chmod(0o1777)
    path = deliver.temporary_path([str(area)], "ab" * 16)
    deliver.make_temporary(path, OWNER)
    status = os.stat(path)
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (OWNER.uid, OWNER.gid, 0o700)


def test_where_the_batch_system_gives_a_pilot_its_own_tmp_another_scratch_directory_is_taken(area: Path) -> None:
    """As HTCondor does; a payload could not be launched there."""
    own, roots = area / "own", area / "roots"
    roots.mkdir()
    places = [str(area / "missing"), str(own), str(roots)]
    assert deliver.temporary_path(places, "ab" * 16).startswith(f"{roots}/")
    assert deliver.temporary_path(places[:2], "ab" * 16).startswith(f"{places[0]}/"), "which is then refused by name"


def test_a_directory_that_somebody_has_put_there_before_is_not_taken(area: Path) -> None:
    area.chmod(0o1777)
    path = deliver.temporary_path([str(area)], "ab" * 16)
    for make in (os.mkdir, lambda name: os.symlink("/etc", name)):
        make(path)
        with pytest.raises(Unavailable, match="cannot be made"):
            deliver.make_temporary(path, OWNER)
        assert os.lstat(path).st_uid == 0
        os.rename(path, area / f"old{time.monotonic_ns()}")
    assert os.stat("/etc").st_uid == 0


def test_a_scratch_directory_that_others_could_exchange_holds_nobodys_temporary_directory(area: Path) -> None:
    (area / "own").chmod(0o777)
    with pytest.raises(ConfigurationError, match="belongs to uid"):
        deliver.make_temporary(str(area / "own/t"), OWNER)
