"""A payload that forks without end is dead when it is to end, with and without a control group of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.payload import UID, python, start, wait_until
from tests.proof import LONG, bombs

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="starts processes of other users: needs root"),
    pytest.mark.skipif("GRIDWARDEN_IN_SITE" in os.environ, reason="runs on the machine itself, which has a compiler"),
]

RUNS = 20 if LONG else 1
MOST_PROCESSES = 200  # of the account, which bounds every bomb


@pytest.fixture(scope="module")
def bomb() -> Iterator[Path]:
    """The program, where every account can execute it."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        program = Path(directory, "bomb")
        subprocess.run(["cc", "-O2", "-o", program, bombs.SOURCE], check=True)
        yield program


@pytest.mark.parametrize("run", range(RUNS))
@pytest.mark.parametrize("control_group", [False, True])
@pytest.mark.parametrize("kind", ["saturating", "hopping", "hopping with setsid"])
def test_a_bomb_that_a_payload_leaves_behind_is_dead(
    tmp_path: Path, bomb: Path, kind: str, run: int, *, control_group: bool
) -> None:
    shape = bombs.KINDS[kind]
    words = [str(bomb), "counter", *(str(int(n)) for n in (UID, MOST_PROCESSES, shape.chains, shape.stays, shape.leads_session))]  # fmt: skip
    lit = f"open('counter', 'wb').write(bytes(8)); subprocess.Popen({words!r})\n"
    grown = f"int.from_bytes(open('counter', 'rb').read(), sys.byteorder) > {MOST_PROCESSES // 2}"
    code = f"{lit}while not {grown}: time.sleep(0.01)\ntime.sleep(0.5); os._exit(3)"
    chain = start(tmp_path, *python(code), control_group=control_group)
    ended = chain.ended()
    assert (ended["status"], ended["left"]) == (3 << 8, 0)
    counter = tmp_path / "work/counter"
    after = counter.read_bytes()
    time.sleep(0.3)
    assert counter.read_bytes() == after
    assert chain.everybody() == []


def test_a_payload_that_is_a_bomb_ends_with_its_guard(tmp_path: Path, bomb: Path) -> None:
    shape = bombs.KINDS["hopping"]
    words = [str(bomb), "counter", *(str(int(n)) for n in (UID, MOST_PROCESSES, shape.chains, shape.stays, shape.leads_session))]  # fmt: skip
    code = f"open('counter', 'wb').write(bytes(8)); subprocess.Popen({words!r}); tell('lit'); time.sleep(600)"
    chain = start(tmp_path, *python(code)).begun()
    chain.told_by_payload("lit")
    os.kill(chain.guard, signal.SIGKILL)
    assert chain.ended()["because"] == "its guard was killed"
    wait_until(lambda: chain.everybody() == [], "the bomb goes on")
