"""What the launcher's caller is told: gLExec's exit codes (its manual page, since 0.6), and a short sentence."""

from __future__ import annotations

import os

from gridwarden import reasons
from gridwarden.errors import BadQuestion, GridwardenError, Refused
from gridwarden.tab_file import escape

CLIENT, SYSTEM, AUTHORIZATION, COLLISION, NOT_EXECUTABLE = 201, 202, 203, 204, 126
OURS = range(CLIENT, COLLISION + 1)
NOT_BECOME = "its process did not become its owner"  # how such a payload's ``because`` begins
OF_THE_CLIENT = frozenset(
    {
        reasons.CREDENTIAL_UNREADABLE,
        reasons.CREDENTIAL_EXPOSED,
        reasons.CREDENTIAL_MALFORMED,
        reasons.CREDENTIAL_TIMEOUT,
        reasons.CREDENTIAL_MISSING,
        reasons.PILOT_CREDENTIAL_MISSING,
        reasons.PROGRAM_MISSING,
        reasons.DIRECTORY_UNUSABLE,
        reasons.TERMINAL,
        reasons.ENVIRONMENT_TOO_LARGE,
        reasons.TARGET_UNUSABLE,
        reasons.PAYLOAD_UNKNOWN,
    }
)
"""What the pilot itself can put right; every other refusal is the site's word."""

OF_THE_SYSTEM = frozenset({reasons.PAM_SERVICE_MISSING, reasons.SWITCHED_OFF})


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


def end_as(status: int, because: str) -> int:
    """The exit code for how a payload ended; where a signal ended it, that signal ends this process, and so sudo.

    ``status`` is a wait status, ``because`` why it was ended or could not begin.  A payload's own exit code that would be
    read as ours becomes 204.
    """
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        die_of(-code)
        return 128 - code
    if code == SYSTEM and because.startswith(NOT_BECOME):
        return SYSTEM
    return COLLISION if code in OURS else code


def die_of(number: int) -> None:
    """End by a signal, without a core file: it would be of a process that was root.  Comes back where none ends us."""
    import resource  # noqa: PLC0415 - most payloads end by themselves
    import signal  # noqa: PLC0415

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number in signal.valid_signals():  # 32 and 33 are the C library's own, and not ours to handle
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    os.kill(os.getpid(), number)


def tell(error: BaseException) -> None:
    """Say in one line on standard error why nothing runs: the reason's sentence; the log has all of it."""
    if isinstance(error, Refused):
        from gridwarden.reason_sentences import SENTENCES  # noqa: PLC0415 - hardly any launch is refused

        text = f"{SENTENCES[error.reason]} ({error.reason})"
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
