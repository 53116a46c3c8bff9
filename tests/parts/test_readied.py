"""Verifiers that were ready before their credentials: each sees its own alone, and none outlives who asked."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from gridwarden import reasons
from gridwarden.errors import Refused, Unavailable
from gridwarden.mapper import confine, libcrypto, readied, token, verifying
from gridwarden.mapper.token_values import Issuer, TokenValues
from gridwarden.mapper.verifying import READY
from tests.tokens import CMS, HERE, SUB, Key, claims, key_set

if TYPE_CHECKING:
    from collections.abc import Callable

ES = Key.new()


@pytest.fixture
def site(tmp_path: Path):
    """What verifying a token needs of a site."""
    (tmp_path / "keys").write_bytes(key_set(ES))
    issuer = Issuer(CMS, "wlcg", ("ES256",), (HERE,), tmp_path / "keys", vo="cms")
    return SimpleNamespace(tokens=TokenValues(issuers=(issuer,)), verify_seconds=10.0)


def children() -> set[int]:
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


# Verifiers of these tests, as modules' main: each is confined, as a real one.


def ready() -> bytes:
    confine.confine(10)
    os.write(1, READY)
    return os.read(0, 65536)


class Echo:
    """What it was given, its descriptors, and who it is."""

    @staticmethod
    def main() -> None:
        given = ready()
        names = ",".join(sorted(os.listdir("/proc/self/fd")))
        os.write(1, given + f" {names} {os.getuid()} {sys.argv[1:]}".encode())


class Sleep:
    @staticmethod
    def main() -> None:
        ready()
        time.sleep(60)


class Fault:
    @staticmethod
    def main() -> None:
        raise RuntimeError


class Killed:
    """As by the kernel, where memory is short."""

    @staticmethod
    def main() -> None:
        ready()
        os.kill(os.getpid(), 9)


class Broken:
    @staticmethod
    def main() -> None:
        ready()
        raise RuntimeError


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (Echo, Sleep, Fault, Killed, Broken):
        monkeypatch.setitem(sys.modules, f"tool.{kind.__name__}", kind)


def test_libcrypto_is_warmed_up_by_what_it_takes_for_a_key() -> None:
    assert libcrypto.decoded(libcrypto.d2i_public_key, libcrypto.P256_BASE_POINT)


def test_two_people_s_tokens_are_verified_beside_each_other(site) -> None:
    with readied.Readied() as verifiers:
        verifiers.load([readied.TOKENS])
        asked = [token.start(ES.sign(claims(sub=sub)), site, by=verifiers.start) for sub in (SUB, "other")]
        people = [token.identity_of(one, site, "the token") for one in asked]
    assert [person.subject for person in people] == [f"{CMS},{SUB}", f"{CMS},other"]


def test_a_forged_token_is_refused_as_by_any_verifier(site) -> None:
    with readied.Readied() as verifiers:
        verifiers.load([readied.TOKENS])
        asked = token.start(Key.new().sign(claims()), site, by=verifiers.start)
        with pytest.raises(Refused):
            token.identity_of(asked, site, "the token")


@pytest.mark.usefixtures("tools")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to give up")
def test_each_verifier_has_its_own_credential_alone_and_no_rights() -> None:
    with readied.Readied() as verifiers:
        verifiers.load([])
        asked = [verifiers.start("tool.Echo", ["a b", "c"], text, 1.5) for text in (b"first", b"second")]
        answers = [verifying.answer(one, "it") for one in asked]
    assert answers[0].startswith(b"first 0,1,2,") and answers[1].startswith(b"second 0,1,2,")
    assert b"second" not in answers[0] and b"first" not in answers[1]
    for answer in answers:
        assert answer.endswith(b" 65534 ['a b', 'c', '2']")
        assert answer.count(b",") == 5  # three descriptors, that of the listing, and the arguments


@pytest.mark.usefixtures("tools")
def test_one_that_takes_too_long_is_given_up_and_ended() -> None:
    before = children()
    with readied.Readied() as verifiers:
        verifiers.load([])
        (process,) = children() - before
        asked = verifiers.start("tool.Sleep", [], b"x", 1.0)
        with pytest.raises(Refused, match=reasons.CREDENTIAL_TIMEOUT):
            verifying.answer(asked, "it")
        below = [int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    assert below and children() == before
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}/exe").exists() for pid in below) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(Path(f"/proc/{pid}/exe").exists() for pid in below)


@pytest.mark.usefixtures("tools")
def test_none_outlives_a_launcher_that_was_killed() -> None:
    report, writing = os.pipe()
    launcher = os.fork()
    if launcher == 0:
        try:
            verifiers = readied.Readied()
            verifiers.load([])
            os.read(verifiers.start("tool.Sleep", [], b"x", 60).reading, len(READY))
            (process,) = children()
            below = Path(f"/proc/{process}/task/{process}/children").read_text()
            os.write(writing, f"{process} {below}".encode())
        finally:
            os.kill(os.getpid(), 9)
    os.waitpid(launcher, 0)
    left = os.read(report, 65536).decode().split()
    assert len(left) == 2
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}/exe").exists() for pid in left) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(Path(f"/proc/{pid}/exe").exists() for pid in left)
    os.close(report)
    os.close(writing)


@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize("module", ["tool.Fault", "tool.nowhere"])
def test_one_that_cannot_start_is_no_verdict(module: str) -> None:
    with readied.Readied() as verifiers, pytest.raises(Unavailable):
        verifiers.load([])
        verifying.answer(verifiers.start(module, [], b"x", 5), "it")


def test_code_that_cannot_be_loaded_is_no_verdict() -> None:
    with readied.Readied() as verifiers, pytest.raises(Unavailable):
        verifiers.load(["tool.nowhere"])
        verifying.answer(verifiers.start(readied.TOKENS, [], b"x", 5), "it")


def test_nothing_of_the_caller_is_known_when_verifiers_are_made() -> None:
    code = "import sys; from gridwarden.hooks.pilot import start; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "gridwarden.mapper.readied" in loaded
    assert not {"gridwarden.hooks.pilot.callers", "gridwarden.hooks.pilot.request"} & set(loaded)


@pytest.mark.usefixtures("tools")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to give up")
def test_who_waits_for_credentials_with_the_code_has_no_rights_either() -> None:
    before = children()
    with readied.Readied() as verifiers:
        verifiers.load([])
        verifying.answer(verifiers.start("tool.Echo", [], b"x", 5), "it")
        (process,) = children() - before
        status = Path(f"/proc/{process}/status").read_text()
    assert "Uid:\t65534\t65534\t65534\t65534\n" in status
    assert "NoNewPrivs:\t1\n" in status


@pytest.mark.usefixtures("tools")
def test_a_verifier_that_was_killed_is_not_the_fault_of_who_showed_the_credential() -> None:
    with readied.Readied() as verifiers:
        verifiers.load([])
        killed = verifiers.start("tool.Killed", [], b"", 10)
        broken = verifiers.start("tool.Broken", [], b"", 10)
        with pytest.raises(Unavailable, match=r"x\.pem: its verifier was killed"):
            verifying.answer(killed, "x.pem")
        with pytest.raises(Refused, match=reasons.CREDENTIAL_MALFORMED):
            verifying.judge(verifying.answer(broken, "x.pem"), "x.pem", "x509")


@pytest.mark.parametrize(
    ("end", "expected"), [(lambda: os.kill(os.getpid(), 9), Unavailable), (lambda: os._exit(1), Refused)]
)
def test_nor_is_one_of_a_process_of_its_own(end: Callable[[], None], expected: type[Exception]) -> None:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writing, READY)
        end()
    os.close(writing)
    with pytest.raises(expected):
        verifying.answer(verifying.Verifier(pid, reading, [], 10), "x.pem")
