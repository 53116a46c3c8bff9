"""Why a process lives, or is a stray: the words of verdicts, records and reports, strongest first.

Stable like those of ``gridwarden.reasons``; plain strings, since hooks import them.
"""

from __future__ import annotations

IN_JOB_CGROUP = "in-job-cgroup"
JOB_SESSION = "job-session"
BELOW_JOB_ROOT = "below-job-root"
BELOW_BATCH_DAEMON = "below-batch-daemon"
EXEMPT_USER = "exempt-user"
EXEMPT_COMMAND = "exempt-command"
EXEMPT_CGROUP = "exempt-cgroup"
LOGIN_SESSION = "login-session"
SUBMIT_HELPER = "submit-helper"
OUTSIDER = "outsider"
UNKNOWN = "unknown"
LEFT_ITS_JOB = "left-its-job"
NO_JOB = "no-job"

SENTENCES = {
    IN_JOB_CGROUP: "it is in the control group of a live job",
    JOB_SESSION: "it is in a session of a live job",
    BELOW_JOB_ROOT: "it descends from a process of a live job",
    BELOW_BATCH_DAEMON: "it descends from a batch daemon, which runs as root from its configured file",
    EXEMPT_USER: "the site exempts its account",
    EXEMPT_COMMAND: "the site exempts the file that it executes",
    EXEMPT_CGROUP: "the site exempts its control group",
    LOGIN_SESSION: "it is in a login session, which the site spares",
    SUBMIT_HELPER: "it is a helper of a submit command, which the site allows",
    OUTSIDER: "somebody outside the pools runs it, and only shares a uid with the account",
    UNKNOWN: "it cannot be told whether a job accounts for it",
    LEFT_ITS_JOB: "a job of its account runs here, and nothing ties it to that job",
    NO_JOB: "no job of its account runs here",
}
