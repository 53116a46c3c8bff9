"""What a PAM service file of the launcher's would do: pam.conf(5), with Debian's ``@include``."""

from __future__ import annotations

import os
from typing import NamedTuple

from gridwarden import trusted
from gridwarden.errors import ConfigurationError
from gridwarden.mapper.sharing import Risk

KINDS = ("auth", "account", "password", "session")
DEEPEST = 16
LARGEST = 64 * 1024
# Where distributions keep modules; the architecture's name stands for itself.
MODULES = ("/usr/lib/security", "/usr/lib64/security", "/lib/security", "/lib64/security")
KEYRING = "pam_keyinit.so"
NOTHING_ASKED = frozenset({"pam_permit.so"})
LEAVES_THE_JOB = {
    "pam_systemd.so": "it moves the launcher to a control group of its own, out of the batch job's limits and accounting",
    "pam_slurm_adopt.so": "it moves the launcher to another job, or refuses an account that has none here",
    "pam_elogind.so": "it moves the launcher out of the batch job",
}


class Entry(NamedTuple):
    """One line: its kind (``auth``, ``account``, ``password``, ``session``), its module, and whether it may be missing."""

    kind: str
    module: str
    may_be_missing: bool


def read(directory: str, service: str, depth: int = 0) -> list[Entry]:
    """The entries of a service, included files in their place; raises ConfigurationError for one that cannot be trusted."""
    if depth > DEEPEST:
        raise ConfigurationError(f"{directory}/{service}: files include each other")
    entries: list[Entry] = []
    text = trusted.read_file(os.path.join(directory, service), LARGEST).decode("utf-8", "backslashreplace")
    for line in text.replace("\\\n", " ").splitlines():
        words = line.partition("#")[0].split()
        if not words:
            continue
        if words[0] == "@include" and len(words) == 2:
            entries += read(directory, words[1], depth + 1)
            continue
        kind = words[0].removeprefix("-").lower()
        control, module = _control_and_module(words[1:])
        if kind not in KINDS or not module:
            raise ConfigurationError(f"{directory}/{service}: cannot be read: {line.strip()}")
        if control in ("include", "substack"):
            entries += [entry for entry in read(directory, module, depth + 1) if entry.kind == kind]
        else:
            entries.append(Entry(kind, module, words[0].startswith("-")))
    return entries


def _control_and_module(words: list[str]) -> tuple[str, str]:
    """The control, which may be ``[value=action …]``, and the word after it."""
    if words and words[0].startswith("["):
        for place, word in enumerate(words):
            if word.endswith("]"):
                return "[]", words[place + 1] if place + 1 < len(words) else ""
        return "", ""
    return (words[0], words[1]) if len(words) > 1 else ("", "")


def judge(entries: list[Entry], present: set[str], name: str) -> list[Risk]:
    """What is wrong with the service file ``name``, where the modules ``present`` are installed; pure."""
    found = [
        Risk("pam-falls-open", f"{name} has no line for {kind}: PAM takes /etc/pam.d/other instead", "add one")
        for kind in KINDS
        if not any(entry.kind == kind for entry in entries)
    ]
    missing = [entry for entry in entries if os.path.basename(entry.module) not in present and not entry.may_be_missing]
    found += [
        Risk(
            "pam-module-missing",
            f"{name}: {module} is not installed: no payload could run",
            "install it, or drop its line",
        )
        for module in dict.fromkeys(entry.module for entry in missing)
    ]
    account = {os.path.basename(entry.module) for entry in entries if entry.kind == "account"}
    if account and account <= NOTHING_ASKED:
        remedy = "add pam_nologin, pam_unix and pam_access, as site-configs/pilot/pam has them"
        found.append(Risk("pam-asks-nothing", f"{name} lets every account in", remedy))
    if not any(entry.kind == "session" and os.path.basename(entry.module) == KEYRING for entry in entries):
        kept = f"{name} has no {KEYRING}: payloads keep the pilot's session keyring, with its Kerberos tickets and AFS tokens"
        found.append(Risk("pam-shares-keyring", kept, f"add: session required {KEYRING} force revoke"))
    for entry in entries:
        why = LEAVES_THE_JOB.get(os.path.basename(entry.module)) if entry.kind in ("session", "account") else None
        if why:
            found.append(Risk("pam-leaves-the-job", f"{name}: {entry.module} ({entry.kind}): {why}", "drop its line"))
    return found


def installed(multiarch: str = "/usr/lib") -> set[str]:
    """The names of this machine's modules."""
    below = [f"{multiarch}/{name}/security" for name in os.listdir(multiarch) if "-linux-" in name]
    return {
        name for path in [*MODULES, *below] if os.path.isdir(path) for name in os.listdir(path) if name.endswith(".so")
    }
