"""New credentials for a payload that runs: whose they are was verified as for a new one, and must be the same.

The caller has verified, asked bans and policy, and mapped, as for any launch; here is what is left.
"""

from __future__ import annotations

from gridwarden import ledger, payloads, reasons, register, syslog_line
from gridwarden.errors import Refused
from gridwarden.hooks.job import LOCK_SECONDS
from gridwarden.hooks.pilot import deliver
from gridwarden.tab_file import escape

TYPE_CHECKING = False  # typing's own costs a launch 6 ms
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from gridwarden.hooks.job import Site
    from gridwarden.payload_state import State
    from gridwarden.records import Value

    class Target(Protocol):
        """Of whom a payload would run as what is compared and needed (``hooks.pilot.account``)."""

        @property
        def account(self) -> str:
            """The account's name."""

        @property
        def groups(self) -> tuple[int, ...]:
            """The supplementary groups."""

    class Person(Protocol):
        """Of a verified identity what is compared and recorded (``mapper.identity``)."""

        @property
        def scheme(self) -> str:
            """Which kind of credential."""

        @property
        def subject(self) -> str:
            """Whom it names."""

        @property
        def credential(self) -> str:
            """Its serial number, or jti."""


class Copies:
    """New contents: ``proxy`` for the payload's proxy file, ``token`` for its token file, None to leave it as it is."""

    __slots__ = ("proxy", "token")

    def __init__(self, proxy: bytes | None = None, token: bytes | None = None) -> None:
        self.proxy = proxy
        self.token = token

    def at(self, state: State) -> dict[str, bytes]:
        """What is written where; raises Refused for a file that the payload does not have."""
        found = {}
        for kind, path, data in (("proxy", state.proxy, self.proxy), ("token", state.token, self.token)):
            if data is None:
                continue
            if not path:
                detail = f"payload {state.payload} was started without a {kind}"
                raise Refused(reasons.PAYLOAD_UNKNOWN, detail, "renew what it has")
            found[path] = data
        return found


def find(site: Site, pilot_uid: int, *, name: str = "", target: str = "") -> State:
    """The payload that the pilot ``pilot_uid`` called ``name``, or whose credential is in ``target``.

    Of several it is the one that started last.  Raises Refused (payload-unknown), ConfigurationError.
    """
    directory = site["payloads"][0]
    found = [
        state
        for state in payloads.everything(directory)
        if state.pilot_uid == pilot_uid
        and ((name and state.name == name) or (target and target in (state.proxy, state.token)))
    ]
    for state in sorted(found, key=lambda state: state.start, reverse=True):
        if payloads.is_led(directory, state.payload):
            return state
    shown = escape(name or target) or "without a name or a target"
    raise Refused(reasons.PAYLOAD_UNKNOWN, f"{shown}: this caller has no such payload here")


def refuse_others(state: State, people: Sequence[Person]) -> None:
    """Refuse credentials of anybody else than those whom the payload was started for (identity-changed)."""
    known = {(state.scheme, state.subject), (state.also_scheme, state.also_subject)}
    for one in people:
        if (one.scheme, one.subject) not in known:
            detail = f"payload {state.payload} is {state.subject}'s, in {state.account}; this is of {one.subject}"
            raise Refused(reasons.IDENTITY_CHANGED, detail)


def renew(site: Site, state: State, people: Sequence[Person], target: Target | None, copies: Copies) -> None:
    """Replace the payload's copies, each in one step, and record each new credential.

    ``people`` are those whom the new credentials name, ``target`` is whom a payload of theirs would run as now, None where
    no account is lent to them.  Raises Refused (identity-changed, payload-unknown, target-unusable), EvidenceError,
    Unavailable, ConfigurationError, OSError.
    """
    refuse_others(state, people)
    if target is None or target.account != state.account:
        now = target.account if target else "none"
        detail = f"payload {state.payload} runs in {state.account}; the account of {people[0].subject} now is {now}"
        raise Refused(reasons.IDENTITY_CHANGED, detail)
    found = copies.at(state)
    with register.AccountLock(site["locks"][0], state.account, LOCK_SECONDS):
        if not payloads.is_led(site["payloads"][0], state.payload):
            raise Refused(reasons.PAYLOAD_UNKNOWN, f"payload {state.payload} has ended")
        of_payload = state.facts("payload", "account", "lease")
        seq, head = _record(site, state, [("renewed", {**of_payload, **_of(person)}) for person in people])
        try:
            deliver.hand_over(found, deliver.Owner(state.uid, state.gid, list(target.groups)))
        except (Refused, OSError) as error:  # OSError: no process could be started for it
            what = f"the renewed credential of payload {state.payload}, account {state.account}"
            gap: dict[str, Value] = {
                "what": what,
                "reason": f"was not handed over: {error}",
                "bytes": None,
                "sha256": None,
            }
            _record(site, state, [("gap", gap)])
            raise
    about: dict[str, Value] = {"batch": payloads.BATCH, "job": state.payload, "account": state.account}
    syslog_line.decision("payload-renew", "renewed", **about, **_of(people[0]), seq=seq, head=head)


def _record(site: Site, state: State, entries: list[tuple[str, dict[str, Value]]]) -> tuple[int, str]:
    return ledger.append_all(site["ledger"][0], entries, node=state.node, cluster=state.cluster)


def _of(person: Person) -> dict[str, Value]:
    return {"scheme": person.scheme, "subject": person.subject, "credential": person.credential}
