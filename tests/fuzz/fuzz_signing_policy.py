"""Signing policies: understood, or refused; and no pattern in them takes long, or matches what it does not say."""

from __future__ import annotations

from gridwarden.mapper import signing_policy

SUBJECT = "/DC=org/DC=example/OU=People/CN=Anna Example"
SEEDS = [
    b"# c\n access_id_CA   X509    '/CN=CA'\npos_rights globus CA:sign\ncond_subjects globus '\"/DC=org/*\" \"*a*b*\"'\n",
    b'access_id_CA X509 /CN=CA\r\npos_rights globus CA:sign\r\ncond_subjects globus "/DC=org/?C=example/*"\r\n',
    b"access_id_anybody\nneg_rights globus CA:sign\n",
]


def one(data: bytes) -> None:
    try:
        entries = signing_policy.parse(data)
    except ValueError:
        return
    for entry in entries:
        if signing_policy.permits(entries, entry.authority, SUBJECT, str):
            assert b"CA:sign" in data and b"cond_subjects" in data.lower()
