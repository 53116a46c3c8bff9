"""On the running site: work of known CPU time, of three people in two pilots and alone, is theirs to two percent.

What is known is what wait4 says in the job itself, of the work and of the program that waits for it.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from gridwarden import register
from tests.site import pilot

REGISTER = "/run/gridwarden/jobs"
WHERE = Path("/tmp/cpu-matrix")
# Each kind of work uses so many seconds in all; who waits for it says what it really was.
WORK = """
import os, resource, signal, sys, threading, time
kind, seconds, said = sys.argv[1], float(sys.argv[2]), sys.argv[3]
def burn(until):
    while time.process_time() < until: pass
def work():
    if kind == "plain": burn(seconds)
    if kind == "threads":
        each = [threading.Thread(target=burn, args=(seconds,)) for _ in range(3)]
        [thread.start() for thread in each]; [thread.join() for thread in each]
    if kind == "killed":
        burn(seconds); os.kill(os.getpid(), signal.SIGKILL)
    if kind == "forks":  # of 5 ms each, which a batch system that samples overlooks
        for _ in range(int(seconds / 0.005)):
            child = os.fork()
            if not child:
                begun = time.process_time()
                while time.process_time() < begun + 0.005: pass
                os._exit(0)
            os.waitpid(child, 0)
    if kind == "double":  # grandchildren whose parent has gone
        if not os.fork():
            os.setsid()
            if not os.fork(): burn(seconds)
            else: os.wait()
            os._exit(0)
        os.wait()
child = os.fork()
if not child:
    work(); os._exit(0)
_, _, used = os.wait4(child, 0)
own = resource.getrusage(resource.RUSAGE_SELF)
with open(said, "w") as file: file.write(str(used.ru_utime + used.ru_stime + own.ru_utime + own.ru_stime))
os.chmod(said, 0o644)
"""
FIRST = (("anna", "forks", 3), ("chen", "threads", 2.5), ("dora", "killed", 2))
SECOND = (("chen", "forks", 2), ("anna", "plain", 2), ("dora", "double", 2))
ALONE = (("anna", "forks", 2.5), ("chen", "threads", 2.5), ("anna", "killed", 2))


@pytest.fixture
def _work(slurm: ModuleType) -> Iterator[None]:
    for person in ("anna", "chen", "dora", pilot.OWNER):
        pilot.proxy(person)
    WHERE.mkdir(mode=0o777, exist_ok=True)
    WHERE.chmod(0o1777)
    (WHERE / "work.py").write_text(WORK)
    yield
    subprocess.run(["scancel", "--user", pilot.ACCOUNT], check=False)
    slurm.until("the epilogs", lambda: not register.everything(REGISTER))
    for path in WHERE.iterdir():
        path.unlink()
    WHERE.rmdir()


def of_pilot(slurm: ModuleType, name: str, works: tuple[tuple[str, str, float], ...]) -> int:
    script = "cd $(mktemp -d); chmod 711 .; export X509_USER_PROXY=$HOME/bela.pem\n"
    for number, (person, kind, seconds) in enumerate(works):
        said = WHERE / f"{name}-{number}"
        script += (
            f"GLEXEC_CLIENT_CERT=$HOME/{person}.pem gridwarden-exec "
            f"/usr/bin/python3 {WHERE}/work.py {kind} {seconds} {said}\n"
        )
    return slurm.submit(pilot.ACCOUNT, script)


def alone(person: SimpleNamespace, kind: str, seconds: float, said: Path) -> int:
    script = f"#!/bin/bash\nexec /usr/bin/python3 {WHERE}/work.py {kind} {seconds} {said}\n"
    command = ["gridwarden", "submit", "slurm", "--proxy", str(person.proxy)]
    return int(subprocess.run(command, input=script, capture_output=True, text=True, check=True).stdout)


def explained(job: int) -> list[dict[str, Any]]:
    command = ["gridwarden", "report", "--explain", str(job), "--format", "json"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def waited(name: str) -> float:
    return float((WHERE / name).read_text()) * 1e6


@pytest.mark.usefixtures("_work")
def test_known_cpu_time_of_three_people_in_two_pilots_and_alone_is_theirs_to_two_percent(
    slurm: ModuleType, people: SimpleNamespace
) -> None:
    since = int(time.time()) + 1
    time.sleep(1)  # jobs of others have ended before
    pilots = {name: of_pilot(slurm, name, works) for name, works in (("first", FIRST), ("second", SECOND))}
    single = [
        alone(getattr(people, person), kind, seconds, WHERE / f"alone-{number}")
        for number, (person, kind, seconds) in enumerate(ALONE)
    ]
    for job in (*pilots.values(), *single):
        slurm.wait(job, seconds=300)
        slurm.accounted(job)
    subprocess.run(["gridwarden", "collect"], check=True, capture_output=True)

    known: dict[str, float] = {}
    table = [("work", "of", "wait4", "ours", "error %", "batch, of the job")]

    def compare(name: str, kind: str, person: str, ours: float, batch: float) -> None:
        real = waited(name)
        subject = getattr(people, person).subject
        known[subject] = known.get(subject, 0) + real
        table.append((kind, f"{person}, {name}", *(f"{each / 1e6:.3f}" for each in (real, ours)),
                      f"{(ours / real - 1) * 100:+.2f}", f"{batch / 1e6:.3f}"))  # fmt: skip
        assert ours == pytest.approx(real, rel=0.02), table

    for name, works in (("first", FIRST), ("second", SECOND)):
        lines = explained(pilots[name])
        payloads = [line for line in lines if line["what"] == "payload"]
        assert [line["evidence"] for line in payloads] == ["kernel-measured"] * 3
        for number, (line, (person, kind, _)) in enumerate(zip(payloads, works, strict=True)):
            assert line["identity"] == getattr(people, person).subject
            compare(f"{name}-{number}", kind, person, line["cpu_microseconds"], lines[0]["cpu_microseconds"])
    for number, (job, (person, kind, _)) in enumerate(zip(single, ALONE, strict=True)):
        lines = explained(job)
        (holder,) = [line for line in lines if line["what"] == "holder"]
        compare(f"alone-{number}", kind, person, holder["cpu_microseconds"], lines[0]["cpu_microseconds"])
    print(*("  ".join(f"{cell:>16}" for cell in row) for row in table), sep="\n")

    assert sum(known.values()) >= 20e6
    command = ["gridwarden", "report", "--since", f"@{since}", "--by", "identity", "--format", "json"]
    rows = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    by_identity = {row["identity"] or row["row"]: row["cpu_microseconds"] for row in rows}
    assert {who: by_identity[who] for who in known} == pytest.approx(known, rel=0.02)
    assert sum(by_identity.values()) == 2 * by_identity["total"]
