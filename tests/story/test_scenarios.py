"""The scenario table on the site's Slurm: each of its statements holds."""

from __future__ import annotations

import pprint
import queue
import re
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.scenarios import afterwards
from tests.scenarios.play import Play
from tests.scenarios.slurm import Slurm
from tests.scenarios.table import READERS, ROWS, Row
from tests.site import pilot

if TYPE_CHECKING:
    from types import SimpleNamespace

    from tests.scenarios.statements import Seen, Statement
    from tests.site.credentials import Grid

    Outcome = Seen | Exception

BATCH = Slurm()
PLAYED = [row for row in ROWS if BATCH.has_stamps or not row.stamped]
LOCAL = {"local": "guest", "pilot": pilot.ACCOUNT}
STATEMENTS = [
    pytest.param(row, statement, id=f"{row.name}: {reader}: {statement.text}")
    for row in PLAYED
    for reader in READERS
    for statement in getattr(row, reader)
]


def forget(account: str) -> None:
    """Leave nothing by which hooks know an account that other stories mapped somebody to."""
    Path("/run/gridwarden/holders", account).unlink(missing_ok=True)
    shutil.rmtree(f"/run/gridwarden/jobs/{account}", ignore_errors=True)


class Players:
    """Who plays a row: each person has one account, so that rows beside each other need different people."""

    def __init__(self, people: SimpleNamespace, grid: Grid) -> None:
        self.grid = grid
        self.free: queue.Queue[tuple[SimpleNamespace, str]] = queue.Queue()
        for person in vars(people).values():
            self.free.put((person, mapped(person)))

    def play(self, row: Row) -> tuple[str, Outcome]:
        """Play a row; its name and what was seen, or what went wrong."""
        if row.whose in LOCAL:
            forget(LOCAL[row.whose])
            return row.name, self._played(row, None, LOCAL[row.whose])
        if row.whose == "newcomer":  # who gets no account; the record of that names nobody else's
            return row.name, self._played(row, self.grid.newcomer("scenario", "atlas"), "bob")
        if row.whose == "own":
            own = self.grid.newcomer(re.sub(r"\W", "", row.name), "cms")
            return row.name, self._played(row, own, mapped(own))
        person, account = self.free.get()
        try:
            return row.name, self._played(row, person, account)
        finally:
            self.free.put((person, account))

    @staticmethod
    def _played(row: Row, person: SimpleNamespace | None, account: str) -> Outcome:
        play = Play(BATCH, row.name, person, account)
        began = time.monotonic()
        try:
            try:
                row.play(play)
            finally:
                play.over()
        except Exception as error:  # noqa: BLE001 - one row's failure is its own tests', no other's
            return error
        finally:
            print(f"{row.name}: {time.monotonic() - began:.1f} s")
        return play.seen


def mapped(person: SimpleNamespace) -> str:
    done = subprocess.run(
        ["gridwarden", "map", "--proxy", str(person.proxy)], capture_output=True, text=True, check=True
    )
    return done.stdout.split()[0]


@pytest.fixture(scope="module")
def outcomes(people: SimpleNamespace, grid: Grid, request: pytest.FixtureRequest) -> dict[str, Outcome]:
    """What was seen of every row that is asked for, by its name; those that disturb nobody are played side by side."""
    asked = {item.callspec.params["row"].name for item in request.session.items if item.path == request.path}
    rows = [row for row in PLAYED if row.name in asked]
    # Of the site's own users, other stories have mapped somebody to each.
    subprocess.run(["userdel", "--remove", LOCAL["local"]], check=False, capture_output=True)  # of a try before this
    subprocess.run(["useradd", "--create-home", "--user-group", LOCAL["local"]], check=True)
    began = time.time()
    players = Players(people, grid)
    with BATCH.crowd(), ThreadPoolExecutor(players.free.qsize() + 1) as beside:
        played = dict(beside.map(players.play, [row for row in rows if not row.alone]))
    played |= dict(players.play(row) for row in rows if row.alone)
    seen = [one for one in played.values() if not isinstance(one, Exception)]
    BATCH.wait_accounted([number for one in seen for number in one.numbers])
    print(f"played {len(played)} rows in {time.time() - began:.0f} s")
    afterwards.look_up(seen, began)
    return played


@pytest.mark.parametrize(("row", "statement"), STATEMENTS)
def test_what_the_table_says_of_a_scenario_is_what_is_seen(
    outcomes: dict[str, Outcome], row: Row, statement: Statement
) -> None:
    seen = outcomes[row.name]
    if isinstance(seen, Exception):
        raise seen  # it could not be played to its end
    assert statement.holds(seen), f"{row.name}: not so: {statement.text}\n{pprint.pformat(vars(seen), width=160)}"
