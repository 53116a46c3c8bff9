"""A whole proxy file as the verifier gets it: refused with a reason.  Nobody here is anybody, so nothing is believed."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

from gridwarden.errors import ConfigurationError, Refused
from gridwarden.mapper import verifier
from gridwarden.mapper.accepted import Accepted
from tests import forge

CERTIFICATES = Path(mkdtemp(prefix="gridwarden-fuzz-certificates-"))
(CERTIFICATES / "00000000.0").touch()
ACCEPTED = Accepted(legacy_proxies=True, missing_signing_policy=True)


def seeds() -> list[bytes]:
    with TemporaryDirectory() as name:
        directory = Path(name)
        key = forge.new_key(directory / "key")
        empty = forge.extended(b"\x30\x00", forge.common_name(b"a"))
        person = forge.certificate(forge.Holder(forge.sequence(forge.sequence(*[empty] * 6)), key), key, empty)
        old = forge.certificate(person, key, forge.extended(empty, forge.common_name(b"proxy")))
        chains = ((forge.proxy(person, key), person), (old, person), (person,))
        return [forge.write(directory / "proxy", *chain).read_bytes() for chain in chains]


SEEDS = seeds()


def one(data: bytes) -> None:
    try:
        verifier.who_is(data, str(CERTIFICATES), str(CERTIFICATES), ACCEPTED)
    except (Refused, ConfigurationError):
        return
    raise AssertionError("somebody was believed")
