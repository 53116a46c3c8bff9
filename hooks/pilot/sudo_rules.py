"""What sudo's rules mean for the launcher: who may start it, and with which options.

Options come from ``cvtsudoers -e -f json`` (sudo 1.9, cvtsudoers(1)), which reads files but no LDAP; who may run what is
asked of sudo itself, which knows of all sources.
"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

from gridwarden.errors import Unavailable
from gridwarden.mapper.sharing import Risk

if TYPE_CHECKING:
    from collections.abc import Iterable

SUDO, CVTSUDOERS, VISUDO, SUDOERS = "/usr/bin/sudo", "/usr/bin/cvtsudoers", "/usr/sbin/visudo", "/etc/sudoers"
SECONDS = 20.0
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
ALL = "ALL"
# What sudo does where nothing is said (sudoers(5), 1.9); use_pty is on since 1.9.14 only.
UNSAID: dict[str, Any] = {"pam_session": True, "pam_setcred": True, "env_reset": True, "authenticate": True}
# Options under which the launcher does not work, or not as its callers and the site expect.
AMISS: dict[str, tuple[object, str]] = {
    "authenticate": (True, "asks for a password, which a pilot has not: NOPASSWD is missing"),
    "requiretty": (True, "asks for a terminal, which a batch job has not"),
    "setenv": (True, "lets the caller set variables of a program that runs as root"),
    "env_reset": (False, "hands the caller's variables to a program that runs as root"),
    "noexec": (True, "keeps the launcher from starting anything"),
    "intercept": (True, "puts a library of sudo's into every payload"),
    "log_subcmds": (True, "puts a library of sudo's into every payload"),
    "pam_session": (True, "opens a session of root's besides the account's; pam_systemd in it leaves the batch job"),
    **dict.fromkeys(
        ("log_input", "log_output", "log_stdin", "log_stdout", "log_stderr", "log_ttyin", "log_ttyout"),
        (True, "keeps a copy of what payloads read or write"),
    ),
}
SET_AT_ALL = {
    "command_timeout": "ends payloads by a time of sudo's",
    "timeout": "ends payloads by a time of sudo's",
    "runchroot": "runs the launcher in another root",
    "runcwd": "takes the payload's working directory away",
}


def read() -> dict[str, Any]:
    """All rules of this machine's files; raises Unavailable when sudo's own program cannot read them."""
    done = _ask([CVTSUDOERS, "-e", "-f", "json", SUDOERS])
    try:
        document = json.loads(done.stdout)
    except ValueError:
        document = None
    if done.returncode or not isinstance(document, dict):
        raise Unavailable(f"{SUDOERS}: {done.stderr.strip() or 'cvtsudoers says nothing'}", "visudo -c")
    return document


def may_run(account: str, *command: str) -> bool:
    """Whether sudo lets ``account`` run ``command`` as root; raises Unavailable when it does not answer."""
    return _ask([SUDO, "-n", "-l", "-U", account, *command]).returncode == 0


def faults() -> str:
    """What visudo finds wrong in syntax, owner and mode of the files; empty if nothing."""
    done = _ask([VISUDO, "-c"])
    wrong = [line for line in (done.stdout + done.stderr).splitlines() if not line.endswith("parsed OK")]
    return "; ".join(wrong) if done.returncode or wrong else ""


def _ask(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="backslashreplace",
            check=False,
            timeout=SECONDS,
            env=ENVIRONMENT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{command[0]}: {error}", "install sudo 1.9 or newer") from error


def options_for(document: dict[str, Any], program: str, names: Iterable[str]) -> dict[str, Any]:
    """The options in force for ``program``, started by one whose account and groups are ``names``; pure.

    In sudo's order: defaults of all, of the user, of root as target, of the command, then those of the rule itself.  What is
    said for one host counts as said for this one.
    """
    callers = {*names, ALL}
    options = dict(UNSAID)
    for which in (_for_all, _for_user, _for_root, _for_command):
        for default in document.get("Defaults", []):
            if which(default.get("Binding", []), callers, program):
                options |= _merged(default)
    for spec in document.get("User_Specs", []):
        if _named(spec.get("User_List", [])) & callers:
            for rule in spec.get("Cmnd_Specs", []):
                if program in _commands(rule.get("Commands", [])):
                    options |= _merged(rule)
    return options


def judge(options: dict[str, Any], *, groups: bool = False) -> list[Risk]:
    """What is wrong with the options of the launcher's rule, which needs the pilot's ``groups`` or not; pure."""
    wrong = [(name, why) for name, (value, why) in AMISS.items() if options.get(name) is value]
    wrong += [(name, why) for name, why in SET_AT_ALL.items() if options.get(name)]
    if str(options.get("closefrom", "3")) != "3":
        wrong.append(("closefrom", "lets open files of the caller's into a program that runs as root"))
    found = [
        Risk("sudo-option", f"{name} {why}", "take the options of site-configs/pilot/sudoers") for name, why in wrong
    ]
    if groups and not options.get("preserve_groups"):
        why = "preserve_groups is off: the groups of pilot.tracking_groups do not reach the payload"
        found.append(Risk("sudo-option", why, "take the options of site-configs/pilot/sudoers"))
    if not any(options.get(name) for name in ("use_pty", "pam_session", "pam_setcred")):
        why = "sudo replaces itself by the launcher, and the pilot's signals reach nobody"
        found.append(Risk("sudo-option", f"{why}: use_pty, pam_session, pam_setcred are all off", "set pam_setcred"))
    return found


def _merged(part: dict[str, Any]) -> dict[str, Any]:
    return {name: value for option in part.get("Options", []) for name, value in option.items()}


def _named(items: list[dict[str, Any]]) -> set[str]:
    """Users by name and groups as ``%name``; what is negated or by number stands for nobody."""
    users = {str(item["username"]) for item in items if "username" in item and not item.get("negated")}
    return users | {f"%{item['usergroup']}" for item in items if "usergroup" in item and not item.get("negated")}


def _commands(items: list[dict[str, Any]]) -> set[str]:
    """The programs, without what the rule says of their arguments."""
    return {str(item["command"]).split(" ")[0] for item in items if "command" in item and not item.get("negated")}


def _for_all(binding: list[dict[str, Any]], _callers: set[str], _program: str) -> bool:
    return not binding or any("hostname" in item for item in binding)


def _for_user(binding: list[dict[str, Any]], callers: set[str], _program: str) -> bool:
    return bool(_named(binding) & callers)


def _for_root(binding: list[dict[str, Any]], _callers: set[str], _program: str) -> bool:
    return any(item.get("runasuser") in ("root", ALL) for item in binding)


def _for_command(binding: list[dict[str, Any]], _callers: set[str], program: str) -> bool:
    return bool(_commands(binding) & {program, ALL})
