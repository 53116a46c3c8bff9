"""A process must not be able to disguise itself by what it is called."""

import os
import time

from gridwarden import proc

STATUS = b"Name:\tx\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t77\nUid:\t45002\t0\t0\t0\nGid:\t1\t1\t1\t1\n"


def test_a_command_named_like_the_fields_of_stat_is_still_read_right() -> None:
    tail = b" S 5 6 7 0 -1 4194304 1 0 0 0 3 4 0 0 20 0 1 0 123456 1 2 3"
    process = proc.parse(b"77 (x) R 1 1 (y)" + tail, STATUS)
    assert process is not None
    assert (process.pid, process.command, process.state, process.parent) == (77, "x) R 1 1 (y", "S", 5)
    assert (process.session, process.start) == (7, 123456)
    assert (process.real_uid, process.effective_uid) == (45002, 0)
    assert (process.cpu, process.threads) == (70_000, 1)


def test_a_process_that_runs_on_without_its_first_thread_does_not_pass_for_dead() -> None:
    def read(state: bytes, threads: bytes) -> proc.Process:
        return proc.parse(b"77 (x) %s 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 %s 0 1 2 3" % (state, threads), STATUS)

    assert not read(b"Z", b"2").has_ended()
    assert read(b"Z", b"1").has_ended()
    assert not read(b"S", b"1").has_ended()


def test_a_process_that_ended_while_it_was_read_is_no_process() -> None:
    assert proc.parse(b"", b"") is None
    assert proc.parse(b"77 (x) S 5 6", STATUS) is None


def test_this_process_is_found_with_its_start_time_and_owner() -> None:
    me = proc.read(os.getpid())
    assert me is not None
    assert me.parent == os.getppid()
    assert me.real_uid == os.getuid()
    assert 0 < time.time() - me.started() / 1e6 < 7200
    assert os.getpid() in {process.pid for process in proc.owned_by(os.getuid())}
    assert proc.read(2**22 + 1) is None
