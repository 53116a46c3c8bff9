"""Hand a job script to sbatch as the account that its owner was mapped to, and as nobody else.

Root reads the script from standard input, bounded, and keeps it in memory; a child becomes the account and
only then runs sbatch.  So what the script's ``#SBATCH`` lines or the options ask for is asked with the
account's rights, and nothing of the caller (environment, umask, limits, directory) reaches the job.
"""

from __future__ import annotations

import os
import pwd
import re
import time
from typing import TYPE_CHECKING, NamedTuple

from gridwarden import reasons, syslog_line
from gridwarden.become import as_account
from gridwarden.errors import Refused, Unavailable
from gridwarden.tab_file import escape
from gridwarden.trusted import write_all

if TYPE_CHECKING:
    from pathlib import Path

    from gridwarden.mapper.lease import Lease

SBATCH_SECONDS = 40.0  # less than a hook waits for the account's lock, which is held meanwhile
LONGEST_VALUE = 1024
LONGEST_ANSWER = 500
LONGEST_ERRORS = 65536
NOT_STARTED = b"gridwarden: "
UMASK = 0o022
WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
WORDS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+,:=*/-]*")
TEXT = re.compile(r"[!-,.-~][ -~]*")  # printable ASCII, no "-" first
COUNT = re.compile(r"[0-9]{1,9}")
RANGE = re.compile(r"[0-9]{1,9}(-[0-9]{1,9})?")
TASKS = re.compile(r"[0-9][0-9,:%-]*")
TIME = re.compile(r"[0-9][0-9:-]{0,31}")
MEMORY = re.compile(r"[0-9]{1,12}[KMGT]?")
FEATURES = re.compile(r"[A-Za-z0-9_(\[][A-Za-z0-9._&|()\[\]*,:-]*")
SIGNAL = re.compile(r"([RB]+:)?[A-Za-z0-9]+(@[0-9]{1,9})?")


class Option(NamedTuple):
    """An option of sbatch that callers may use, the values it may have, and what --help says of it."""

    name: str
    pattern: re.Pattern[str]
    metavar: str
    help: str


# Each asks for resources, or names something that the account could name in its script as well.  Absent on
# purpose: whatever changes the user, the environment, the directory, who gets mail, or the job's stamp.
OPTIONS = (
    Option("job-name", TEXT, "NAME", "Name of the job."),
    Option("time", TIME, "[D-]HH:MM:SS", "Limit of the run time."),
    Option("time-min", TIME, "[D-]HH:MM:SS", "Shortest limit that would do."),
    Option("partition", WORDS, "NAMES", "Partition to run in."),
    Option("qos", WORD, "NAME", "Quality of service."),
    Option("account", WORD, "NAME", "Slurm's accounting account, not the Unix one."),
    Option("nodes", RANGE, "N[-M]", "Number of nodes."),
    Option("ntasks", COUNT, "N", "Number of tasks."),
    Option("ntasks-per-node", COUNT, "N", "Number of tasks a node."),
    Option("cpus-per-task", COUNT, "N", "Number of CPUs a task."),
    Option("mem", MEMORY, "SIZE", "Memory a node."),
    Option("mem-per-cpu", MEMORY, "SIZE", "Memory a CPU."),
    Option("tmp", MEMORY, "SIZE", "Temporary disk space a node."),
    Option("gres", WORDS, "LIST", "Generic resources a node, such as gpu:1."),
    Option("constraint", FEATURES, "FEATURES", "Features that the nodes must have."),
    Option("nodelist", FEATURES, "NODES", "Nodes that the job must have."),
    Option("exclude", FEATURES, "NODES", "Nodes that the job must not have."),
    Option("array", TASKS, "INDEXES", "Submit an array with these indexes."),
    Option("dependency", WORDS, "LIST", "Start after other jobs."),
    Option("signal", SIGNAL, "SIGNAL[@SECONDS]", "Signal to send before the time limit."),
    Option("output", TEXT, "PATH", "File for standard output; the account's home if relative."),
    Option("error", TEXT, "PATH", "File for standard error; the account's home if relative."),
)


def read_script(descriptor: int, limit: int) -> bytes:
    """The job script from ``descriptor``, of which no more than ``limit`` bytes and one are read.

    Raises Refused (script-empty, script-too-large, submit-rejected when it is no script).
    """
    parts = []
    left = limit + 1
    while left and (part := os.read(descriptor, min(left, 1 << 20))):
        parts.append(part)
        left -= len(part)
    script = b"".join(parts)
    if not left:
        raise Refused(reasons.SCRIPT_TOO_LARGE, f"it has more than {limit} bytes (slurm.script_maximum_bytes)")
    if not script.strip():
        raise Refused(reasons.SCRIPT_EMPTY, "nothing came on standard input", "end the command with: < SCRIPT")
    if not script.startswith(b"#!"):
        start = script[:20].split(b"\n")[0].decode("utf-8", "backslashreplace")
        raise Refused(reasons.SUBMIT_REJECTED, f'the script begins with "{start}", not with #!')
    return script


def check_options(values: dict[str, str]) -> list[str]:
    """The words for sbatch from the given options (name: value); raises Refused (option-not-allowed)."""
    words = []
    known = {option.name: option for option in OPTIONS}
    for name, value in values.items():
        option = known.get(name)
        if option is None:
            raise Refused(reasons.OPTION_NOT_ALLOWED, f"--{escape(name)}", "gridwarden submit slurm --help")
        if len(value) > LONGEST_VALUE or not option.pattern.fullmatch(value):
            shown = escape(value[:80])
            raise Refused(reasons.OPTION_NOT_ALLOWED, f"--{name} may not be {shown!r}; it is {option.metavar}")
        words.append(f"--{name}={value}")
    return words


def command_line(programs: Path, words: list[str], home: str) -> list[str]:
    """The sbatch command: the caller's words, then ours, since the last of two equal options counts."""
    ours = ["--parsable", f"--chdir={home}", "--export=ALL", "--propagate=NONE"]
    return [f"{programs}/sbatch", *words, *ours]


def submit_as(lease: Lease, script: bytes, words: list[str], programs: Path) -> str:
    """Submit ``script`` as the leased account and return the job's id.

    Raises Refused (submit-rejected, with sbatch's own words) or Unavailable.
    """
    user = pwd.getpwnam(lease.account)
    refuse_groups_not_held(lease)
    file = os.memfd_create("job-script", os.MFD_CLOEXEC)
    try:
        write_all(file, script)
        os.lseek(file, 0, os.SEEK_SET)
        fine, output, errors = _run_as(user, lease.gid, command_line(programs, words, user.pw_dir), file)
    finally:
        os.close(file)
    job = output.decode("ascii", "replace").partition("\n")[0].partition(";")[0]
    if not (fine and job.isdigit()):
        lines = errors.decode("utf-8", "backslashreplace").strip().split("\n")
        said = "; ".join(line.removeprefix("sbatch: ").removeprefix("error: ") for line in lines)  # escaped where shown
        why = said[:LONGEST_ANSWER] or "sbatch printed no job id"
        raise Refused(reasons.SUBMIT_REJECTED, f"{why} (account {lease.account})")
    syslog_line.decision(
        "submit",
        "submitted",
        batch="slurm",
        job=job,
        account=lease.account,
        lease=lease.lease_id,
        subject=lease.subject,
    )
    return job


def refuse_groups_not_held(lease: Lease) -> None:
    """Raise Refused (group-not-held) for a secondary group that the job would not have.

    Slurm keeps the primary group that sbatch runs with, and looks the others up itself.
    """
    missing = set(lease.groups) - set(os.getgrouplist(lease.account, lease.gid))
    if missing:
        shown = ", ".join(map(str, sorted(missing)))
        raise Refused(reasons.GROUP_NOT_HELD, f"{lease.account} is not a member of the groups with gid {shown}")


def environment_of(user: pwd.struct_passwd) -> dict[str, str]:
    """All the environment that sbatch, and through it the job, gets."""
    return {
        "HOME": user.pw_dir,
        "USER": user.pw_name,
        "LOGNAME": user.pw_name,
        "SHELL": user.pw_shell or "/bin/sh",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
    }


def _run_as(user: pwd.struct_passwd, gid: int, command: list[str], script: int) -> tuple[bool, bytes, bytes]:
    """Whether sbatch succeeded, its standard output and its standard error; raises Unavailable.

    A script may ask sbatch to wait for the job's end (``#SBATCH --wait``).  The job's id comes first in any
    case, so that sbatch is not waited for any longer.
    """
    groups = os.getgrouplist(user.pw_name, gid)
    errors = os.memfd_create("sbatch-errors", os.MFD_CLOEXEC)

    def sbatch(output: int) -> None:
        for standard, descriptor in enumerate((script, output, errors)):
            os.dup2(descriptor, standard)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        os.setsid()  # with our terminal, the account's other processes could type into it
        os.umask(UMASK)
        try:
            os.chdir(user.pw_dir)  # only now: root may not be allowed into a home that is on another machine
            os.execve(command[0], command, environment_of(user))  # noqa: S606 - no shell is the point
        except OSError as error:
            os.write(2, NOT_STARTED + f"{error.filename}: {error.strerror}".encode("utf-8", "surrogateescape"))
            os._exit(1)

    deadline = time.monotonic() + SBATCH_SECONDS
    try:
        output, fine = as_account(user.pw_uid, gid, groups, sbatch, SBATCH_SECONDS, lambda said: b"\n" in said)
        said = os.pread(errors, LONGEST_ERRORS, 0)
    finally:
        os.close(errors)
    if said.startswith(NOT_STARTED):
        what = escape(said.removeprefix(NOT_STARTED).decode("utf-8", "surrogateescape"))
        raise Unavailable(
            f"sbatch could not be started as {user.pw_name}: {what}",
            "look at slurm.programs, and at the account's home",
        )
    if not output and time.monotonic() > deadline:
        raise Unavailable(
            f"sbatch did not answer within {SBATCH_SECONDS:g} s",
            f"the job may have been submitted: squeue --user {user.pw_name}",
        )
    return fine or b"\n" in output, output, said
