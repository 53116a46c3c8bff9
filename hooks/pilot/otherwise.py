"""What else pilots may ask for: the decision alone, new credentials for a payload that runs; and what a site may want."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

from gridwarden.hooks.pilot import account, job_of, launch, log_only, program, renew
from gridwarden.mapper import bans, foresee, lease, mapping

if TYPE_CHECKING:
    from gridwarden.hooks.pilot.launch import Launch

DONE = 0


def serve(run: Launch) -> int:
    """Do it; the exit code.  Raises as ``launch.launch``."""
    if run.asked.check:
        os.write(1, f"{decision(run)}\n".encode())
        return DONE
    if run.asked.renew:
        renewed(run)
        return DONE
    return log_only.run(run)


def decision(run: Launch) -> str:
    """What would be decided, in a sentence; nothing is leased, lent or run.  Raises what would stop a launch."""
    shown, entries = launch.present(run)
    caller, people, _ = launch.identify(run, shown, entries)
    job_of.permitted(run.node, run.pilot.account, caller, run.site.pilot.outside_jobs)
    lease.refuse_banned(people.pilot, bans.in_force(run.site), run.pilot.account)
    callers: list[program.Person] = [run.pilot]
    if account.is_own(people):
        mapping.allowed(people.owner, run.site, mapping.silent)
        found = f"as {run.pilot.account}, who calls"
    else:
        name, decided = foresee.foresee_identities(people.owner, run.site, mapping.silent)
        found = f"as {name}" if name else f"as an account of pool {decided.target}, none is lent yet"
        if name:
            entry = pwd.getpwnam(name)
            groups = os.getgrouplist(name, entry.pw_gid)
            account.judge(name, entry.pw_uid, groups, run.site)
            callers.append(account.Target(entry, entry.pw_gid, tuple(groups), decided.identity, ""))
    if run.asked.arguments:
        owners = {person.uid for person in callers}
        directory = program.open_directory()
        program.judge_directory(directory, owners)
        executed = program.open_program(run.asked.arguments[0], directory, callers)
        program.judge_program(executed, owners, run.site.pilot)
    return f"would run {found}"


def renewed(run: Launch) -> None:
    """Give a payload that runs the new credentials of its owner; raises as a launch, and as ``renew.renew``."""
    shown, entries = launch.present(run)
    _, people, _ = launch.identify(run, shown, entries)
    state = renew.find(run.node, run.pilot.uid, name=run.asked.name, target=run.asked.target)
    target = account.of(people, run.pilot, run.site)
    first = [target.owner, *(one for one in people.owner if one is not target.owner)]
    copies = renew.Copies(
        proxy=shown.source.data if shown.source else None, token=shown.token.data if shown.token else None
    )
    renew.renew(run.node, state, first, target.account, copies, list(target.groups))
