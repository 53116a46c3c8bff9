"""What a pilot asks of the launcher, from its words and its environment, for both faces.

``gridwarden-exec`` takes options; ``glexec`` none, as gLExec 0.9 (its manual page): there variables say it all, and what
they say is the default of the options as well.  Nothing is looked at here but the words themselves.
"""

from __future__ import annotations

import os

from gridwarden.errors import BadQuestion
from gridwarden.tab_file import escape

TYPE_CHECKING = False  # typing's own costs a launch 3 ms, before its verifiers can begin to load
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GLEXEC, EXEC = b"glexec", b"exec"
LONGEST_NAME = 256
VARIABLES = {
    "proxy": b"GLEXEC_CLIENT_CERT",
    "source_proxy": b"GLEXEC_SOURCE_PROXY",
    "target": b"GLEXEC_TARGET_PROXY",
    "pilot_proxy": b"X509_USER_PROXY",
    "pilot_token": b"BEARER_TOKEN_FILE",
    "name": b"GLEXEC_ID",
}
OPTIONS = ("proxy", "token", "pilot-proxy", "pilot-token", "target", "name")
FLAGS = ("check", "renew")


class Request:
    """``arguments`` are the payload's, its program first as the pilot wrote it; ``variables`` the pilot's environment.

    All others are paths, or "", but ``name``, which is what the pilot calls the payload, in printable ASCII.  ``check``
    asks for the decision alone, ``renew`` for new credentials of a payload that runs.
    """

    __slots__ = (
        "arguments", "check", "name", "pilot_proxy", "pilot_token", "proxy", "renew", "source_proxy", "target", "token",
        "variables",
    )  # fmt: skip

    def __init__(
        self, arguments: Sequence[bytes], variables: Mapping[bytes, bytes], given: Mapping[str, str | bool]
    ) -> None:
        self.arguments = tuple(arguments)
        self.variables = variables
        self.proxy = str(given.get("proxy", ""))
        self.token = str(given.get("token", ""))
        self.pilot_proxy = str(given.get("pilot_proxy", ""))
        self.pilot_token = str(given.get("pilot_token", ""))
        self.source_proxy = str(given.get("source_proxy", ""))
        self.target = str(given.get("target", ""))
        self.name = escape(str(given.get("name", "")))[:LONGEST_NAME]
        self.check = given.get("check") is True
        self.renew = given.get("renew") is True


def read(words: Sequence[bytes], variables: Mapping[bytes, bytes]) -> Request:
    """The request; the first of ``words`` is the face.  Raises BadQuestion."""
    face, *rest = words or (b"",)
    if face not in (GLEXEC, EXEC):
        raise BadQuestion("the launcher was called without a face", "pilots call gridwarden-exec or glexec")
    given: dict[str, str | bool] = {
        field: os.fsdecode(value) for field, name in VARIABLES.items() if (value := variables.get(name, b""))
    }
    if face == EXEC:
        given |= options(rest)
    asked = Request(rest, variables, given)
    if not asked.arguments and not (asked.check or asked.renew):
        raise BadQuestion("no program is given", "gridwarden-exec [OPTIONS] -- PROGRAM [ARGUMENTS]")
    if asked.renew and asked.arguments:
        raise BadQuestion("--renew is for a payload that runs: no program goes with it")
    return asked


def options(rest: list[bytes]) -> dict[str, str | bool]:
    """The options in front of the program, which are taken off ``rest``; raises BadQuestion."""
    given: dict[str, str | bool] = {}
    while rest and rest[0].startswith(b"-"):
        word = os.fsdecode(rest.pop(0))
        if word == "--":
            break
        name, equals, value = word.removeprefix("--").partition("=")
        field = name.replace("-", "_")
        if name in FLAGS and not equals:
            given[field] = True
        elif name in OPTIONS and word.startswith("--") and (equals or rest):
            given[field] = value if equals else os.fsdecode(rest.pop(0))
        else:
            raise BadQuestion(
                f"{escape(word)}: is no option, or has no value",
                f"the options are {' '.join(f'--{one}' for one in (*OPTIONS, *FLAGS))}",
            )
    return given
