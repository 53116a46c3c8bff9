"""The protocol over a file system that behaves as NFS may, from two machines that share no lock and no cache."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from gridwarden.errors import BadQuestion, GridwardenError, Refused
from gridwarden.hooks import handing_over
from gridwarden.mapper import release
from gridwarden.mapper.encoding import lease_name
from gridwarden.mapper.mapping import map_identity, silent
from gridwarden.mapper.site import SiteValues
from gridwarden.mapper.terms import HOUR, Terms
from tests.apart import in_child
from tests.gridmap import make_accounts, make_site, person
from tests.proof import LONG, invariant
from tests.proof.crowd import START, Journal
from tests.proof.scene import no_reason

FUSE_LIBRARY = "libfuse.so.2"
PEOPLE = 40 if LONG else 8
EACH = 4 if LONG else 2  # processes on each machine
KERNEL_CACHES_NOTHING = {"attr_timeout": 0, "entry_timeout": 0, "negative_timeout": 0}
KERNEL_CACHES_FOR_SECONDS = {"attr_timeout": 2, "entry_timeout": 2, "negative_timeout": 2}


def why_no_fuse() -> str:
    if "GRIDWARDEN_IN_SITE" in os.environ:
        return "the site has no /dev/fuse: this runs outside it"
    if os.geteuid() != 0:
        return "mounts a FUSE file system: needs root"
    if not Path("/dev/fuse").exists():
        return "there is no /dev/fuse"
    found = subprocess.run([sys.executable, "-c", "import mfusepy"], capture_output=True, text=True, check=False)
    return f"mfusepy cannot be used: {found.stderr.splitlines()[-1]}" if found.returncode else ""


@pytest.fixture
def two_machines():
    """Starts two machines' sites with one gridmapdir behind; `settings` says how badly its file system behaves."""
    if reason := why_no_fuse():
        if os.environ.get("CI") == "true" and "GRIDWARDEN_IN_SITE" not in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        machines = TwoMachines(Path(directory))
        yield machines
        machines.stop()


class TwoMachines:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.backing = directory / "backing"
        self.backing.mkdir()
        self.settings = directory / "settings.json"
        self.behave()
        self.journal = Journal(directory / "journal")
        self.processes = []

    def start(self, accounts: list[str], options: dict) -> None:
        self.sites = [make_site(self.directory / node, node=node) for node in ("n1", "n2")]
        for site in self.sites:
            self.mount(site.gridmapdir, options)
        self.users = make_accounts(self.sites[0]._replace(gridmapdir=self.backing), *accounts)

    def mount(self, place: Path, options: dict) -> None:
        command = [sys.executable, "-m", "tests.proof.unreliable", self.backing, place, self.settings]
        options = {"use_ino": True, "default_permissions": True, "allow_other": True} | options
        self.processes.append(subprocess.Popen([*map(str, command), json.dumps(options)]))
        end = time.monotonic() + 20
        while not place.is_mount():
            assert self.processes[-1].poll() is None, "the file system ended of itself"
            assert time.monotonic() < end, f"{place} is not mounted"
            time.sleep(0.01)

    def behave(self, **settings) -> None:
        whole = self.settings.with_suffix(".new")
        whole.write_text(json.dumps(settings))
        whole.replace(self.settings)

    def stop(self) -> None:
        for process, node in zip(self.processes, ("n1", "n2"), strict=False):
            subprocess.run(["umount", "-l", self.directory / node / "gridmapdir"], check=False)
            process.kill()
            process.wait()

    def lease(self, process: int) -> None:
        """Everybody asks for an account, in an order of its own, on the process's machine, until they have one."""
        site = self.sites[process % 2]
        random.seed()
        for number in random.sample(range(PEOPLE), PEOPLE):
            refusals = 0
            for _ in range(50):
                try:
                    account = map_identity(person(f"P{number}"), site, silent, self.users).account
                except GridwardenError as error:
                    self.journal.write("refused", type(error).__name__, str(error))
                    refusals += isinstance(error, Refused)
                    if refusals == 3:  # each after half a second of looking
                        break
                    continue
                self.journal.write("hold", site.node, f"P{number}", account)
                break

    def crowd(self) -> list[str]:
        """Let all processes lease at once; what was handed out, by the journal."""
        children = []
        for process in range(2 * EACH):
            child = os.fork()
            if not child:
                os._exit(in_child(lambda: self.lease(process)))  # noqa: B023 - runs in this turn
            children.append(child)
        assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(children)
        return self.journal.news()

    def contested(self) -> dict[str, int]:
        """The accounts that several have linked, none of whom may have them, and how many those are.

        Two who link one account at once and both lose the reply cannot tell whose link is whose.
        """
        links = {name: os.lstat(self.backing / name).st_nlink for name in self.users.uids}
        return {account: count - 1 for account, count in links.items() if count > 2}

    def release(self, name: str) -> None:
        """Release a lease on one machine or the other, until it is released."""
        for site in 50 * self.sites:
            try:
                release.release(
                    name, "proof", "proof", site, self.terms(site), no_reason, lambda: START, users=self.users
                )
            except BadQuestion:
                return  # released before: there is no such lease any more
            except GridwardenError:
                continue

    def free(self) -> None:
        """Ask both machines again after the cooling time, and free, until nothing cools."""
        for now in range(START, START + 100 * HOUR, HOUR):
            for site in self.sites:
                with suppress(GridwardenError):
                    handing_over.answer(site, self.terms(site), now, users=self.users)
            outcomes = []
            with suppress(GridwardenError):
                outcomes = release.free(
                    self.sites[0],
                    self.terms(self.sites[0]),
                    no_reason,
                    no_reason,
                    lambda now=now: now,
                    users=self.users,
                )
            if not any(name.startswith(".gridwarden-cooling") for name in os.listdir(self.backing)):
                return
        raise AssertionError(outcomes)

    def terms(self, site: SiteValues) -> Terms:
        locks = self.directory / site.node / "locks"
        locks.mkdir(exist_ok=True)
        return Terms(HOUR, 2 * HOUR, HOUR, ("n1", "n2"), locks, (), "", "/nowhere", "/nowhere")


WAYS = {
    "replies lost": ({"lost": 0.3}, KERNEL_CACHES_NOTHING),
    "replies lost after a repeat": ({"lost": 0.3, "error": "twice"}, KERNEL_CACHES_NOTHING),
    "requests repeated": ({"repeated": 0.5}, KERNEL_CACHES_NOTHING),
    "attributes cached for seconds": ({}, KERNEL_CACHES_FOR_SECONDS),
    "all of it": ({"lost": 0.2, "repeated": 0.2}, KERNEL_CACHES_FOR_SECONDS),
}


@pytest.mark.parametrize("way", WAYS)
def test_nobody_is_given_anothers_account_over_a_file_system_that_lies(two_machines, way):
    settings, options = WAYS[way]
    two_machines.start([f"cms{number:03}" for number in range(PEOPLE + 4)], options)
    two_machines.behave(**settings)
    lines = two_machines.crowd()
    held = [line for line in lines if line.startswith("hold")]
    account_of = dict(line.split()[2:] for line in held)
    assert len({tuple(line.split()[2:]) for line in held}) == len(account_of), "somebody was given two"
    assert invariant.overlaps(held) == []
    assert not [line for line in lines if ".gridwarden/accounts" in line], "refused for what only saves time"
    refused_for_each_other = two_machines.contested()
    assert not set(refused_for_each_other) & set(account_of.values())
    assert len(account_of) + sum(refused_for_each_other.values()) == PEOPLE

    released = sorted(account_of)[::2]
    for person_released in released:
        two_machines.release(lease_name(person(person_released).subject))
        assert os.lstat(two_machines.backing / account_of[person_released]).st_nlink == 2, "it looks free too early"
    two_machines.free()
    assert refused_for_each_other or invariant.faults(two_machines.backing) == []
    two_machines.behave()
    free = invariant.free_since(two_machines.backing)
    assert {account_of[name] for name in released} <= set(free)
    assert not {account for name, account in account_of.items() if name not in released} & set(free)
