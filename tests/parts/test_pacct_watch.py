"""Process accounting that has stopped is noticed: by a real kernel's own writing, in a pid namespace of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="process accounting is root's")

PROGRAM = """
import ctypes, json, os, sys
from gridwarden.hooks.agent import pacct_watch
directory, what = sys.argv[1:]
if what == "full":
    assert os.system(f"mount -t tmpfs -o size=1m,mode=755 none {directory}") == 0
path = f"{directory}/pacct"
acct = lambda where: ctypes.CDLL(None).acct(where)
open(path, "wb").close()
os.chmod(path, 0o640)
gaps = []
watch = pacct_watch.start({"agent_process_accounting": [path]}, lambda kind, fields: gaps.append([kind, fields["reason"]]))
said = []
def look(times):
    global now
    for _ in range(times):
        watch.on_tick(now)
        now += 30
    said.append(gaps[:])
    gaps.clear()
now = 100.0
if what == "full":
    open(f"{directory}/big", "wb").write(bytes((1 << 20) - 8192))
assert acct(path.encode()) == 0
look(4)
if what == "rotated":
    os.rename(path, path + ".0")
    open(path, "wb").close()
    look(1)
    assert acct(path.encode()) == 0
    look(3)
if what == "off":
    acct(None)
    look(4)
    assert acct(path.encode()) == 0
    look(4)
print(json.dumps(said))
"""


def watched(directory, what: str) -> list[list[list[str]]]:
    command = ["unshare", "--pid", "--mount", "--fork", sys.executable, "-c", PROGRAM, str(directory), what]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_accounting_that_somebody_turned_off_is_a_gap_and_so_is_its_end(tmp_path):
    before, off, on = watched(tmp_path, "off")
    assert before == []
    ((kind, reason),) = off
    assert kind == "gap"
    assert "the kernel writes nothing" in reason
    assert "for 60 seconds at least" in reason
    ((_, again),) = on
    assert "written again, after 150 seconds" in again


def test_accounting_that_the_kernel_suspended_on_a_full_disk_is_a_gap(tmp_path):
    ((gap,),) = watched(tmp_path, "full")
    assert gap[0] == "gap"
    assert "% free" in gap[1]


def test_a_rotation_is_no_gap(tmp_path):
    assert watched(tmp_path, "rotated") == [[], [], []]
