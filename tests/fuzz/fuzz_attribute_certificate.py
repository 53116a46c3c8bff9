"""VOMS attribute certificates before their signature is looked at: taken apart, or refused with a ValueError."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from gridwarden.mapper import der, voms
from tests import forge


def seeds() -> list[bytes]:
    with TemporaryDirectory() as directory:
        key = forge.new_key(Path(directory, "key"))
        name = forge.extended(b"\x30\x00", forge.common_name(b"a"))
        nobody = forge.Holder(forge.sequence(forge.sequence(b"", b"\x02\x01\x01", b"", name, b"", name)), key)
        server = forge.certificate(forge.Holder(forge.sequence(forge.sequence(*[name] * 6)), key), key, name)
        tag = forge.sequence(*(forge.tlv(der.OCTET_STRING, word) for word in (b"nickname", b"anna", b"cms")))
        tags = forge.sequence(forge.sequence(forge.sequence(forge.sequence(), forge.sequence(tag))))
        generic = forge.extension("1.3.6.1.4.1.8005.100.100.11", tags)
        holder = server or nobody
        return [
            forge.attribute_certificate(holder, server, "cms://voms:1", ("/cms", "/cms/Role=pilot")),
            forge.attribute_certificate(holder, server, "cms://voms:1", ("/cms",), extensions=(generic,)),
        ]


SEEDS = seeds()


def one(data: bytes) -> None:
    try:
        read = voms.AttributeCertificate(data)
    except ValueError:
        return
    assert read.server_certificates and all(f"{fqan}/".startswith(f"/{read.vo}/") for fqan in read.fqans)
    assert all(attribute.isascii() and attribute.isprintable() for attribute in read.generic)
    assert "/" not in read.vo + read.host
