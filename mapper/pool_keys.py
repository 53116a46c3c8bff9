"""The signing keys of an HTCondor pool, and which of them signed an IDTOKEN.

From HTCondor 23.9.6, src/condor_utils/store_cred.cpp (getTokenSigningKey) and src/condor_io/condor_auth_passwd.cpp:
a key file is scrambled with a fixed pattern; the key named POOL counts twice over; HKDF (RFC 5869) makes the HS256 key of
it.  Keys in use as passwords from before 9.0 (SEC_TOKEN_POOL_SIGNING_KEY_IS_PASSWORD) are not known here.

The calling process, which may read the keys, looks at no part of the token but where its last dot is.
"""

from __future__ import annotations

import hmac
import os
from base64 import urlsafe_b64encode

from gridwarden import trusted

POOL = "POOL"
MOST_KEYS = 64
LONGEST_KEY = 64 * 1024
_SCRAMBLE = b"\xde\xad\xbe\xef"


def signers(token: bytes, directory: str | os.PathLike[str]) -> list[str]:
    """The names of the keys in ``directory`` that signed ``token``; raises ConfigurationError."""
    signed, _, signature = token.rpartition(b".")
    os.close(trusted.open_directory(directory))
    names = sorted(name for name in os.listdir(directory) if not name.startswith(".") and " " not in name)
    keys = [(name, trusted.read_file(os.path.join(directory, name), LONGEST_KEY)) for name in names[:MOST_KEYS]]
    # Everybody knows an empty key.
    return [name for name, key in keys if key and hmac.compare_digest(_signature(signed, key, name), signature)]


def _signature(signed: bytes, scrambled: bytes, name: str) -> bytes:
    key = bytes(byte ^ _SCRAMBLE[place % 4] for place, byte in enumerate(scrambled))
    mac = hmac.digest(_jwt_key(key * 2 if name == POOL else key), signed, "sha256")
    return urlsafe_b64encode(mac).rstrip(b"=")


def _jwt_key(key: bytes) -> bytes:
    """HKDF with SHA-256, one block."""
    return hmac.digest(hmac.digest(b"htcondor", key, "sha256"), b"master jwt\x01", "sha256")
