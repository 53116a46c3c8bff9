"""The declaration of the section ``followed``: files of bans and policy that somebody else publishes for the site."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

from pydantic import AfterValidator, Field

from gridwarden.setting_types import AbsolutePath, Section, Text, WholeHours

SPKI_ED25519 = bytes.fromhex("302a300506032b6570032100")
"""What stands before the 32 bytes of the key in a SubjectPublicKeyInfo (RFC 8410 section 4)."""


def ed25519_key(text: str) -> str:
    """Return ``text``, the base64 of an Ed25519 public key as ``openssl pkey -pubout`` prints it between its lines."""
    try:
        whole = base64.b64decode(text, validate=True)
    except binascii.Error:
        whole = b""
    if len(whole) != len(SPKI_ED25519) + 32 or not whole.startswith(SPKI_ED25519):
        raise ValueError("is not an Ed25519 public key; write the middle line of what openssl pkey -pubout prints")
    return text


class Followed(Section):
    """A file that is copied from another path while its signature, by a key of the publisher, holds.

    The publisher's first line is ``# version: 2026-11-22T04:00:00Z NAME``, the time of publication and what the file is;
    the signature is the file's name with ``.sig``.
    """

    path: AbsolutePath = Field(
        description="The copy on this machine, which `bans`, `ban_lists` or a rule's `map_file` names, or a file of "
        "site.d with a policy. `gridwarden follow` writes it.",
        examples=["/etc/gridwarden/bans.ngi"],
    )
    source: AbsolutePath = Field(
        description="Where the publisher's file appears; beside it stands its signature.",
        examples=["/cvmfs/config.example.org/bans"],
    )
    key: Annotated[str, AfterValidator(ed25519_key)] = Field(
        description="The publisher's Ed25519 public key: the middle line of `openssl pkey -pubout`.",
        examples=["MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="],
    )
    name: Text | None = Field(
        None,
        description="What the signed first line must say that the file is, so that no other file by the same key passes "
        "for it; without it the last part of `source`.",
        examples=["example-ngi-bans"],
    )
    alarm_hours: WholeHours = Field(
        24,
        description="How old the version may be before `gridwarden follow` and `doctor` give alarm; "
        "the publisher signs anew more often than that.",
    )

    @property
    def signed_name(self) -> str:
        """What the first line must say that the file is."""
        return self.name or self.source.name
