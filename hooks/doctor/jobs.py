"""Whether the local register and Slurm agree on which jobs run here: hooks that are not called show there."""

from __future__ import annotations

import pwd
import shlex
from typing import TYPE_CHECKING

from gridwarden import ledger, pools, register
from gridwarden.batch import slurm, slurm_queue
from gridwarden.errors import ConfigurationError
from gridwarden.hooks.doctor.finding import CRITICAL, WARNING, Finding, few

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gridwarden.register import Entry


def are_registered(site: dict[str, list[str]], names: Sequence[str]) -> Iterator[Finding]:
    """Jobs of pool accounts that run here without a prolog having seen them, and entries of jobs that are over."""
    try:
        yield from _compare(site, names)
    except ConfigurationError as error:
        detail = f"no account of this machine is cleared: {error}"
        yield Finding("register-unreadable", CRITICAL, detail, f"rm {shlex.quote(str(error).partition(': ')[0])}")


def _compare(site: dict[str, list[str]], names: Sequence[str]) -> Iterator[Finding]:
    spool = site["slurm_spool"][0]
    before = _registered(site)
    steps = slurm.steps_here(spool)
    entries = _registered(site)
    still = slurm.steps_here(spool)
    if steps is None or still is None:
        return
    known = {entry.job for entry in (*before, *entries)} | ({step.job for step in steps} - {step.job for step in still})
    unseen = {step.job: name for step in steps if step.job not in known and (name := _pool_account(step.owner, names))}
    yield from few(
        [
            Finding("job-unregistered", CRITICAL, f"job {job} of {name} runs here, and no prolog has seen it",
                    f"scontrol requeue {job}")
            for job, name in sorted(unseen.items())
        ]
    )  # fmt: skip
    running, boot = {step.job for step in steps}, ledger.boot_id()
    found = []
    for uid in sorted({entry.uid for entry in entries if entry.job not in running and entry.boot == boot}):
        unfinished = slurm_queue.jobs_of(uid, site["slurm_programs"][0], "%A")
        found += [
            Finding("register-stale", WARNING, f"job {entry.job} of {entry.account} is over, and no epilog has seen that",
                    "gridwarden on hooks")
            for entry in entries
            if unfinished is not None and entry.uid == uid and entry.job not in unfinished
        ]  # fmt: skip
    yield from few(found)


def _registered(site: dict[str, list[str]]) -> list[Entry]:
    return [entry for entry in register.everything(site["register"][0]) if entry.batch == "slurm"]


def _pool_account(uid: int | None, names: Sequence[str]) -> str:
    """The account of a pool that has this uid, or nothing."""
    try:
        name = pwd.getpwuid(uid).pw_name if uid else ""
    except KeyError:
        return ""
    return name if any(pools.is_of_pool(name, pool) for pool in names) else ""
