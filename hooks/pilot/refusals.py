"""What the launcher's caller is told: gLExec's exit codes (its manual page, since 0.6), and a short sentence."""

from __future__ import annotations

import os

from gridwarden import reasons
from gridwarden.errors import BadQuestion, GridwardenError, Refused
from gridwarden.tab_file import escape

CLIENT, SYSTEM, AUTHORIZATION, COLLISION, NOT_EXECUTABLE = 201, 202, 203, 204, 126
OURS = range(CLIENT, COLLISION + 1)
OF_THE_CLIENT = frozenset(
    {
        reasons.CREDENTIAL_UNREADABLE,
        reasons.CREDENTIAL_EXPOSED,
        reasons.CREDENTIAL_MALFORMED,
        reasons.CREDENTIAL_TIMEOUT,
        reasons.CREDENTIAL_MISSING,
        reasons.IDENTITY_CHANGED,
        reasons.PILOT_CREDENTIAL_MISSING,
        reasons.PROGRAM_MISSING,
        reasons.DIRECTORY_UNUSABLE,
        reasons.TERMINAL,
        reasons.ENVIRONMENT_TOO_LARGE,
        reasons.TARGET_UNUSABLE,
    }
)
"""What the pilot itself can put right; every other refusal is the site's word."""

OF_THE_SYSTEM = frozenset({reasons.PAM_SERVICE_MISSING})


def code_of(error: BaseException) -> int:
    """The exit code for what stopped a launch."""
    if isinstance(error, BadQuestion):
        return CLIENT
    if not isinstance(error, Refused):
        return SYSTEM
    if error.reason == reasons.PROGRAM_NOT_EXECUTABLE:
        return NOT_EXECUTABLE
    if error.reason in OF_THE_SYSTEM:
        return SYSTEM
    return CLIENT if error.reason in OF_THE_CLIENT else AUTHORIZATION


def code_of_payload(code: int) -> int:
    """The exit code for a payload's own: one that would be read as ours becomes 204."""
    return COLLISION if code in OURS else code


def tell(error: BaseException) -> None:
    """Say in one line on standard error why nothing runs: the reason's sentence; the log has all of it."""
    if isinstance(error, Refused):
        text = f"{reasons.SENTENCES[error.reason]} ({error.reason})"
    elif isinstance(error, BadQuestion):
        text = f"{error}; {error.hint}" if error.hint else str(error)
    elif isinstance(error, GridwardenError):
        text = "this site cannot run payloads now; its log says why"
    else:
        text = "an unexpected fault; the site's log says which"
    try:
        os.write(2, f"gridwarden-exec: {escape(text)}\n".encode())
    except OSError:
        pass  # nobody listens
