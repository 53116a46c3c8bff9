"""What a lease costs in LCMAPS and in gridwarden, side by side, in pools of 100 to 50 000 accounts.

Run inside the test site, whose LCMAPS is the real one and whose passwd file this fills::

    python3 -m tests.site run -- python3 /src/bench/gridmapdir.py --json > bench/gridmapdir.json
    make docs

The site's own directories are in memory; ``--directory`` on a disk measures fsync as well.

Both lease in this process, in turn, each in a directory of its own that is equally full.  Both ask NSS for users in
one flat file, LCMAPS several times a mapping; so each figure also stands less what those questions cost.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import pwd
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gridmapdir_page import page

from gridwarden.errors import Refused
from gridwarden.mapper import accounts, lease, linking, names, naming
from gridwarden.mapper.encoding import lease_name
from gridwarden.mapper.gridmapdir import Gridmapdir
from gridwarden.mapper.lease import Lease
from gridwarden.mapper.many import lease_many
from gridwarden.mapper.mapping import silent
from tests.gridmap import make_site, person
from tests.site import lcmaps

if TYPE_CHECKING:
    from gridwarden.mapper.identity import Identity

SIZES = (100, 1000, 10_000, 50_000)
STATES = ("empty", "half full", "last 40 free")
NEW = 40
REPEATS = 100
OWN_AT_ONCE = 30  # between any two of the look-ups that are compared, so that no busy moment is their median
FILLED = 10_000
FQAN = "/bench"
FIRST_UID = 100_000


def main() -> None:
    """Measure and print, or print the table of what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--directory", default="/tmp", help="on the file system to measure")  # noqa: S108
    parser.add_argument("--no-fill", action="store_true", help=f"do not time filling a pool of {FILLED}")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    passwd = Path("/etc/passwd").read_text()
    rows = []
    try:
        for size in arguments.sizes:
            rows += in_child(lambda size=size: measure(size, passwd, arguments.directory))
        programs = [] if arguments.no_fill else ["lcmaps", "gridwarden"]
        durable = in_child(lambda: durability(passwd, arguments.directory))
        filled = [in_child(lambda who=who: fill(who, passwd, arguments.directory)) for who in programs]
        crowds = [in_child(lambda who=who: crowd(who, passwd, arguments.directory)) for who in ("lcmaps", "gridwarden")]
    finally:
        Path("/etc/passwd").write_text(passwd)
    result = {"python": sys.version.split()[0], "file_system": file_system(arguments.directory), "rows": rows}
    result |= {"durable": durable, "fill": filled, "crowd": crowds}
    print(json.dumps(result, indent=1) if arguments.json else page(result))


def in_child(work: Callable[[], object]) -> object:
    """What ``work`` returns in a process of its own: LCMAPS can be configured once in each."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if not child:
        code, errors = 1, os.fdopen(os.dup(2), "w")
        try:
            with os.fdopen(write_end, "w") as out:
                json.dump(work(), out)
            code = 0
        except BaseException:  # noqa: BLE001 - a child must not go on as a second benchmark
            traceback.print_exc(file=errors)
        finally:
            errors.flush()
            os._exit(code)
    os.close(write_end)
    with os.fdopen(read_end) as out:
        text = out.read()
    if os.waitpid(child, 0)[1] != 0:
        sys.exit("a measurement failed")
    return json.loads(text)


class Pool:
    """A pool of ``size`` accounts in a directory of LCMAPS's and in one of gridwarden's."""

    def __init__(self, size: int, passwd: str, where: str) -> None:

        self.accounts = [f"pool{number:05}" for number in range(1, size + 1)]
        lines = [f"{name}:x:{FIRST_UID + place}:20000::/:/bin/sh\n" for place, name in enumerate(self.accounts)]
        Path("/etc/passwd").write_text(passwd + "".join(lines))
        self.directory = Path(tempfile.mkdtemp(dir=where))
        self.theirs = self.directory / "lcmaps"
        self.theirs.mkdir()
        self.site = make_site(self.directory / "gridwarden", holders=Path(tempfile.mkdtemp(dir="/run")))
        for name in self.accounts:
            (self.theirs / name).touch()
            (self.site.gridmapdir / name).touch()
        gridmapfile, database = self.directory / "grid-mapfile", self.directory / "lcmaps.db"
        gridmapfile.write_text(f'"{FQAN}" .pool\n')
        text = Path(lcmaps.DN_FORM).read_text().replace("/etc/grid-security/gridmapdir", str(self.theirs))
        database.write_text(text.replace("/etc/grid-security/grid-mapfile", str(gridmapfile)))
        os.environ |= lcmaps.ENVIRONMENT | {"LCMAPS_DB_FILE": str(database), "LCMAPS_DEBUG_LEVEL": "0"}
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        self.lcmaps = lcmaps.Lcmaps()
        self.people = (somebody(number) for number in itertools.count())

    def clear(self) -> None:
        """Let every account be free."""
        for directory in (self.theirs, self.site.gridmapdir, self.site.holders):
            for path in directory.iterdir():
                if path.name.startswith("%") or directory == self.site.holders:
                    path.unlink()

    def fill(self, number: int) -> None:
        """Lend accounts until ``number`` are taken, in the directory's order, as LCMAPS lends them."""
        for directory in (self.theirs, self.site.gridmapdir):
            free = [name for name in os.listdir(directory) if (directory / name).stat().st_nlink == 1]
            for account in free[: number - len(self.accounts) + len(free)]:
                os.link(directory / account, directory / lease_name(f"/DC=org/DC=example/CN=filler {account}"))

    def ask_lcmaps(self, identity: Identity) -> bool:
        """Whether LCMAPS maps somebody."""
        return self.lcmaps.uid_and_lease(identity.subject.encode(), [FQAN.encode()]) is not None


def somebody(number: int) -> Identity:
    """Somebody with a name of the usual length."""
    return person(f"Somebody Usual {number}", (FQAN,))


def measure(size: int, passwd: str, where: str) -> list[dict[str, object]]:
    """The rows of one size: new leases at each state, then look-ups of held ones and refusals when full."""
    pool = Pool(size, passwd, where)
    site = pool.site
    rows = []
    held: list[Identity] = []

    def take(identity: Identity, users: accounts.Users) -> None:
        name = naming.name_of(identity, site.leases)
        with lease.claimed(directory, name, identity, site) as known:
            lease.take(directory, name, known, identity, "pool", site, silent, users)

    def look_up(identity: Identity) -> str:
        name = naming.name_of(identity, site.leases)
        known = names.read_lease(directory, name)
        names.refuse_other(directory, name, identity, known)
        return linking.find(directory, name, known.account).account

    getpwnam = timed(pwd.getpwnam, pool.accounts[:: max(1, size // REPEATS)])
    with Gridmapdir(site.gridmapdir) as directory:
        take(somebody(-1), pwd)  # what only the first of all mappings does: directories of our own
        pool.ask_lcmaps(somebody(-1))
        for state in STATES:
            pool.clear()
            pool.fill({"empty": 0, "half full": size // 2, "last 40 free": size - NEW}[state])
            some = list(itertools.islice(pool.people, NEW if size > 2 * NEW else NEW // 2))
            durable = []
            with directory.synced_once():
                theirs, ours = interleaved(pool.ask_lcmaps, lambda p: take(p, accounts.UsersRemembered(pwd)), some)
            held = some
            if state == "half full":  # the complete mapping: evidence, holder file, fsync
                some = list(itertools.islice(pool.people, size // 10 if size < 2 * NEW else NEW // 4))
                durable = timed(lambda p: lease.lease_from_pool(p, "pool", site, silent), some)
            rows.append(row(size, f"new lease, {state}", theirs, ours, getpwnam, 2, durable=durable))
        pool.fill(size)
        sample = (held * REPEATS)[:REPEATS]
        own: list[float] = []

        def meanwhile() -> None:
            own.extend(timed(look_up, sample[:OWN_AT_ONCE]))

        theirs, ours = interleaved(pool.ask_lcmaps, lambda p: pwd.getpwnam(look_up(p)), sample, meanwhile)
        complete = timed(lambda p: lease.lease_from_pool(p, "pool", site, silent), sample)
        rows.append(row(size, "held lease, full", theirs, ours, getpwnam, 1, own=own, durable=complete))

        def refused(_: object) -> None:
            try:
                linking.link_one(directory, "%2frefused", "pool", lambda _: "", silent)
            except Refused:
                return

        linking.LOOKS, linking.LONGEST_PAUSE_SECONDS = 1, 0
        some = list(itertools.islice(pool.people, 10))
        theirs, ours = interleaved(lambda p: not pool.ask_lcmaps(p), refused, some)
        rows.append(row(size, "no account free, one reading", theirs, ours, getpwnam, 0))
    return rows


def durability(passwd: str, where: str) -> dict[str, object]:
    """What one fsync takes here, how many a complete new lease makes, and how much of its time they are; in µs."""
    pool = Pool(1000, passwd, where)
    directory = os.open(pool.directory, os.O_RDONLY | os.O_DIRECTORY)
    spent: list[float] = []

    def of_a_file(number: int) -> None:
        descriptor = os.open(f"file-{number}", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=directory)
        os.write(descriptor, bytes(200))
        spent.extend(timed(os.fsync, [descriptor]))
        os.close(descriptor)
        spent.extend(timed(os.fsync, [directory]))

    for number in range(NEW):
        of_a_file(number)
    found: dict[str, object] = {"file": statistics.median(spent[::2]), "directory": statistics.median(spent[1::2])}
    calls: list[float] = []
    real = {name: getattr(os, name) for name in ("fsync", "fdatasync")}
    for name, function in real.items():
        setattr(os, name, lambda descriptor, function=function: calls.extend(timed(function, [descriptor])))
    leases = []
    for identity in itertools.islice(pool.people, NEW):
        calls.clear()
        (whole,) = timed(lambda p: lease.lease_from_pool(p, "pool", pool.site, silent), [identity])
        leases.append((len(calls), sum(calls), whole))
    for name, column in zip(("calls", "in_calls", "lease"), zip(*leases, strict=True), strict=True):
        found[name] = statistics.median(column)
    return found


def fill(who: str, passwd: str, where: str) -> dict[str, object]:
    """The seconds that filling a pool takes one of the two; gridwarden's everything durable."""
    pool = Pool(FILLED, passwd, where)
    people = [somebody(number) for number in range(FILLED)]
    start = time.perf_counter()
    if who == "lcmaps":
        leased = sum(map(pool.ask_lcmaps, people))
    else:
        found = lease_many([(identity, "pool") for identity in people], pool.site, silent)
        leased = sum(isinstance(lease, Lease) for lease in found.values())
    return {"who": who, "accounts": FILLED, "leased": leased, "seconds": round(time.perf_counter() - start, 2)}


def crowd(who: str, passwd: str, where: str) -> dict[str, object]:
    """How many of 400 people are refused when eight processes lease to 50 of them each at once."""
    pool = Pool(1000, passwd, where)
    start = time.time() + 1
    children = []
    for process in range(8):
        child = os.fork()
        if not child:
            time.sleep(start - time.time())
            os._exit(sum(not mapped(pool, who, somebody(1000 * process + number)) for number in range(50)))
        children.append(child)
    refused = sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)
    return {"who": who, "asked": 400, "refused": refused}


def mapped(pool: Pool, who: str, identity: Identity) -> bool:
    """Whether one of the two maps somebody."""
    if who == "lcmaps":
        return pool.ask_lcmaps(identity)
    try:
        return bool(lease.lease_from_pool(identity, "pool", pool.site, silent))
    except Refused:
        return False


def timed(work: Callable[[object], object], over: list[object]) -> list[float]:
    """The microseconds that ``work`` takes for each."""
    taken = []
    for one in over:
        start = time.perf_counter_ns()
        work(one)
        taken.append((time.perf_counter_ns() - start) / 1000)
    return taken


def interleaved(
    theirs: Callable[[object], bool],
    ours: Callable[[object], object],
    over: list[object],
    meanwhile: Callable[[], None] = lambda: None,
) -> tuple[list[float], list[float]]:
    """The microseconds of both for each, in turn, with something else done between the turns."""
    times: tuple[list[float], list[float]] = ([], [])
    for one in over:
        meanwhile()
        start = time.perf_counter_ns()
        answered = theirs(one)
        middle = time.perf_counter_ns()
        ours(one)
        times[1].append((time.perf_counter_ns() - middle) / 1000)
        times[0].append((middle - start) / 1000)
        if not answered:
            sys.exit("LCMAPS did not do what is measured")
    return times


def row(
    size: int,
    what: str,
    theirs: list[float],
    ours: list[float],
    getpwnam: list[float],
    questions: int,
    **more: list[float],
) -> dict[str, object]:
    """Medians and means in µs; ``questions``: how often ours asked NSS."""
    found: dict[str, object] = {"accounts": size, "what": what, "questions": questions}
    for name, times in {"lcmaps": theirs, "gridwarden": ours, "getpwnam": getpwnam, **more}.items():
        if times:
            found[name] = {"p50": round(statistics.median(times), 1), "mean": round(statistics.mean(times), 1)}
    return found


def file_system(path: str) -> str:
    """The type of the file system that ``path`` is on."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    over = [mount for mount in mounts if os.path.commonpath([mount[1], path]) == mount[1]]
    return max(over, key=lambda mount: len(mount[1]))[2]


if __name__ == "__main__":
    main()
