"""With which credentials somebody was there: the serial numbers or ``jti`` that lendings and payloads were recorded with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gridwarden.accounting.job_runs import number, text
from gridwarden.accounting.lease_history import LOCAL
from gridwarden.payloads import BATCH as PAYLOAD

if TYPE_CHECKING:
    from gridwarden.accounting.answers import Answer
    from gridwarden.accounting.job_runs import Body
    from gridwarden.accounting.past import Past

MOST_OF_MANY = 20
# A mapping records a lending anew with each new credential: a pilot factory's proxies of months are many.
_LENDINGS = (
    "SELECT body FROM records WHERE body IS NOT NULL AND lease = :lease AND kind = 'lease' AND time <= :until "
    "ORDER BY time DESC LIMIT 100"
)
_RENEWED = (
    "SELECT body FROM records WHERE body IS NOT NULL AND kind = 'renewed' AND account = :account AND time >= :since "
    "AND time <= :until ORDER BY time LIMIT 100"
)


def shown_credentials(answer: Answer, past: Past) -> list[str]:
    """Return references to what the one whom an answer names was there with: in force as it began, and those since."""
    since, until = answer.since or 0, past.FOREVER if answer.until is None else answer.until
    about = {"lease": answer.lease, "account": answer.account, "since": since, "until": until}
    start = past.start_of_payload(answer.job) if answer.batch == PAYLOAD else {}
    if start:
        renewed = [each for each in _recorded("renewed", _RENEWED, about, past) if text(each, "payload") == answer.job]
        found = [_of_start(answer, start), *(text(each, "credential") for each in _theirs(answer, renewed))]
    else:
        lent = _theirs(answer, _recorded("lease", _LENDINGS, about, past) if answer.lease else [])
        lent = [each for each in lent if text(each, "lease") == answer.lease and number(each, "time") <= until]
        before = [each for each in lent if number(each, "time") <= since]
        # Of a fixed account anybody who was mapped to it may have been behind it.
        first = max(len(lent) - MOST_OF_MANY, 0) if answer.scheme == LOCAL else max(len(before) - 1, 0)
        found = [text(each, "credential") for each in lent[first:]]
    return [each for each in dict.fromkeys(found) if each]


def _recorded(kind: str, query: str, about: dict[str, Any], past: Past) -> list[Body]:
    return [*(json.loads(str(body)) for (body,) in past.rows(query, about)), *past.of_kinds(kind)]


def _theirs(answer: Answer, records: list[Body]) -> list[Body]:
    """Return those of whom the answer names, in their order."""
    theirs = (each for each in records if answer.scheme == LOCAL or text(each, "subject") == answer.identity)
    return sorted(theirs, key=lambda each: number(each, "time"))


def _of_start(answer: Answer, start: Body) -> str:
    """Return the credential of a payload's start that is theirs, of two that were shown."""
    if answer.identity == text(start, "subject"):
        return text(start, "credential")
    return text(start, "also_credential") if answer.identity == text(start, "also_subject") else ""
