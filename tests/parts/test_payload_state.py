"""The state file of a payload: who may take it over, and when."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from gridwarden import payloads
from gridwarden.errors import ConfigurationError
from gridwarden.payloads import State

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ID = "0123456789abcdef0123456789abcdef"
LEAD = """
import os, sys, time
from gridwarden import payloads
held = payloads.write(sys.argv[1], payloads.here(payloads.State(payload=sys.argv[2], name="n\\n\\t\\xe9")))
session = os.fork() if "session" in sys.argv else 1
if session == 0:
    os.close(1)
    time.sleep(1000)
print(session, flush=True)
time.sleep(1000)
"""


@pytest.fixture
def directory(tmp_path: Path) -> str:
    tmp_path.chmod(0o700)
    return str(tmp_path)


@contextmanager
def launcher(directory: str, *options: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A launcher that has written its state file, and the pid of its session process if it has one."""
    command = [sys.executable, "-c", LEAD, directory, ID, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert process.stdout
        yield process, int(process.stdout.readline())
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_state_file_says_all_that_was_known_of_the_payload(directory: str) -> None:
    state = State(payload=ID, account="cms017", subject="/CN=Ann\u00e4\n", uid=61001, status=0, because="x")
    os.close(payloads.write(directory, state))
    assert os.stat(f"{directory}/{ID}").st_mode & 0o777 == 0o600, "whose payload runs is not for everybody"
    read = payloads.read(directory, ID)
    assert read is not None
    assert read.pairs() == state.pairs()
    assert (read.user, read.memory) == (-1, -1), "a figure that nobody knows is not 0"


def test_a_payload_that_ran_while_gridwarden_was_brought_up_to_date_can_be_seen_to(
    directory: str, tmp_path: Path
) -> None:
    os.close(payloads.write(directory, State(payload=ID, account="cms017", subject="/CN=Anna")))
    path = tmp_path / ID
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith(("also_", "pilot_scheme", "pilot_vo"))))
    read = payloads.read(directory, ID)
    assert read is not None
    assert (read.subject, read.also_subject, read.pilot_vo) == ("/CN=Anna", "", "")


def test_nobody_takes_over_a_payload_whose_launcher_lives(directory: str) -> None:
    with launcher(directory):
        assert payloads.is_led(directory, ID)
        assert payloads.take_over(directory, ID) is None
        assert payloads.without_launcher(directory) == []


def test_a_payload_whose_launcher_was_killed_is_taken_over_by_one_alone(directory: str) -> None:
    with launcher(directory) as (process, _):
        process.kill()
        process.wait()
        assert payloads.without_launcher(directory) == [ID]
        held = payloads.take_over(directory, ID)
        assert held is not None
        assert payloads.take_over(directory, ID) is None, "two would end it twice"
        os.close(held)


def test_a_session_process_that_outlives_its_launcher_is_still_left_to_its_work(directory: str) -> None:
    with launcher(directory, "session") as (process, session):
        process.kill()
        process.wait()
        assert payloads.is_led(directory, ID)
        os.kill(session, signal.SIGKILL)
        while payloads.is_led(directory, ID):
            pass


def test_a_state_file_that_is_replaced_is_never_without_its_lock(directory: str) -> None:
    state = State(payload=ID)
    held = payloads.write(directory, state)
    looker = os.fork()
    if looker == 0:
        taken = [payloads.take_over(directory, ID) for _ in range(3000)]
        os._exit(0 if taken == [None] * 3000 else 1)
    while (done := os.waitpid(looker, os.WNOHANG)) == (0, 0):
        held = payloads.write(directory, state.but(process=1), held)
    os.close(held)
    assert done[1] == 0


def test_a_payload_that_has_ended_is_none(directory: str) -> None:
    os.close(payloads.write(directory, State(payload=ID)))
    payloads.remove(directory, ID)
    payloads.remove(directory, ID)
    assert payloads.read(directory, ID) is None
    assert payloads.take_over(directory, ID) is None
    assert not payloads.is_led(directory, ID)
    assert payloads.everything(directory) == []


def test_a_machine_that_never_had_a_payload_has_none(directory: str) -> None:
    assert payloads.without_launcher(f"{directory}/missing") == []
    assert payloads.without_launcher("") == []


def test_what_a_killed_writer_left_is_no_payload(directory: str, tmp_path: Path) -> None:
    (tmp_path / f".{ID}.abc").touch()
    assert payloads.names(directory) == []


@pytest.mark.parametrize("data", [b"", b"version\t1\n", b"version\t1\nuid\tx\n", b"\xff\n"])
def test_a_state_file_that_is_not_whole_is_named_not_guessed(directory: str, data: bytes) -> None:
    with open(f"{directory}/{ID}", "wb") as file:
        file.write(data)
    with pytest.raises(ConfigurationError, match=ID):
        payloads.read(directory, ID)


def test_a_link_in_the_place_of_a_state_file_is_not_followed(directory: str, tmp_path: Path) -> None:
    os.close(payloads.write(directory, State(payload="f" * 32)))
    (tmp_path / ID).symlink_to("f" * 32)
    with pytest.raises((ConfigurationError, OSError)):
        payloads.read(directory, ID)
    with pytest.raises(OSError, match="symbolic"):
        payloads.take_over(directory, ID)


def test_a_value_that_is_not_declared_cannot_be_lost_silently() -> None:
    with pytest.raises(AttributeError, match="has no colour"):
        State(colour="red")
