"""Having a credential understood by a process without rights: start it, read what it says, believe none of it unseen."""

from __future__ import annotations

import os
import sys

import gridwarden
from gridwarden import reasons, tab_file
from gridwarden.errors import ConfigurationError, Refused, Unavailable
from gridwarden.mapper import identity
from gridwarden.mapper.child import end, read_until_end
from gridwarden.values import NamedTuple

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Start = Callable[[str, Sequence[str], bytes, float], "Verifier"]

ANSWER_LIMIT = 128 * 1024
DETAIL_LIMIT = 2000
READY = b"ready\n"
KILLED = -9  # by SIGKILL, as the kernel does where memory is short
# The package that runs is the package that verifies, also in a checkout; the standard library comes first.
_CODE = os.path.dirname(os.path.dirname(os.path.abspath(gridwarden.__file__)))
_START = "import sys; sys.path.append(sys.argv[1]); __import__(sys.argv[2], fromlist=['main']).main()"
_REFUSALS = frozenset(
    {
        reasons.CREDENTIAL_MALFORMED,
        reasons.CREDENTIAL_EXPIRED,
        reasons.CREDENTIAL_UNTRUSTED,
        reasons.CREDENTIAL_REVOKED,
        reasons.CREDENTIAL_AUDIENCE,
        reasons.CREDENTIAL_LIFETIME,
        reasons.VOMS_EXPIRED,
        reasons.VOMS_FORGED,
        reasons.VOMS_UNTRUSTED,
    }
)


class Verifier(NamedTuple):
    """A process that has been given a credential: its pid, where its answer comes from, how it was started.

    ``pid`` is 0 where the process is a child of another one, which whoever started that ends.
    """

    pid: int
    reading: int
    command: list[str]
    seconds: float


def start(module: str, arguments: Sequence[str], presented: bytes, seconds: float) -> Verifier:
    """Start ``module.main`` as a verifier of the credential ``presented``; ``answer`` must follow.

    Its arguments are ``arguments`` and the whole seconds of processor time that it may take.  Raises OSError.
    """
    source = os.memfd_create("credential")
    reading, writing = os.pipe()
    # -B: a bytecode file written now would be written by root into the installed package.
    command = [sys.executable, "-ISB", "-c", _START, _CODE, module, *arguments, str(-int(-seconds // 1))]
    try:
        view = memoryview(presented)
        while view:
            view = view[os.write(source, view) :]
        os.lseek(source, 0, os.SEEK_SET)
        pid = os.posix_spawn(
            sys.executable,
            command,
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
    return Verifier(pid, reading, command, seconds)


def answer(verifier: Verifier, shown: str, doing: str = "verified", limit: int = ANSWER_LIMIT) -> bytes:
    """What the verifier says, and its end; ``shown`` names the credential in errors, ``doing`` what is done with it.

    Raises Refused (credential-timeout, credential-malformed) and Unavailable, also for one that was killed: by whom or for
    want of memory, that is the machine's fault.
    """
    milliseconds = status = 0
    try:
        said = read_until_end(verifier.reading, limit, verifier.seconds)
        milliseconds = 100
    except TimeoutError as error:
        detail = f"{shown}: not {doing} within {verifier.seconds} s"
        raise Refused(reasons.CREDENTIAL_TIMEOUT, detail) from error
    except ValueError as error:
        raise Refused(reasons.CREDENTIAL_MALFORMED, f"{shown}: the verifier said {error}") from error
    finally:
        os.close(verifier.reading)
        status = end(verifier.pid, milliseconds) if verifier.pid else 0
    if not said.startswith(READY):
        import shlex  # noqa: PLC0415 - loads re, for this sentence alone

        by_hand = f"run it by hand: {shlex.join(verifier.command)} < /dev/null" if verifier.pid else ""
        raise Unavailable(f"the credential verifier did not start (exit status {status})", by_hand)
    if len(said) == len(READY) and (status == KILLED or not verifier.pid):
        raise Unavailable(
            f"{shown}: its verifier was killed before it was {doing}", "see the kernel's log: is memory short?"
        )
    if len(said) == len(READY):
        raise Refused(reasons.CREDENTIAL_MALFORMED, f"{shown}: it could not be {doing} (exit status {status})")
    return said[len(READY) :]


def judge(said: bytes, shown: str, scheme: str) -> identity.Identity:
    """The identity of ``scheme`` in a verifier's answer; raises Refused, and ConfigurationError for the site's files."""
    try:
        values = tab_file.decode(said)
        if "fault" in values:
            raise ConfigurationError(_sentence(values["fault"]), _sentence(values.get("hint", [""])))
        if "refused" in values:
            (reason,) = values["refused"]
            if reason not in _REFUSALS:
                raise ValueError("an unknown reason")
            raise Refused(reason, f"{shown}: {_sentence(values['detail'])}")
        return identity.from_answer(values, scheme)
    except (ValueError, KeyError) as error:
        raise Refused(reasons.CREDENTIAL_MALFORMED, f"{shown}: verifying it gave no clear answer: {error}") from error


def _sentence(lines: list[str]) -> str:
    text = lines[0][:DETAIL_LIMIT]
    # Names in slash form come escaped already.
    return text if text.isascii() and text.isprintable() else tab_file.escape(text)
