"""Log-only mode: verify and decide as ever, say so in syslog, and run the payload as the pilot itself.

Nothing here is root, so nobody is leased an account, nothing stands in the ledger, and nobody is kept apart from anybody:
docs/launcher.md has the whole list.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, NoReturn

from gridwarden import payloads, syslog_line
from gridwarden.errors import BadQuestion, ConfigurationError
from gridwarden.hooks.pilot import account, launch, program, refusals, signals
from gridwarden.mapper import bans, lease, mapping

if TYPE_CHECKING:
    import resource

    from gridwarden.hooks.pilot.credentials import People
    from gridwarden.hooks.pilot.launch import Launch
    from gridwarden.hooks.pilot.program import Program
    from gridwarden.mapper.identity import Identity
    from gridwarden.mapper.policy import Decision

DONE = 0


def serve(run: Launch) -> int:
    """Do what was asked for; the exit code.  Raises as ``launch.launch``."""
    if os.geteuid() == 0:
        raise ConfigurationError("pilot.mode is log-only, which needs no root", "gridwarden hooks install, again")
    if run.asked.renew:
        raise BadQuestion("--renew: here payloads read the pilot's own credential files", "replace those")
    shown, entries = launch.present(run)
    directory = program.open_directory()
    words = run.asked.arguments
    executed = program.open_program(words[0], directory, [run.pilot]) if words else None
    _, people, own = launch.identify(run, shown, entries)
    lease.refuse_banned(people.pilot, bans.in_force(run.site), run.pilot.account)
    decided = mapping.allowed(people.owner, run.site, mapping.silent)
    owners = {run.pilot.uid}
    program.judge_directory(directory, owners)
    if executed:
        program.judge_program(executed, owners, run.site.pilot)
    if run.asked.check or not executed:
        os.write(1, f"would run as {run.pilot.account}, who calls\n".encode())
        return DONE
    return execute(run, executed, people, own, decided)


def execute(run: Launch, executed: Program, people: People, own: Identity | None, decided: Decision) -> int:
    """Run the payload as who calls, and say so; its exit code, or by the signal that ended it."""
    also = account.other(people, decided.identity)
    payload = payloads.new_id()
    about: dict[str, str | int | None] = {"batch": payloads.BATCH, "job": payload, "account": run.pilot.account}
    who: dict[str, str | int | None] = {"scheme": decided.identity.scheme, "subject": decided.identity.subject}
    syslog_line.decision(
        "payload-start",
        "logged",
        **about,
        **who,
        vo=decided.identity.vo,
        credential=decided.identity.credential,
        also_subject=also.subject if also else None,
        pilot_subject=own.subject if own else None,
        target=decided.target,
        name=run.asked.name,
    )
    signals.take()
    child = os.fork()
    if child == 0:
        _execute(run, executed)
    status, used = _wait(child)
    ended: dict[str, str | int | None] = {
        "status": os.waitstatus_to_exitcode(status),
        "user": round(used.ru_utime * 1_000_000),
        "system": round(used.ru_stime * 1_000_000),
    }
    syslog_line.decision("payload-end", "logged", **about, **who, **ended)
    return refusals.end_as(status, "")


def _execute(run: Launch, executed: Program) -> NoReturn:
    environment = dict(run.pilot.variables)
    for name, path in ((b"X509_USER_PROXY", run.asked.proxy), (b"BEARER_TOKEN_FILE", run.asked.token)):
        environment.pop(name, None)
        if path:
            environment[name] = os.fsencode(os.path.abspath(path))
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        if executed.script:
            os.execve(executed.path, run.asked.arguments, environment)  # noqa: S606 - no shell is the point
        os.execve(executed.descriptor, run.asked.arguments, environment)  # noqa: S606 - as above
    finally:
        os._exit(refusals.NOT_EXECUTABLE)


def _wait(child: int) -> tuple[int, resource.struct_rusage]:
    """The payload's wait status and what it used; signals that come to us go to it."""
    while True:
        number = signal.sigwait(signals.WATCHED)
        ended, status, used = os.wait4(child, os.WNOHANG)
        if ended:
            return status, used
        if number != signal.SIGCHLD:
            os.kill(child, number)
