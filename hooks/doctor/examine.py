"""Everything that the doctor looks at on this machine, in the order in which it would hurt."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, NamedTuple

from gridwarden import agent_client, node_file
from gridwarden.errors import ConfigurationError
from gridwarden.hooks.doctor import accounts, clock, htcondor, jobs, machine, slurm
from gridwarden.hooks.doctor.finding import CRITICAL, NOTE, WARNING, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gridwarden.hooks.install import HookFile

HOOKS, SLURM = "/usr/libexec/gridwarden", "/etc/slurm"
AGENT_UNIT = "/etc/systemd/system/gridwarden-agent.service"
RESTART = f"systemctl restart gridwarden-agent || {HOOKS}/agent"


class Wanted(NamedTuple):
    """What site.yaml says: the node file as it should be, directories as (path, mode, gid), and where things are.

    ``htcondor`` is the directory of HTCondor's commands, "" where it runs no jobs.  ``files`` is what ``gridwarden hooks install`` would write, or why it would refuse to.
    """

    node: list[tuple[str, str]]
    directories: Sequence[tuple[Path, int, int]]
    holders: Path
    runtime: Path
    ledger: Path
    gridmapdir: Path
    pools: Sequence[str]
    programs: str
    spool: str
    slurm: bool
    htcondor: str
    files: Sequence[HookFile] | ConfigurationError


def examine(wanted: Wanted) -> list[Finding]:
    """All that is amiss on this machine."""
    return list(_look(wanted))


def _look(wanted: Wanted) -> Iterator[Finding]:
    yield from machine.switches()
    yield from machine.node_file_is_fresh(wanted.node)
    yield from machine.directories(wanted.directories)
    yield from machine.holders_are_local(wanted.holders, wanted.runtime)
    yield from machine.ledger_can_be_written(wanted.ledger)
    yield from clock.of_kernel()
    yield from accounts.are_sound(wanted.gridmapdir, wanted.pools)
    try:
        site = node_file.read()
    except ConfigurationError:
        return  # said already; Slurm's hooks do nothing without it
    yield from agent_serves(site)
    if isinstance(wanted.files, ConfigurationError):
        yield Finding("library-unsafe", CRITICAL, str(wanted.files), wanted.files.hint or "install gridwarden as root")
    elif wanted.slurm:
        yield from slurm.examine(wanted.programs, wanted.spool, wanted.files, site)
        yield from jobs.are_registered(site, wanted.pools)
    if wanted.htcondor:
        yield from htcondor.examine(wanted.htcondor)


def agent_serves(site: dict[str, list[str]]) -> Iterator[Finding]:
    """Whether the node's agent answers, where the site has one, and can write its records and see the gridmapdir."""
    for path in site.get("agent_socket", []):
        told = agent_client.status(path)
        if told is None:
            meant = os.path.lexists(path) or os.path.lexists(AGENT_UNIT)  # some sites have none
            detail = f"no gridwarden-agent answers at {path}: leases of other machines are not published here"
            yield Finding("agent-silent", WARNING if meant else NOTE, detail, RESTART)
            continue
        if (why := told.get("ledger", "ok")) != "ok":
            remedy = f"systemctl restart gridwarden-agent || kill -HUP {told.get('pid', '')}"
            yield Finding("agent-ledger", CRITICAL, f"gridwarden-agent cannot write its records: {why}", remedy)
        if (why := told.get("gridmapdir", "ok")) != "ok":
            detail = f"gridwarden-agent publishes no leases, since it cannot look at the gridmapdir: {why}"
            yield Finding("agent-gridmapdir", WARNING, detail, f"ls -ld {shlex.quote(site['gridmapdir'][0])}")
        if (why := told.get("store", "ok")) != "ok":
            detail = f"gridwarden-agent cannot send the ledger's last line to the store: {why}"
            yield Finding("agent-store", WARNING, detail, "gridwarden store head")
