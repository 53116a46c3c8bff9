"""Verifiers that cannot hide that they load code after they gave up their rights.

A verifier is nobody then, and where nobody may read the interpreter's library an import refuses whoever presented the
credential.  Elsewhere it works, and among refusals it would pass for one; so here each is told apart by an audit hook.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Self

from gridwarden.mapper import verifying

LATE = b"loaded late: "
_CONFINED = f"""
import os, sys
sys.path.append(sys.argv[1])
from gridwarden.mapper import confine
really = confine.confine
def late(event, values):
    if event in ("import", "ctypes.dlopen"):
        os.write(1, {LATE!r} + str(values[0]).encode())
        os._exit(1)
def confined(*seconds, **network):
    really(*seconds, **network)
    sys.addaudithook(late)
confine.confine = confined
"""
# Instead of ``verifying._START``: the real verifier, watched.
START = f"{_CONFINED}__import__(sys.argv[2], fromlist=['main']).main()"

_MANY = f"""{_CONFINED}
import time
from gridwarden import tab_file
from gridwarden.errors import ConfigurationError, Refused
from gridwarden.mapper import token_request, token_verifier
confine.confine(60)
while size := sys.stdin.buffer.read(4):
    try:
        request = token_request.decode(sys.stdin.buffer.read(int.from_bytes(size)))
        answer = token_verifier.who_is(request, int(time.time()))
    except Refused as refusal:
        answer = [("refused", refusal.reason), ("detail", refusal.detail)]
    said = tab_file.encode(answer)
    os.write(1, len(said).to_bytes(4) + said)
"""


class TokenVerifier:
    """One confined process for many tokens: a verifier of its own for each would cost far more than what it does."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-ISB", "-c", _MANY, verifying._CODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=60)

    def answer(self, request: bytes) -> bytes:
        """What the verifier of tokens says of one request."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(len(request).to_bytes(4) + request)
        self._process.stdin.flush()
        size = self._process.stdout.read(4)
        assert size != LATE[:4], size + self._process.stdout.read()
        assert size, "the verifier ended without an answer"
        return self._process.stdout.read(int.from_bytes(size))
