"""The payload's environment, made from nothing: the site's file, what the site lets pass, and what we set.  Pure.

A variable of the pilot's is its own choice, and the payload is somebody else: the dynamic linker, interpreters, shells
and the C library obey many of them before the payload's first instruction.  So only names that the site lists
(``pilot.preserve``) pass, with GLEXEC_*, which gLExec keeps and pilots rely on, and TZ, with sudo's own judgement of
what is safe there (sudoers(5), env_check).
"""

from __future__ import annotations

from gridwarden import reasons, tab_file
from gridwarden.errors import ConfigurationError, Refused
from gridwarden.variables import is_name, is_obeyed

TYPE_CHECKING = False  # typing's own costs a launch 6 ms
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Protocol

    class Entry(Protocol):
        """What a passwd entry says of an account."""

        @property
        def pw_name(self) -> str:
            """Its name."""

        @property
        def pw_dir(self) -> str:
            """Its home."""

        @property
        def pw_shell(self) -> str:
            """Its shell, or nothing."""

    Environment = dict[bytes, bytes]

PATH = b"/usr/local/bin:/usr/bin:/bin"
KEPT_PREFIX = b"GLEXEC_"
LONGEST_VALUE = 128 * 1024 - 1  # of one string, name and all, that execve(2) takes (MAX_ARG_STRLEN)
LARGEST = (
    512 * 1024
)  # all together: a quarter of the stack's usual limit of 8 MiB is what execve(2) takes with arguments
ZONES = b"/usr/share/zoneinfo/"
LOCALE = (b"LANG", b"LANGUAGE", b"LC_")


def build(
    account: Entry,
    site: Mapping[bytes, bytes],
    pilot: Mapping[bytes, bytes],
    preserve: Collection[str],
    *,
    temporary: str,
    proxy: str = "",
    token: str = "",
) -> Environment:
    """The payload's variables.

    ``site`` are those of the site's file (``read_file``), ``pilot`` those of the caller, of which the names in
    ``preserve`` pass; ``proxy`` and ``token`` are the paths of the copies that the payload was given, "" for none.
    Raises Refused (environment-too-large).
    """
    kept = {name: value for name, value in pilot.items() if _passes(name, value, preserve)}
    ours = {
        b"HOME": account.pw_dir,
        b"USER": account.pw_name,
        b"LOGNAME": account.pw_name,
        b"SHELL": account.pw_shell or "/bin/sh",
        b"TMPDIR": temporary,
        b"X509_USER_PROXY": proxy,
        b"BEARER_TOKEN_FILE": token,
    }
    environment = {b"PATH": PATH, **kept, **site}
    for name, text in ours.items():
        environment.pop(name, None)
        if text:
            environment[name] = text.encode("utf-8", "surrogateescape")
    refuse_large(environment)
    return environment


def refuse_large(environment: Mapping[bytes, bytes]) -> None:
    """Raise Refused when a variable, or all of them, are more than a program can be given."""
    sizes = {name: len(name) + len(value) + 2 for name, value in environment.items()}
    longest = max(sizes, key=sizes.__getitem__, default=b"")
    if sizes.get(longest, 0) > LONGEST_VALUE:
        raise Refused(reasons.ENVIRONMENT_TOO_LARGE, f"{_shown(longest)} alone has {sizes[longest]} bytes")
    if sum(sizes.values()) > LARGEST:
        raise Refused(
            reasons.ENVIRONMENT_TOO_LARGE, f"{sum(sizes.values())} bytes, of which {_shown(longest)} {sizes[longest]}"
        )


def read_file(data: bytes, path: str) -> Environment:
    """The variables in the site's file: lines of NAME=VALUE, empty ones and those that begin with # left out.

    What stands behind = is the value as it is, without quotes or expansion.  Raises ConfigurationError naming the
    line that is none.
    """
    found: Environment = {}
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip() or line.lstrip().startswith(b"#"):
            continue
        name, equals, value = line.partition(b"=")
        if not equals or not is_name(name) or b"\0" in value:
            raise ConfigurationError(f"{path}:{number}: is not NAME=VALUE", "no spaces around =, no quotes, no export")
        found[name] = value
    return found


def _passes(name: bytes, value: bytes, preserve: Collection[str]) -> bool:
    """Whether a variable of the pilot's is one of the payload's."""
    if not is_name(name) or is_obeyed(name):
        return False
    if name == b"TZ":
        return is_safe_zone(value)
    if name.startswith(KEPT_PREFIX):
        return True
    # A locale with a slash is a directory from which the C library loads what the pilot put there.
    return name.decode() in preserve and not (name.startswith(LOCALE) and b"/" in value)


def is_safe_zone(value: bytes) -> bool:
    """Whether a TZ names no file outside the system's own time zones."""
    path = value.removeprefix(b":")
    if path.startswith(b"/") and not path.startswith(ZONES):
        return False
    printable = value.isascii() and all(0x21 <= byte < 0x7F for byte in value)
    return printable and b".." not in path.split(b"/") and len(value) < 4096


def _shown(name: bytes) -> str:
    return tab_file.escape(name[:64].decode("utf-8", "surrogateescape"))
