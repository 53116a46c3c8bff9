"""What else pilots may ask for: the decision alone, new credentials for a payload that runs; and what a site may want."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gridwarden.hooks.pilot import account, job_of, launch, log_only, program, renew
from gridwarden.mapper import bans, foresee, job_groups, lease, mapping

if TYPE_CHECKING:
    from gridwarden.hooks.pilot.account import Target
    from gridwarden.hooks.pilot.credentials import People
    from gridwarden.hooks.pilot.launch import Launch


def serve(run: Launch) -> int:
    """Do it; the exit code.  Raises as ``launch.launch``."""
    if run.site.pilot.mode == "log-only":
        return log_only.serve(run)
    if run.asked.check:
        os.write(1, f"{decision(run)}\n".encode())
    else:
        renewed(run)
    return log_only.DONE


def decision(run: Launch) -> str:
    """What would be decided, in a sentence; nothing is leased, lent or run.  Raises what would stop a launch."""
    shown, entries = launch.present(run)
    caller, people, _ = launch.identify(run, shown, entries)
    job_of.permitted(run.node, run.pilot.account, caller, run.site.pilot.outside_jobs)
    target, pool = foreseen(run, people)
    if run.asked.arguments:
        callers: list[program.Person] = [run.pilot, *([target] if target else [])]
        owners = {person.uid for person in callers}
        directory = program.open_directory()
        program.judge_directory(directory, owners)
        executed = program.open_program(run.asked.arguments[0], directory, callers)
        program.judge_program(executed, owners, run.site.pilot)
    if target is None:
        return f"would run as an account of pool {pool}, none is lent yet"
    return f"would run as {target.account}" + (", who calls" if target.same else "")


def foreseen(run: Launch, people: People) -> tuple[Target | None, str]:
    """Whom a payload of theirs would run as, None while no account is lent to them, and of which pool; reads only."""
    lease.refuse_banned(people.pilot, bans.in_force(run.site), run.pilot.account)
    if account.is_own(people):
        mapping.allowed(people.owner, run.site, mapping.silent)
        return account.own(people, run.pilot), ""
    name, decided = foresee.foresee_identities(people.owner, run.site, mapping.silent)
    if not name:
        return None, decided.target
    groups = job_groups.of(decided, run.site.leases.system_groups)
    return account.as_account(name, groups, people, decided.identity, "", run.pilot, run.site), decided.target


def renewed(run: Launch) -> None:
    """Give a payload that runs the new credentials of its owner; raises as a launch, and as ``renew.renew``.

    Whoever is refused was mapped to nothing: no account is leased for a payload that has one.
    """
    shown, entries = launch.present(run)
    _, people, _ = launch.identify(run, shown, entries)
    state = renew.find(run.node, run.pilot.uid, name=run.asked.name, target=run.asked.target)
    renew.refuse_others(state, people.owner)
    target, _ = foreseen(run, people)
    copies = renew.Copies(
        proxy=shown.source.data if shown.source else None, token=shown.token.data if shown.token else None
    )
    renew.renew(run.node, state, people.owner, target, copies)
