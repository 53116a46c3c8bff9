"""What a payload is given of its own: a temporary directory, copies of its credentials, an environment; and its state."""

from __future__ import annotations

import time

from gridwarden import payloads, syslog_line, trusted
from gridwarden.hooks.pilot import deliver, environment
from gridwarden.payload_state import State
from gridwarden.tab_file import escape
from gridwarden.values import NamedTuple

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from gridwarden.hooks.job import Site
    from gridwarden.hooks.pilot.account import Target
    from gridwarden.hooks.pilot.callers import Pilot
    from gridwarden.hooks.pilot.credentials import Shown
    from gridwarden.hooks.pilot.job_of import CallerJob
    from gridwarden.hooks.pilot.request import Request
    from gridwarden.mapper.identity import Identity
    from gridwarden.mapper.pilot_values import PilotValues
    from gridwarden.mapper.site import SiteValues


class Lent(NamedTuple):
    """Paths, "" for what it is not given; ``copies`` are what stands in each of its credential files."""

    payload: str
    temporary: str
    proxy: str
    token: str
    copies: dict[str, bytes]


def plan(asked: Request, shown: Shown, node: Site) -> Lent:
    """What the payload will be given, and where: its proxy where the pilot asks for it, else in its own directory."""
    payload = payloads.new_id()
    temporary = deliver.temporary_path(node.get("scratch", []), payload)
    proxy = asked.target or f"{temporary}/{deliver.PROXY}" if shown.source else ""
    token = f"{temporary}/{deliver.TOKEN}" if shown.token else ""
    copies = {proxy: shown.source.data} if shown.source else {}
    if shown.token:
        copies[token] = shown.token.data
    return Lent(payload, temporary, proxy, token, copies)


def state(
    lent: Lent,
    asked: Request,
    pilot: Pilot,
    own: Identity | None,
    target: Target,
    program: bytes,
    site: SiteValues,
    job: CallerJob,
) -> State:
    """The payload as its state file will have it; ``job`` is the batch job that the pilot is in."""
    return State(
        payload=lent.payload,
        cluster=site.cluster,
        node=site.node,
        start=time.time_ns() // 1000,
        account=target.account,
        uid=target.uid,
        gid=target.gid,
        lease=target.lease,
        scheme=target.owner.scheme,
        subject=target.owner.subject,
        vo=target.owner.vo,
        credential=target.owner.credential,
        also_scheme=target.also.scheme if target.also else "",
        also_subject=target.also.subject if target.also else "",
        also_vo=target.also.vo if target.also else "",
        also_credential=target.also.credential if target.also else "",
        name=asked.name,
        pilot=pilot.account,
        pilot_uid=pilot.uid,
        pilot_scheme=own.scheme if own else "",
        pilot_subject=own.subject if own else "",
        pilot_vo=own.vo if own else "",
        batch=job.batch,
        job=job.job,
        restart=job.restart,
        program=escape(program.decode("utf-8", "surrogateescape")),
        proxy=lent.proxy,
        token=lent.token,
        temporary=lent.temporary,
    )


def hand_over(lent: Lent, target: Target) -> None:
    """Make the payload's directory, and write its copies as its account; raises Refused, Unavailable."""
    owner = deliver.Owner(target.uid, target.gid, list(target.groups))
    deliver.make_temporary(lent.temporary, owner)
    deliver.hand_over(lent.copies, owner)


def variables(asked: Request, lent: Lent, target: Target, site: SiteValues) -> dict[bytes, bytes]:
    """The payload's environment; raises Refused, and ConfigurationError for the site's own file."""
    path = site.pilot.environment_file
    ours = environment.read_file(trusted.read_file(path), str(path)) if path else {}
    return environment.build(
        target.entry,
        ours,
        asked.variables,
        site.pilot.preserve,
        temporary=lent.temporary,
        proxy=lent.proxy,
        token=lent.token,
    )


def run_epilogue(pilot: PilotValues, ended: State) -> None:
    """Run the site's own program after a payload; that it fails is told to syslog, and changes nothing else."""
    from gridwarden.hooks.pilot import epilogue  # noqa: PLC0415 - few sites have one

    facts = ("payload", "account", "uid", "lease", "subject", "pilot", "batch", "job", "status", "program")
    about = {f"GLEXEC_EPILOG_{name.upper()}": str(getattr(ended, name)) for name in facts}
    try:
        why = epilogue.run(pilot.epilogue or "", about, pilot.epilogue_seconds)
    except Exception as error:  # noqa: BLE001 - the payload has run: whoever takes it for refused would run it again
        why = f"{pilot.epilogue} could not be run: {error}"
    if why:
        where: dict[str, str | int | None] = {"job": ended.payload, "account": ended.account}
        syslog_line.decision("payload-epilogue", "failed", batch=payloads.BATCH, **where, detail=why)
