"""The mapping plugin that HTCondor(-CE) and ARC call: who somebody is comes in, their account goes out.

HTCondor 23.9.6 (src/condor_io/condor_auth_ssl.cpp, StartScitokensPlugins): ``SEC_SCITOKENS_PLUGIN_<name>_COMMAND`` is run
as the user condor once a token is verified, with its payload on standard input and parts of it as ``BEARER_TOKEN_0_*``.
Exit code 0 accepts, and the first word on standard output is the account; 1 declines, so that the next plugin is asked,
and with none left the token's holder is ``scitokens@unmapped``; anything else, a signal too, refuses them.  There is no
time limit but that of the whole authentication.

ARC 7.0.0 (src/hed/shc/legacy/unixmap.cpp, auth_plugin.cpp): ``map_with_plugin`` in arc.conf, with the same meaning of
exit codes and its own time limit.  The claims that are text stand in the environment only; standard input is a pipe that
stays open and empty.  ARC checks the times itself and does not hand them on.  A shell between ARC and this program may drop
variables with a dot in their names (dash does), so they are read where the kernel keeps the shell's.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gridwarden import reasons
from gridwarden.errors import BadQuestion, GridwardenError, Refused, Unavailable
from gridwarden.mapper import site_cache
from gridwarden.tab_file import escape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gridwarden.mapper.identity import Identity
    from gridwarden.mapper.site import SiteValues
    from gridwarden.mapper.token import Asked

ACCEPTED, DECLINED, FAULT = 0, 1, 70
LONGEST_CLAIMS = 64 * 1024
LONGEST_ENVIRONMENT = 8 * 1024 * 1024
LARGEST_CODE = 255
READ_SECONDS = 5.0
COMMAND = "plugin"
VARIABLE = "BEARER_TOKEN_0_"
NOT_OURS = frozenset({reasons.POLICY_NO_MATCH})
NOT_BELIEVED = NOT_OURS | {reasons.CREDENTIAL_UNTRUSTED}  # of claims: an issuer that is not in site.yaml
OPTIONS = ("--config", "--token", "--environment", "--declined")


def main(words: list[str], environment: Mapping[str, str] = os.environ) -> int:
    """Answer on descriptors 1 and 2; the exit code.

    ``--config PATH`` is site.yaml; ``--environment FILE`` reads the claims from an environment (``/proc/PID/environ``)
    and not from descriptor 0; ``--token FILE`` verifies a token instead of believing claims; ``--declined CODE`` is the
    exit code that declines, from 1 to 255.
    """
    os.umask(0o022)
    try:
        options = parse(words)
        site = site_cache.load(Path(options.get("--config", "/etc/gridwarden/site.yaml")))
        account = map_presented(options, environment, site)
    except Refused as refusal:
        complain(refusal)
        if site.tokens.unmatched == "decline" and refusal.reason in (
            NOT_OURS if "--token" in options else NOT_BELIEVED
        ):
            return int(options.get("--declined", DECLINED))
        return refusal.exit_code
    except GridwardenError as error:
        complain(error)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - Python's own exit code would be 1, and somebody else would map them
        complain(GridwardenError(f"unexpected {type(error).__name__}: {error}"))
        return FAULT
    os.write(1, f"{account}\n".encode())
    return ACCEPTED


def parse(words: list[str]) -> dict[str, str]:
    """The options and their values; raises BadQuestion."""
    options: dict[str, str] = {}
    rest = list(words)
    while rest:
        name = rest.pop(0)
        if name not in OPTIONS or not rest:
            raise BadQuestion(f"{name}: the options are {', '.join(OPTIONS)}, each with a value")
        options[name] = rest.pop(0)
    declined = options.get("--declined", "1")
    if not (declined.isascii() and declined.isdigit() and 0 < int(declined) <= LARGEST_CODE):
        raise BadQuestion(f"--declined: must be an exit code from 1 to {LARGEST_CODE}")
    return options


def map_presented(options: dict[str, str], environment: Mapping[str, str], site: SiteValues) -> str:
    """The account of who is presented; raises GridwardenError, of which the ledger and syslog know."""
    verifier = start_verifier(options["--token"], site) if "--token" in options else None
    from gridwarden.mapper import mapping, token  # noqa: PLC0415 - loaded while the verifier works

    try:
        if isinstance(verifier, GridwardenError):
            raise verifier
        if verifier:
            person = token.identity_of(verifier, site, escape(options["--token"]))
        elif "--environment" in options:
            person = from_environment(environment_of(options["--environment"]), site)
        else:
            person = from_standard_input(environment, site)
    except GridwardenError as error:
        mapping.note_failure(error, None, site, COMMAND)
        raise
    return mapping.map_credentials(mapping.Presented(identities=(person,)), site, mapping.Wanted(COMMAND)).account


def start_verifier(path: str, site: SiteValues) -> Asked | GridwardenError:
    """A verifier at work on the token in the file ``path``, or why there is none."""
    from gridwarden.mapper import credential_file, token  # noqa: PLC0415 - claims need neither

    try:
        return token.start(credential_file.read(path, credential_file.caller_uid()), site)
    except GridwardenError as error:
        return error


def from_standard_input(environment: Mapping[str, str], site: SiteValues) -> Identity:
    """Who HTCondor says it is: the token's payload, with which its variables must agree; raises GridwardenError."""
    from gridwarden.mapper.child import read_until_end  # noqa: PLC0415 - ARC needs none of them
    from gridwarden.mapper.claims import from_claims  # noqa: PLC0415
    from gridwarden.mapper.strict_json import parse_object  # noqa: PLC0415

    try:
        claims = parse_object(read_until_end(0, LONGEST_CLAIMS, READ_SECONDS), LONGEST_CLAIMS)
    except ValueError as error:
        raise Refused(reasons.CREDENTIAL_MALFORMED, f"the claims on standard input: {error}") from error
    except TimeoutError as error:
        raise Unavailable(f"standard input did not end within {READ_SECONDS} s", "ARC calls arc-token-map") from error
    for name, claim in (("ISSUER", "iss"), ("SUBJECT", "sub")):
        if environment.get(VARIABLE + name, claims.get(claim)) != claims.get(claim):
            raise Refused(reasons.CREDENTIAL_MALFORMED, f"{VARIABLE}{name} is not {claim} of the claims")
    return from_claims(claims, site)


def environment_of(path: str) -> dict[str, str]:
    """The variables of a process as the kernel shows them; raises Unavailable."""
    try:
        with open(path, "rb") as file:
            variables = os.fsdecode(file.read(LONGEST_ENVIRONMENT)).split("\0")
    except OSError as error:
        raise Unavailable(f"{path}: {(error.strerror or str(error)).lower()}") from error
    pairs = [variable.partition("=") for variable in reversed(variables)]  # of two the first counts, as for getenv
    return {name: value for name, equals, value in pairs if equals}


def from_environment(environment: Mapping[str, str], site: SiteValues) -> Identity:
    """Who ARC says it is; raises Refused."""
    from gridwarden.mapper.claims import from_claims  # noqa: PLC0415 - as above

    if any(name.startswith("BEARER_TOKEN_1_") for name in environment):
        raise Refused(reasons.CREDENTIAL_MALFORMED, "there are two tokens, and nothing says which of them counts")
    claims: dict[str, Any] = {
        "iss": environment.get(f"{VARIABLE}ISSUER"),
        "sub": environment.get(f"{VARIABLE}SUBJECT"),
        "aud": listed(environment, f"{VARIABLE}AUDIENCE_"),
        "scope": " ".join(listed(environment, f"{VARIABLE}SCOPE_")),
        "wlcg.groups": listed(environment, f"{VARIABLE}GROUP_"),
    }
    for name in ("jti", "ver", "wlcg.ver"):
        if value := environment.get(f"{VARIABLE}CLAIM_{name}_0"):
            claims[name] = value
    return from_claims(claims, site, endless=True)


def listed(environment: Mapping[str, str], prefix: str) -> list[str]:
    """The values of ``PREFIX0``, ``PREFIX1`` and so on."""
    values: list[str] = []
    while (value := environment.get(f"{prefix}{len(values)}")) is not None:
        values.append(value)
    return values


def complain(error: GridwardenError) -> None:
    """Tell the caller's log why nobody was mapped, and what to do next."""
    for sentence in filter(None, (str(error), error.hint)):
        os.write(2, f"gridwarden: {escape(sentence)}\n".encode())
