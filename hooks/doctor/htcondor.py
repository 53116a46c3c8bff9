"""What HTCondor's schedd of this machine lets the owners of jobs change that evidence and accounting go by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gridwarden.batch import question
from gridwarden.errors import GridwardenError
from gridwarden.hooks.doctor.finding import WARNING, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

KEPT = ("GlobalJobId", "QDate")
LISTS = (
    "SYSTEM_IMMUTABLE_JOB_ATTRS",
    "IMMUTABLE_JOB_ATTRS",
)  # condor_qedit refuses these (manual: Configuration Macros)
FILE = "/etc/condor/config.d/90-gridwarden.config"
ASK_SECONDS = 10.0


def examine(programs: str) -> Iterator[Finding]:
    """Whether owners can give their jobs another number; nothing where no schedd is to run."""
    if "SCHEDD" not in _words(programs, "DAEMON_LIST"):
        return
    kept = {word.lower() for name in LISTS for word in _words(programs, name)}
    if missing := [name for name in KEPT if name.lower() not in kept]:
        detail = (
            f"owners can change {' and '.join(missing)} of their jobs (condor_qedit), by which accounting knows a job"
        )
        line = f"IMMUTABLE_JOB_ATTRS = $(IMMUTABLE_JOB_ATTRS) {' '.join(missing)}"
        yield Finding("job-id-editable", WARNING, detail, f"echo '{line}' >> {FILE} && condor_reconfig -schedd")


def _words(programs: str, name: str) -> list[str]:
    """The words of a setting; none where it is not set, or HTCondor does not say."""
    try:
        text, well = question.ask([f"{programs}/condor_config_val", name], ASK_SECONDS)
    except GridwardenError:
        return []
    return text.replace(",", " ").split() if well else []
