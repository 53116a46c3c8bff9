"""From a proxy file to an identity: read it, have it verified by a process without rights, check what that says.

Nothing of a credential is parsed by the calling process, which is usually root.
"""

from __future__ import annotations

import math
import os
import sys

import gridwarden
from gridwarden import reasons, tab_file, trusted
from gridwarden.errors import ConfigurationError, Refused, Unavailable
from gridwarden.mapper import credential_file, identity, pem
from gridwarden.mapper.child import end, read_until_end

ANSWER_LIMIT = 128 * 1024
DETAIL_LIMIT = 2000
READY = b"ready\n"
# The package that runs is the package that verifies, also in a checkout; the standard library comes first.
_CODE = os.path.dirname(os.path.dirname(os.path.abspath(gridwarden.__file__)))
_START = "import sys; sys.path.append(sys.argv[1]); from gridwarden.mapper.verifier import main; main()"
_REFUSALS = frozenset(
    {
        reasons.CREDENTIAL_MALFORMED,
        reasons.CREDENTIAL_EXPIRED,
        reasons.CREDENTIAL_UNTRUSTED,
        reasons.CREDENTIAL_REVOKED,
        reasons.VOMS_EXPIRED,
        reasons.VOMS_FORGED,
        reasons.VOMS_UNTRUSTED,
    }
)


def verify_proxy(
    path: str | os.PathLike[str],
    *,
    certificates: str | os.PathLike[str],
    vomsdir: str | os.PathLike[str],
    limited_allowed: bool,
    seconds: float,
    caller_uid: int | None = None,
) -> identity.Identity:
    """Whom the proxy file ``path`` proves its holder to be.

    ``certificates`` and ``vomsdir`` are the site's directories, which everybody must be able to read;
    ``seconds`` is how long verifying may take; ``caller_uid`` as in ``credential_file.read``.
    Raises Refused, ConfigurationError where the site's directories cannot be used or others could write there,
    and Unavailable.
    """
    for directory in (certificates, vomsdir):  # what they hold decides whom to believe
        os.close(trusted.open_directory(directory))
    data = credential_file.read(path, caller_uid)
    presented = pem.certificates_only(data) + pem.keys_only(data)
    answer = _ask(presented, os.fspath(certificates), os.fspath(vomsdir), seconds, tab_file.escape(os.fspath(path)))
    return _judge(answer, tab_file.escape(os.fspath(path)), limited_allowed=limited_allowed)


def _ask(presented: bytes, certificates: str, vomsdir: str, seconds: float, shown: str) -> bytes:
    """What a verifier process says about the credential ``presented``; raises Refused and Unavailable."""
    source = os.memfd_create("credential")
    reading, writing = os.pipe()
    try:
        os.write(source, presented)
        os.lseek(source, 0, os.SEEK_SET)
        pid = os.posix_spawn(
            sys.executable,
            # -B: a bytecode file written now would be written by root into the installed package.
            [sys.executable, "-ISB", "-c", _START, _CODE, certificates, vomsdir, str(math.ceil(seconds))],
            {},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, source, 0),
                (os.POSIX_SPAWN_DUP2, writing, 1),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
        )
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(source)
        os.close(writing)
    milliseconds = status = 0
    try:
        answer = read_until_end(reading, ANSWER_LIMIT, seconds)
        milliseconds = 100
    except TimeoutError as error:
        raise Refused(reasons.CREDENTIAL_TIMEOUT, f"{shown}: not verified within {seconds} s") from error
    except ValueError as error:
        raise Refused(reasons.CREDENTIAL_MALFORMED, f"{shown}: the verifier said {error}") from error
    finally:
        os.close(reading)
        status = end(pid, milliseconds)
    if not answer.startswith(READY):
        raise Unavailable(
            f"the credential verifier did not start (exit status {status})",
            f"run it by hand: {sys.executable} -IS -c '{_START}' {_CODE} {certificates} {vomsdir} 2 < /dev/null",
        )
    if len(answer) == len(READY):
        raise Refused(reasons.CREDENTIAL_MALFORMED, f"{shown}: verifying it failed (exit status {status})")
    return answer[len(READY) :]


def _judge(answer: bytes, shown: str, *, limited_allowed: bool) -> identity.Identity:
    """The identity in a verifier's answer, of which nothing is believed unseen; raises Refused."""
    try:
        values = tab_file.decode(answer)
        if "fault" in values:
            raise ConfigurationError(_sentence(values["fault"]))
        if "refused" in values:
            (reason,) = values["refused"]
            if reason not in _REFUSALS:
                raise ValueError("an unknown reason")
            raise Refused(reason, f"{shown}: {_sentence(values['detail'])}")
        person = identity.from_answer(values)
    except (ValueError, KeyError) as error:
        raise Refused(reasons.CREDENTIAL_MALFORMED, f"{shown}: verifying it gave no clear answer: {error}") from error
    if person.limited and not limited_allowed:
        raise Refused(reasons.CREDENTIAL_LIMITED, f"{shown}: a proxy of {person.subject} in it is limited")
    return person


def _sentence(lines: list[str]) -> str:
    text = lines[0][:DETAIL_LIMIT]
    # Names in slash form come escaped already.
    return text if text.isascii() and text.isprintable() else tab_file.escape(text)
