"""Work in a child process, one item ahead: as if it were done here, whatever becomes of either process."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import subprocess
import sys
from contextlib import closing

import pytest

from gridwarden.accounting.beside import beside
from gridwarden.errors import Unavailable
from tests.payload import is_gone, wait_until


def alive(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


def test_items_come_whole_and_in_order_however_large_they_are():
    items = [(number, "ä\udcff" * number, None, [("x", -(2**63))]) for number in (0, 1, 300_000, 2)]
    assert list(beside(lambda: iter(items))) == items
    assert list(beside(lambda: iter(()))) == []


@pytest.mark.parametrize(
    "error",
    [Unavailable("the ledger: somebody has its lock", "wait"), OSError(errno.EIO, "Input/output error", "/ledger")],
)
def test_what_fails_there_is_raised_here_after_what_was_whole(error):
    def work():
        yield (1,)
        raise error

    found = []
    with pytest.raises(type(error)) as caught:
        found.extend(beside(work))
    assert caught.value.__dict__ == error.__dict__
    assert str(caught.value) == str(error)


def test_a_child_that_is_killed_is_no_end_of_its_items():
    def work():
        yield (os.getpid(),)
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(Unavailable, match="was killed"):
        list(beside(work))


def test_who_leaves_in_the_midst_leaves_no_process():
    with closing(beside(lambda: ((os.getpid(), "x" * 1000) for _ in itertools.count()))) as items:
        child = next(items)[0]
        assert alive(child)
        assert child != os.getpid()
    assert not alive(child)


def test_a_child_ends_with_a_parent_that_is_killed():
    program = """
import itertools, os, time
from gridwarden.accounting.beside import beside
for child, _ in beside(lambda: ((os.getpid(), "x" * 1000) for _ in itertools.count())):
    print(child, flush=True)
    time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    try:
        child = int(parent.stdout.readline())
        assert alive(child)
    finally:
        parent.kill()
        parent.communicate()
    wait_until(lambda: is_gone(child), "the child ends")
