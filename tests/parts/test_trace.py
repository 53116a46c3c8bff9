"""What is remembered of a process before it is killed, and what no process can do against that."""

from __future__ import annotations

import os
import subprocess
import sys

from gridwarden import proc
from gridwarden.prune import trace


def test_what_a_process_was_told_and_what_it_used_is_remembered_without_its_secrets() -> None:
    work = "sum(range(20_000_000)); print(flush=True); input()"
    command = [os.path.realpath(sys.executable), "-Ic", work, "--password", "hunter2"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        worker.stdout.readline()
        process = proc.read(worker.pid)
        said = trace.fields(process, trace.command_lines([process], 5))
        worker.kill()
    assert said["arguments"].endswith("--password [hidden]")
    assert said["cpu"] >= 10_000
    assert said["parent"] == os.getpid()


def test_of_a_process_that_is_gone_nothing_is_remembered_but_what_was_seen() -> None:
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        process = proc.read(sleeper.pid)
        sleeper.kill()
    assert trace.command_lines([process], 5) == {}
    said = trace.fields(process, {})
    assert (said["pid"], said["arguments"]) == (sleeper.pid, None)
