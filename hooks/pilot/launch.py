"""Run a payload as its owner: what a pilot starts by sudo, from its words to the payload's end.

``gridwarden hooks install`` writes the program that calls ``main`` (``hooks.pilot.entry``), and the faces that pilots
call.  The steps are those of ``launch``, in their order; whatever one of them raises ends the launch before the payload's
first instruction, with a reason of ``gridwarden.reasons`` and one of gLExec's exit codes.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from gridwarden import node_file, syslog_line
from gridwarden.errors import GridwardenError
from gridwarden.hooks.pilot import ancestors, callers, refusals, request

if TYPE_CHECKING:
    from gridwarden.hooks.job import Site
    from gridwarden.hooks.pilot.ancestors import Ancestors
    from gridwarden.hooks.pilot.callers import Pilot
    from gridwarden.hooks.pilot.request import Request
    from gridwarden.hooks.pilot.session import Ended
    from gridwarden.mapper.identity import Identity
    from gridwarden.mapper.site import SiteValues

SITE = Path("/etc/gridwarden/site.yaml")
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
LONGEST_COMMAND_LINE = 8 * 1024 * 1024  # more than execve(2) takes


class Launch:
    """A launch under way: what it is for, and, once that is known, the payload's ``owner``."""

    __slots__ = ("above", "asked", "node", "owner", "pilot", "site")

    def __init__(self, asked: Request, pilot: Pilot, site: SiteValues, node: Site, above: Ancestors) -> None:
        self.asked = asked
        self.pilot = pilot
        self.site = site
        self.node = node
        self.above = above
        self.owner: Identity | None = None


def main(path: Path = SITE) -> int:
    """Launch what was asked for; the exit code.  Ends by the signal that ended the payload, if one did."""
    above = ancestors.watch()
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # until the session answers them
    os.umask(0o022)
    run: Launch | None = None
    try:
        pilot = callers.pilot()
        asked = request.read(words(), pilot.variables)
        from gridwarden.mapper import site_cache  # noqa: PLC0415 - words that are none need no site

        run = Launch(asked, pilot, site_cache.load(path), node_file.read(), above)
        return serve(run)
    except Exception as error:  # noqa: BLE001 - Python's own exit code would be a payload's
        note(error, run)
        refusals.tell(error)
        return refusals.code_of(error)


def words() -> list[bytes]:
    """The words that we were given, as bytes, in whatever language this interpreter takes them to be."""
    with open("/proc/self/cmdline", "rb") as file:
        whole = file.read(LONGEST_COMMAND_LINE).split(b"\0")
    return whole[3:-1]  # after the interpreter, its options and this program


def serve(run: Launch) -> int:
    """Do what was asked for; the exit code."""
    return refusals.end_as(launch(run))


def launch(run: Launch) -> Ended:
    """Verify, map, enter in the books, hand over, run, record; how the payload ended."""
    asked, pilot, site = run.asked, run.pilot, run.site
    entries = callers.listed(pilot, site.pilot.callers)
    from gridwarden.hooks.pilot import credentials  # noqa: PLC0415 - who may not call waits for nothing

    shown = credentials.read(asked, pilot.uid, site, own=not all(entry.service for entry in entries))
    # The verifiers are at work: what is loaded now takes no time.
    from gridwarden.hooks.pilot import account, books, lent, pam, program, session, terminal  # noqa: PLC0415

    terminal.refuse()
    pam.require_service(site.pilot.pam_service)
    directory = program.open_directory()
    executed = program.open_program(asked.arguments[0], directory)

    people = credentials.people(shown, site)
    run.owner = people.owner[0]
    caller, own = callers.permitted(entries, pilot, people.pilot)
    target = account.of(people, pilot, site)
    owners = {pilot.uid, target.uid}
    program.judge_directory(directory, owners)
    program.judge_program(executed, owners, site.pilot)

    given = lent.plan(asked, shown, run.node)
    state = lent.state(given, asked, pilot, own, target, executed.path, site)
    with books.Payload(run.node, state, caller.payloads) as payload:
        account.confirm(target, site)
        lent.hand_over(given, target)
        work = session.Work(
            account=target.account,
            uid=target.uid,
            gid=target.gid,
            groups=target.groups,
            service=site.pilot.pam_service,
            caller=pilot.account,
            program=executed.descriptor,
            path=executed.path,
            arguments=asked.arguments,
            directory=directory,
            environment=lent.variables(asked, given, target, site),
            no_new_privileges=site.pilot.no_new_privileges,
            capabilities=site.pilot.capabilities,
            control_group=site.pilot.control_group == "auto",
            grace_seconds=site.pilot.grace_seconds,
            same_account=target.same,
            payload=state.payload,
            script=executed.script,
        )
        ended = session.run(work, payload.started, run.above)
        payload.ended(ended)
    return ended


def note(error: Exception, run: Launch | None) -> None:
    """Tell ledger and syslog all of why nothing runs."""
    if run and isinstance(error, GridwardenError):
        from gridwarden.mapper import mapping  # noqa: PLC0415 - loaded already, or this is all it is for

        mapping.note_failure(error, run.owner, run.site, f"exec of {run.pilot.account}")
        return
    syslog_line.decision("payload", "failed", detail=f"{type(error).__name__}: {error}", uid=os.environ.get("SUDO_UID"))
