"""A glexec.conf, and what becomes of each of its keys here.

Source: glexec.conf(5) of gLExec 0.7 to 0.9 and configurations of sites.  An ini file, of which only the section
``[glexec]`` counts; lists are separated by commas, and a name after a dot is a pool's.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from gridwarden.errors import ConfigurationError
from gridwarden.pilot_settings import variable
from gridwarden.pools import is_account_name

if TYPE_CHECKING:
    from collections.abc import Callable

HONOURED, REPLACED, REFUSED = "honoured", "replaced", "refused"
SECTION = "glexec"
LONGEST_EPILOGUE = 3600  # seconds


class Line(NamedTuple):
    """One ``key = value`` of the section, and where it stands."""

    number: int
    key: str
    value: str


class Fate(NamedTuple):
    """What becomes of a key: one of HONOURED, REPLACED, REFUSED; why; and what it adds to ``pilot`` of site.yaml."""

    verdict: str
    detail: str
    settings: dict[str, Any] = {}  # noqa: RUF012 - never changed


def read(data: bytes, name: str) -> list[Line]:
    """The lines of the section ``[glexec]``; raises ConfigurationError with every fault (``name:line: what``)."""
    lines: list[Line] = []
    faults: list[str] = []
    section = None
    for number, text in enumerate(data.decode("utf-8", "surrogateescape").splitlines(), 1):
        stripped = text.strip()
        if not stripped or stripped[0] in "#;":
            continue
        if stripped[0] == "[":
            section = stripped[1:].partition("]")[0].strip()
            continue
        key, equals, value = stripped.partition("=")
        if section is None or not equals or not key.strip():
            faults.append(f"{name}:{number}: is neither [section] nor key = value below one")
        elif section == SECTION:
            lines.append(Line(number, key.strip(), value.strip().strip('"')))
    if faults:
        raise ConfigurationError(faults, "gLExec would not have started with it either")
    if section is None or not lines:
        raise ConfigurationError(f"{name}: has no key below [{SECTION}]", "name a glexec.conf, not an lcmaps.db")
    return lines


def judge(lines: list[Line]) -> list[tuple[Line, Fate]]:
    """What becomes of each line; of a key that stands twice the second is refused, since parsers disagree on it."""
    seen: dict[str, int] = {}
    judged = []
    for line in lines:
        first = seen.setdefault(line.key, line.number)
        if first != line.number:
            fate = Fate(REFUSED, f"stands in line {first} already, and nothing says which of them counts")
        else:
            fate = KEYS.get(line.key, _unknown)(line.value)
        judged.append((line, fate))
    return judged


def section_of(judged: list[tuple[Line, Fate]], fqans: tuple[str, ...] = ()) -> dict[str, Any]:
    """The values for ``pilot`` of site.yaml that the honoured lines make; a caller's own proxy must have one of ``fqans``."""
    section: dict[str, Any] = {}
    for _, fate in judged:
        section |= fate.settings
    if fqans and "callers" in section:
        section["callers"] = [caller | {"fqan": list(fqans)} for caller in section["callers"]]
    return section


def _words(value: str) -> list[str]:
    return [word for word in re.split(r"[,\s]+", value) if word]


def _callers(value: str) -> Fate:
    names = _words(value)
    if not names:
        return Fate(HONOURED, "nobody may call, as here without pilot.callers")
    if "*" in names:
        return Fate(
            REFUSED, "everybody may call: name the accounts or pools of the pilots that the site has registered"
        )
    callers = [{"pool": name[1:]} if name.startswith(".") else {"account": name} for name in names]
    wrong = [name for name in names if not is_account_name(name.removeprefix("."))]
    if wrong:
        return Fate(REFUSED, f"{wrong[0]} is not the name of an account")
    return Fate(
        HONOURED,
        "each must show a credential of its own, too: say what it must meet (--fqan), or that it is a service",
        {"callers": callers},
    )


def _preserved(value: str) -> Fate:
    names = _words(value)
    if value == "no" or not names:  # "no" is in configurations of sites, where it kept nothing
        return Fate(HONOURED, "nothing is kept but TZ")
    for name in names:
        try:
            variable(name)
        except ValueError as error:
            return Fate(REFUSED, f"{name} {error}")
    return Fate(HONOURED, "these, and TZ", {"preserve": names})


def _epilogue(value: str) -> Fate:
    if not value.startswith("/"):
        return Fate(REFUSED, "is not an absolute path")
    return Fate(HONOURED, "runs as root once the payload and its descendants are gone", {"epilogue": value})


def _epilogue_seconds(value: str) -> Fate:
    if not (value.isascii() and value.isdigit() and 0 < int(value) <= LONGEST_EPILOGUE):
        return Fate(REFUSED, f"is not a number of seconds from 1 to {LONGEST_EPILOGUE}")
    return Fate(HONOURED, "then it is killed", {"epilogue_seconds": float(value)})


def _only(allowed: str, because: str) -> Callable[[str], Fate]:
    """Honour one value and refuse any other."""

    def fate(value: str) -> Fate:
        return Fate(HONOURED, f"as always here: {because}") if value == allowed else Fate(REFUSED, because)

    return fate


def _by(what: str) -> Callable[[str], Fate]:
    return lambda _: Fate(REPLACED, what)


def _linger(value: str) -> Fate:
    if value == "yes":
        return Fate(HONOURED, "the launcher always waits for the payload")
    return Fate(
        REPLACED, "the launcher always waits: it ends what the payload leaves, and records its end and its CPU time"
    )


def _unknown(_: str) -> Fate:
    return Fate(REFUSED, "is no key of glexec.conf that gridwarden knows")


POLICY = "policy, bans and pools of site.yaml; map files that LCMAPS reads can be named there: docs/map-files.md"
SYSLOG = "one line of syslog (authpriv) for each decision, and the ledger: docs/syslog.md"
SEEN_WHOLE = "the credential is replaced as one step (rename), so that a reader needs no lock"
KEYS: dict[str, Callable[[str], Fate]] = {
    "user_white_list": _callers,
    "omission_private_key_white_list": lambda value: (
        Fate(REFUSED, "a certificate without its key proves nothing of who shows it; give the whole proxy, or a token")
        if value
        else Fate(HONOURED, "as always here: nobody may leave the private key out")
    ),
    "preserve_env_variables": _preserved,
    "create_target_proxy": _only("yes", "the payload gets the credential that the caller names for it; name none where it is to get none"),
    "linger": _linger,
    "user_identity_switch_by": _by("the launcher's own switch; pilot.mode says whether there is one"),
    "epilogue": _epilogue,
    "epilogue_timeout": _epilogue_seconds,
    "epilogue_user": _only("root", "the epilogue runs as root"),
    "epilogue_group": _only("root", "the epilogue runs as root, in root's group"),
    "target_lock_mechanism": _by(SEEN_WHOLE),
    "input_lock_mechanism": _by("the file is opened once and read whole within two seconds; a torn one is refused"),
    "lock_mechanism": _by(SEEN_WHOLE),
    "silent_logging": _only("no", "whatever is decided is recorded"),
    "use_lcas": _by(POLICY),
    **dict.fromkeys(("log_destination", "log_file", "log_level", "syslog_facility"), _by(SYSLOG)),
    **dict.fromkeys(
        (f"{which}_{what}" for which in ("lcas", "lcmaps") for what in ("log_file", "debug_level", "log_level", "log_destination")),
        _by(SYSLOG),
    ),
    **dict.fromkeys(
        ("lcas_db_file", "lcmaps_db_file", "lcmaps_get_account_policy", "lcmaps_verify_account_policy"), _by(POLICY)
    ),
}  # fmt: skip
