"""One tree of errors, each with the exit code and the hint that its reader needs.

Exit codes follow sysexits(3) where it has a word for the case; docs/exit-codes.md is the table.
Only ``gridwarden.run`` and the hook programs turn an error into text and an exit code.
"""

from __future__ import annotations


class GridwardenError(Exception):
    """Something gridwarden cannot do; ``str()`` is one line that says what and where.

    ``hint`` says what to do next, in one line, or is empty.
    """

    exit_code = 70  # EX_SOFTWARE

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class BadQuestion(GridwardenError):
    """A command line or a whoran question that has no single reading."""

    exit_code = 2


class Refused(GridwardenError):
    """An identity, credential or request that is denied, for a ``gridwarden.reasons`` reason."""

    exit_code = 77  # EX_NOPERM

    def __init__(self, reason: str, detail: str, hint: str = "") -> None:
        super().__init__(f"{reason}: {detail}", hint)
        self.reason = reason
        self.detail = detail


class ConfigurationError(GridwardenError):
    """site.yaml, the node file, or a file that they name cannot be used.

    ``faults`` are all that were found, one line each (``file:line: key: what``).
    """

    exit_code = 78  # EX_CONFIG

    def __init__(self, faults: list[str] | str, hint: str = "") -> None:
        self.faults = [faults] if isinstance(faults, str) else faults
        super().__init__("\n".join(self.faults), hint)


class EvidenceError(GridwardenError):
    """A record could not be made durable, or a ledger does not verify."""

    exit_code = 74  # EX_IOERR


class Unavailable(GridwardenError):
    """Something outside gridwarden (a directory, a batch system, a store) does not answer now."""

    exit_code = 75  # EX_TEMPFAIL
