"""Run a payload as its owner: what a pilot starts by sudo, from its words to the payload's end.

``gridwarden hooks install`` writes the program that calls ``hooks.pilot.start``, which calls ``main`` (``hooks.pilot.entry``),
and the faces that pilots call.  The steps are those of ``launch``, in their order; whatever one of them raises ends the launch before the payload's
first instruction, with a reason of ``gridwarden.reasons`` and one of gLExec's exit codes.
"""

from __future__ import annotations

import gc
import os

from gridwarden import node_file, off, reasons, syslog_line
from gridwarden.errors import ConfigurationError, GridwardenError, Refused
from gridwarden.hooks.pilot import callers, refusals, request
from gridwarden.mapper import readied

TYPE_CHECKING = False  # typing's own costs a launch 3 ms, before its verifiers can begin to load
if TYPE_CHECKING:
    from collections.abc import Sequence

    from gridwarden.hooks.job import Site
    from gridwarden.hooks.pilot.ancestors import Ancestors
    from gridwarden.hooks.pilot.callers import Pilot
    from gridwarden.hooks.pilot.credentials import People, Shown
    from gridwarden.hooks.pilot.guard_process import GuardProcess
    from gridwarden.hooks.pilot.limits import Limits
    from gridwarden.hooks.pilot.request import Request
    from gridwarden.hooks.pilot.session import Ended
    from gridwarden.mapper.identity import Identity
    from gridwarden.mapper.pilot_values import Caller
    from gridwarden.mapper.readied import Readied
    from gridwarden.mapper.site import SiteValues

SITE = "/etc/gridwarden/site.yaml"
LONGEST_COMMAND_LINE = 8 * 1024 * 1024  # more than execve(2) takes


class Launch:
    """A launch under way; ``owner`` is for whom, once that is known, ``verifiers`` get ready for the credentials.

    ``guard`` gets PAM ready for the payload.
    ``limits`` are the caller's own, which the payload gets.
    """

    __slots__ = ("above", "asked", "guard", "limits", "node", "owner", "pilot", "site", "verifiers")

    def __init__(
        self,
        asked: Request,
        pilot: Pilot,
        verifiers: Readied,
        site: SiteValues,
        node: Site,
        above: Ancestors,
        limits: Limits | None,
    ) -> None:
        self.asked = asked
        self.pilot = pilot
        self.verifiers = verifiers
        self.site = site
        self.node = node
        self.above = above
        self.limits = limits
        self.owner: Identity | None = None
        self.guard: GuardProcess | None = None


def main(verifiers: Readied, above: Ancestors, kept: Limits | None, path: str = SITE) -> int:
    """Launch what was asked for; the exit code.  Ends by the signal that ended the payload, if one did.

    ``verifiers`` get ready already, ``above`` has been watched since the beginning, ``kept`` are the caller's own limits.
    """
    run: Launch | None = None
    try:
        pilot = callers.pilot()
        asked = request.read(words(), pilot.variables)
        verifiers.load(needed(asked))
        site = read_site(path)
        run = Launch(asked, pilot, verifiers, site, node_file.read(), above, kept)
        refuse_switched_off()
        return serve(run)
    except Exception as error:  # noqa: BLE001 - Python's own exit code would be a payload's
        note(error, run)
        refusals.tell(error)
        return refusals.code_of(error)


def refuse_switched_off() -> None:
    """Raise Refused while an administrator has switched the launcher off."""
    if switched := off.switch(off.LAUNCHER):
        raise Refused(reasons.SWITCHED_OFF, str(switched), "gridwarden on launcher")


def read_site(path: str) -> SiteValues:
    """The site's values; raises ConfigurationError."""
    from gridwarden.mapper import site_cache  # noqa: PLC0415 - words that are none need no site

    return site_cache.load(path)


def needed(asked: Request) -> list[str]:
    """The verifiers of the credentials that the pilot names."""
    proxies, tokens = asked.proxy or asked.source_proxy or asked.pilot_proxy, asked.token or asked.pilot_token
    return [*([readied.PROXIES] if proxies else []), *([readied.TOKENS] if tokens else [])]


def words() -> list[bytes]:
    """The words that we were given, as bytes, in whatever language this interpreter takes them to be."""
    with open("/proc/self/cmdline", "rb") as file:
        whole = file.read(LONGEST_COMMAND_LINE).split(b"\0")
    return whole[3:-1]  # after the interpreter, its options and this program


def serve(run: Launch) -> int:
    """Do what was asked for, in the way that the site wants it; the exit code."""
    asked = run.asked
    if asked.check or asked.renew or run.site.pilot.mode == "log-only":
        from gridwarden.hooks.pilot import otherwise  # noqa: PLC0415 - not for a launch to pay

        return otherwise.serve(run)
    if os.geteuid() != 0:
        raise ConfigurationError("the launcher is not root, and pilot.mode is switch", "pilots call gridwarden-exec")
    try:
        ended = launch(run)
    finally:
        if run.guard:
            run.guard.abandon()
    return refusals.end_as(ended.status, ended.because)


def launch(run: Launch) -> Ended:
    """Verify, map, enter in the books, hand over, run, record; how the payload ended."""
    asked, pilot, site = run.asked, run.pilot, run.site
    shown, entries = present(run)
    # The verifiers are at work: what is loaded now takes no time.
    from gridwarden.hooks.pilot import account, ban_watch, books, job_of, lent, program, session  # noqa: PLC0415
    from gridwarden.hooks.pilot.work_order import Work  # noqa: PLC0415

    gc.freeze()
    gc.enable()
    # Who is told to end from here on first undoes what it has done.
    run.guard = session.prepare(site.pilot.pam_service, pilot.account, run.above, run.limits, run.node)
    directory = program.open_directory()

    caller, people, own = identify(run, shown, entries)
    job = job_of.permitted(run.node, pilot.account, caller, site.pilot.outside_jobs)
    target = account.of(people, pilot, site)
    owners = {pilot.uid, target.uid}
    program.judge_directory(directory, owners)
    executed = program.open_program(asked.arguments[0], directory, [pilot, target])
    program.judge_program(executed, owners, site.pilot)

    given = lent.plan(asked, shown, run.node)
    state = lent.state(given, asked, pilot, own, target, executed.path, site, job)
    if lends := site.pilot.scratch == "hand-over" and not target.same:
        from gridwarden.hooks.pilot import scratch  # noqa: PLC0415 - few sites lend it

        state = scratch.noted(state, directory)
    with books.begin(run.node, state, caller.payloads, directory) as payload:
        account.confirm(target, site)
        if asked.target:  # elsewhere, where PAM's modules may be at work, too
            lent.hand_over(given, target)
        if lends:
            scratch.hand_over(payload.state, directory)
        work = Work(
            account=target.account,
            uid=target.uid,
            gid=target.gid,
            groups=target.groups,
            service=site.pilot.pam_service,
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
        banned = ban_watch.BanWatch(people.owner, target.account, site, people.pilot, pilot.account).why

        def meanwhile() -> None:  # PAM opens the session
            if not asked.target:
                lent.hand_over(given, target)
            payload.load_ending()

        run.verifiers.end()  # what they used is none of the payload's
        ended = session.run(run.guard, work, payload.started, meanwhile, payload.over, banned)
        try:
            payload.ended(ended)
        except Exception as error:  # noqa: BLE001 - it has run: whoever takes it for refused would run it again
            note(error, run)  # and the next launch, epilog or run of the pruner sees to its end
    if ended.because.startswith(ban_watch.BANNED):
        refusals.tell(Refused(reasons.BANNED, ended.because))
    if site.pilot.epilogue:
        lent.run_epilogue(site.pilot, payload.state)
    return ended


def present(run: Launch) -> tuple[Shown, list[Caller]]:
    """The credentials, read as the pilot and being verified, and the pilot's entries in site.yaml; raises Refused."""
    entries = callers.listed(run.pilot, run.site.pilot.callers)
    from gridwarden.hooks.pilot import credentials  # noqa: PLC0415 - who may not call waits for nothing

    if not (run.asked.proxy or run.asked.token):
        raise Refused(reasons.CREDENTIAL_MISSING, "no proxy and no token of the payload's owner is named")
    own = not all(entry.service for entry in entries)
    return credentials.read(run.asked, run.pilot.uid, run.site, run.verifiers, own=own), entries


def identify(run: Launch, shown: Shown, entries: Sequence[Caller]) -> tuple[Caller, People, Identity | None]:
    """Whose the credentials are, and which entry lets the pilot call, by which of its own; raises Refused."""
    from gridwarden.hooks.pilot import credentials  # noqa: PLC0415 - as above

    people = credentials.people(shown, run.site)
    run.verifiers.dismiss()
    run.owner = people.owner[0]
    caller, own = callers.permitted(entries, run.pilot, people.pilot)
    return caller, people, own


def note(error: Exception, run: Launch | None) -> None:
    """Tell ledger and syslog all of why nothing runs."""
    if run and isinstance(error, GridwardenError):
        from gridwarden.mapper import mapping  # noqa: PLC0415 - loaded already, or this is all it is for

        mapping.note_failure(error, run.owner, run.site, f"exec of {run.pilot.account}")
        return
    syslog_line.decision(
        "payload-start", "failed", detail=f"{type(error).__name__}: {error}", uid=os.environ.get("SUDO_UID")
    )
