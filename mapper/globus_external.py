"""Ask the program of an ``external_identity_mapping#1.0.0`` document.

The contract is that of Globus Connect Server's Identity Mapping Guide and globus-identity-mapping 0.6.0: the command
with ``-c CONNECTOR -s GATEWAY -a`` behind it gets an ``identity_mapping_input#1.0.0`` on standard input, writes an
``identity_mapping_output#1.0.0`` to standard output and exits with 0.  Any other exit code means that it maps nobody;
so does an empty output.  Whatever else happens is no answer, and then nobody is mapped by a document below it either.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from typing import TYPE_CHECKING, NamedTuple

from gridwarden import trusted
from gridwarden.errors import Unavailable
from gridwarden.mapper import strict_json
from gridwarden.mapper.child import read_until_end
from gridwarden.mapper.globus import Mapped
from gridwarden.mapper.globus_people import INPUT_TYPE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gridwarden.mapper.globus import External
    from gridwarden.mapper.globus_people import Person

OUTPUT_TYPE = "identity_mapping_output#1.0.0"
OUTPUT_LIMIT = 64 * 1024
# The connector of POSIX file systems: what Globus Compute passes on.
POSIX_CONNECTOR = "145812c8-decc-41f1-83cf-bb2a85a2a70b"
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
MOST_LINKS = 10
_LAST_WAIT = 1000  # milliseconds in which a killed program must be gone


class Asking(NamedTuple):
    """How programs are asked: the gateway (for Globus Compute, the endpoint) that they are told of, and for how long."""

    gateway: str = "00000000-0000-0000-0000-000000000000"
    seconds: float = 5


def ask(document: External, people: Sequence[Person], asking: Asking) -> Mapped | None:
    """Whom the program of ``document`` maps first, and to what.

    It runs with this process's rights, in a group of its own of which nothing is left afterwards, and nothing of this
    process's environment.  Raises ConfigurationError when others could have written the program, Unavailable when it
    gives no answer that can be understood within ``asking.seconds``.
    """
    program = program_of(document.command[0])
    command = [*document.command, "-c", POSIX_CONNECTOR, "-s", asking.gateway, "-a"]
    given = {"DATA_TYPE": INPUT_TYPE, "identities": [person.resource for person in people]}
    try:
        status, output = run(program, command, json.dumps(given).encode("ascii"), asking.seconds)
        if status > 0 or (status == 0 and not output.strip()):
            return None
        if status < 0:
            raise ValueError(f"it was ended by signal {-status}")
        return answer_of(output, document, people)
    except (OSError, ValueError) as error:  # TimeoutError is an OSError
        why = f"no answer within {asking.seconds:g} s" if isinstance(error, TimeoutError) else error
        raise Unavailable(f"{document.where}: {document.command[0]}: {why}", "nobody is mapped on a guess") from error


def program_of(path: str, links: int = MOST_LINKS) -> str:
    """The file that ``path`` leads to through links that root made, such as ``/bin``; raises ConfigurationError."""
    seen = "/"
    words = path.split("/")
    for place, word in enumerate(words):
        here = os.path.join(seen, word)
        if links and os.path.islink(here):
            directory = trusted.open_directory(seen)
            try:
                owner = os.stat(word, dir_fd=directory, follow_symlinks=False).st_uid
                target = os.readlink(word, dir_fd=directory)
            finally:
                os.close(directory)
            if owner in (0, os.geteuid()):
                return program_of(os.path.normpath(os.path.join(seen, target, *words[place + 1 :])), links - 1)
        seen = here
    os.close(trusted.open_file(path))
    return path


def run(program: str, command: Sequence[str], given: bytes, seconds: float) -> tuple[int, bytes]:
    """The exit status of a program (minus its signal) and what it wrote; no process of its group is left.

    Raises TimeoutError, ValueError for too much output, OSError when it cannot be started.
    """
    deadline = time.monotonic() + seconds
    source = os.memfd_create("identities")
    try:
        trusted.write_all(source, given)
        os.lseek(source, 0, os.SEEK_SET)
        process = subprocess.Popen(
            command,
            executable=program,
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
            cwd="/",
            start_new_session=True,
        )
    finally:
        os.close(source)
    with process:
        try:
            assert process.stdout  # noqa: S101 - Popen's types do not know that it is a pipe
            output = read_until_end(process.stdout.fileno(), OUTPUT_LIMIT, seconds)
            if not ends_by(process.pid, deadline):
                raise TimeoutError
            return status_of(process), output
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # not reaped yet, so the number is still the group's
            ends_by(process.pid, time.monotonic() + _LAST_WAIT / 1000)


def ends_by(pid: int, deadline: float) -> bool:
    """Wait for our own child to end, without reaping it; whether it does in time."""
    descriptor = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))
    finally:
        os.close(descriptor)


def status_of(process: subprocess.Popen[bytes]) -> int:
    """The exit status of a child that has ended, which stays to be reaped."""
    ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert ended  # noqa: S101 - it has
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def answer_of(output: bytes, document: External, people: Sequence[Person]) -> Mapped | None:
    """The first result in an ``identity_mapping_output#1.0.0``; raises ValueError."""
    value = strict_json.parse_object(output, OUTPUT_LIMIT)
    results = value.get("result")
    if value.get("DATA_TYPE", OUTPUT_TYPE) != OUTPUT_TYPE or not isinstance(results, list):
        raise ValueError(f"its output is no {OUTPUT_TYPE}")
    known = {person.identity.subject: person.identity for person in people}
    mapped = []
    for result in results:
        pair = [result.get("id"), result.get("output")] if isinstance(result, dict) else []
        if not pair or not all(isinstance(word, str) for word in pair):
            raise ValueError("a result has no id or no output")
        identifier, account = map(str, pair)
        if identifier.lower() not in known:
            raise ValueError("a result names an identity that it was not asked about")
        mapped.append(Mapped(account, known[identifier.lower()], document.where))
    return mapped[0] if mapped else None
