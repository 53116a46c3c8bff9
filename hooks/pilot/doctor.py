"""What keeps a pilot's payloads from running here, or from running safely: sudo, PAM, files, accounts, kernel.

Changes nothing.  Everything that is asked of the machine is asked of the programs that decide there: sudo, visudo, PAM's files.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from typing import TYPE_CHECKING, NamedTuple

import gridwarden
from gridwarden import pools, trusted
from gridwarden.errors import ConfigurationError
from gridwarden.hooks import code_file
from gridwarden.hooks.pilot import pam_stack, sudo_rules
from gridwarden.mapper.sharing import Risk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gridwarden.hooks.install import HookFile
    from gridwarden.pilot_settings import Caller, Pilot

HOLDING = "proctrack/cgroup"
ANY_PROGRAM = "/bin/true"
MOST_BYTES = 64 * 1024 * 1024
INSTALL = "gridwarden hooks install"
REMOVE = "create it, or take it out of pilot.callers and pilot.accounts"
RULE = "name it in the rule of site-configs/pilot/sudoers"
LOWER = "give it others, or lower pilot.minimum_uid and pilot.minimum_gid"


class Places(NamedTuple):
    """Where the parts are on a node."""

    launcher: str = "/usr/libexec/gridwarden/exec"
    faces: tuple[str, ...] = ("/usr/bin/gridwarden-exec", "/usr/sbin/glexec")
    pam: str = "/etc/pam.d"
    payloads: str = "/run/gridwarden/payloads"
    process: str = "/proc/self"


def examine(pilot: Pilot, places: Places, *, tracking: str | None) -> list[Risk]:
    """All that is wrong, in the order in which a launch would meet it.

    ``tracking`` is Slurm's ProctrackType, "" where that cannot be told, None where its jobs do not run here.  Raises
    Unavailable when sudo does not answer.
    """
    if not pilot.callers:
        return [
            Risk("nobody-may-call", "pilot.callers in site.yaml is empty", "name the pilots that the site registered")
        ]
    callers = {name: caller for caller in pilot.callers for name in sample(caller)}
    if pilot.mode == "log-only":  # which needs neither root nor a session
        return programs(places.faces) + accounts(pilot, callers)
    found = kernel(places.process)
    found += programs((places.launcher, *places.faces)) + modules(f"{places.launcher}.modules")
    found += accounts(pilot, callers)
    found += sudo(places.launcher, callers, groups=pilot.tracking_groups is not None)
    found += jobs(pilot, tracking) if tracking is not None else []
    found += pam(places.pam, pilot.pam_service)
    return found + files(pilot, places.payloads)


def sample(caller: Caller) -> list[str]:
    """Accounts for which sudo is asked: the caller's one, and of a group or a pool one that is there."""
    if caller.account:
        return [caller.account]
    if caller.unix_group:
        try:
            group = grp.getgrnam(caller.unix_group)
        except KeyError:
            return []
        primary = (user.pw_name for user in pwd.getpwall() if user.pw_gid == group.gr_gid)
        return [*group.gr_mem, *primary][:1]
    return [user.pw_name for user in pwd.getpwall() if pools.is_of_pool(user.pw_name, caller.pool or "")][:1]


def kernel(process: str) -> list[Risk]:
    """Where no setuid program works, sudo does not: a container without privileges."""
    found = []
    with open(f"{process}/status", encoding="ascii", errors="replace") as file:
        if any(line.split() == ["NoNewPrivs:", "1"] for line in file):
            why = "this process has no_new_privs, so sudo can switch nobody"
            found.append(
                Risk("no-new-privileges", why, "start pilots outside the container, or use pilot.mode: log-only")
            )
    with open(f"{process}/uid_map", encoding="ascii") as file:
        if file.read().split() != ["0", "0", "4294967295"]:
            why = "this process is in a user namespace, whose root can switch to no account of the machine"
            found.append(Risk("user-namespace", why, "start pilots outside the container, or use pilot.mode: log-only"))
    return found


def stale(files: Sequence[HookFile] | ConfigurationError) -> list[Risk]:
    """``modules`` where ``files``, what `hooks install` would write or why it would not, have been written."""
    planned = () if isinstance(files, ConfigurationError) else files
    here = [file for file in planned if file.path.name in code_file.NEEDED and file.path.with_name("exec").exists()]
    return [risk for file in here for risk in modules(str(file.path), file.data)]


def modules(path: str, made: bytes = b"") -> list[Risk]:
    """A file that the launcher, or hooks, load gridwarden from: there, root's, and of what is installed now.

    ``made`` is such a file of that, for who has it already.
    """
    library = os.path.dirname(os.path.realpath(gridwarden.__path__[0]))
    try:
        made = made or code_file.contents(library, code_file.NEEDED[code_file.LAUNCHER])
        if code_file.is_same(trusted.read_file(path, MOST_BYTES), made):
            return []
    except ConfigurationError as error:
        return [Risk("modules-old", str(error), INSTALL)]
    return [Risk("modules-old", f"{path} is not of the gridwarden and Python that are installed", INSTALL)]


def programs(paths: Sequence[str]) -> list[Risk]:
    """The launcher and its faces: there, root's, executable, and not setuid."""
    found = []
    for path in paths:
        try:
            descriptor = trusted.open_file(os.path.realpath(path))
        except ConfigurationError as error:
            found.append(Risk("program", str(error), error.hint or INSTALL))
            continue
        mode = os.fstat(descriptor).st_mode
        os.close(descriptor)
        if mode & (stat.S_ISUID | stat.S_ISGID):
            found.append(
                Risk("program-setuid", f"{path} is setuid: gLExec itself, or altered", f"remove it, then {INSTALL}")
            )
        elif not mode & stat.S_IXOTH:
            found.append(Risk("program", f"{path} cannot be executed", f"chmod 755 {path}"))
    return found


def accounts(pilot: Pilot, callers: dict[str, Caller]) -> list[Risk]:
    """Callers and fixed accounts that are not on this machine, or are below the least uid and gid."""
    found = [
        Risk("nobody-there", f"no account of {caller.account or caller.unix_group or caller.pool} is on this machine",
             "create it, or take it out of pilot.callers")
        for caller in pilot.callers
        if not sample(caller)
    ]  # fmt: skip
    for name in dict.fromkeys((*callers, *pilot.accounts)):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            found.append(Risk("account-unknown", f"{name} is no account of this machine", REMOVE))
            continue
        if name in pilot.accounts and (user.pw_uid < pilot.minimum_uid or user.pw_gid < pilot.minimum_gid):
            detail = f"{name} has uid {user.pw_uid} and gid {user.pw_gid}; pilot asks for {pilot.minimum_uid} and {pilot.minimum_gid}"
            found.append(Risk("account-privileged", detail, LOWER))
    return found


def sudo(launcher: str, callers: dict[str, Caller], *, groups: bool) -> list[Risk]:
    """The rule: each caller may start the launcher, nothing else, and with options that let it work.

    ``groups``: whether payloads keep some of the pilot's groups.
    """
    status = os.stat(sudo_rules.SUDO) if os.path.exists(sudo_rules.SUDO) else None
    if status is None or status.st_uid or not status.st_mode & stat.S_ISUID:
        return [Risk("sudo", f"{sudo_rules.SUDO} is not there, or not root's and setuid", "install sudo")]
    if os.statvfs(sudo_rules.SUDO).f_flag & os.ST_NOSUID:
        return [Risk("sudo", f"{sudo_rules.SUDO} is on a file system mounted nosuid", "remount it with suid")]
    if faults := sudo_rules.faults():
        return [Risk("sudo-rules", faults, "visudo")]
    if not os.path.exists(launcher):
        return []  # sudo lets nobody run what is not there, and that was said already
    document = sudo_rules.read()
    found: list[Risk] = []
    for name in callers:
        if not _account_exists(name):
            continue
        if not sudo_rules.may_run(name, launcher):
            found.append(Risk("sudo-rule-missing", f"sudo does not let {name} run {launcher}", RULE))
            continue
        if sudo_rules.may_run(name, ANY_PROGRAM):
            found.append(
                Risk("sudo-too-wide", f"sudo lets {name} run anything as root", "leave the launcher's rule alone")
            )
        options = sudo_rules.options_for(document, launcher, [name, *groups_of(name)])
        found += sudo_rules.judge(options, groups=groups)
    return list(dict.fromkeys(found))


def _account_exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def groups_of(account: str) -> list[str]:
    """The groups of an account as sudo writes them."""
    return [f"%{grp.getgrgid(gid).gr_name}" for gid in os.getgrouplist(account, pwd.getpwnam(account).pw_gid)]


def jobs(pilot: Pilot, tracking: str) -> list[Risk]:
    """Pilots that may start payloads that no job's end reaches; Slurm's control groups hold those that detach themselves.

    To refuse them is not the default: docs/launcher.md says why.
    """
    if pilot.outside_jobs == "refuse" or all(caller.service for caller in pilot.callers):
        return []
    why = "pilots may start payloads from outside their batch job; without proctrack/cgroup such a payload has no end"
    if tracking == HOLDING:
        why = f"{HOLDING} holds pilots that detach themselves; who comes in otherwise (ssh, cron) starts payloads in no job"
    return [Risk("outside-jobs", why, "pilot.outside_jobs: refuse; who monitors is an entry with service: true")]


def pam(directory: str, service: str) -> list[Risk]:
    """The service file: without it PAM falls open."""
    name = os.path.join(directory, service)
    try:
        entries = pam_stack.read(directory, service)
    except ConfigurationError as error:
        return [Risk("pam-service", str(error), error.hint or f"copy site-configs/pilot/pam to {name}")]
    return pam_stack.judge(entries, pam_stack.installed(), name)


def files(pilot: Pilot, payloads: str) -> list[Risk]:
    """What a launch reads and writes besides."""
    found = []
    for path in (pilot.environment_file, pilot.epilogue):
        try:
            if path:
                os.close(trusted.open_file(path))
        except ConfigurationError as error:
            found.append(Risk("file", str(error), error.hint or "create it, or take it out of site.yaml"))
    try:
        descriptor = trusted.open_directory(payloads)
    except ConfigurationError as error:
        return [*found, Risk("file", str(error), error.hint or "gridwarden config install")]
    if os.fstat(descriptor).st_mode & 0o077:
        found.append(Risk("file", f"{payloads} is open to others than root", f"chmod 700 {payloads}"))
    os.close(descriptor)
    return found
