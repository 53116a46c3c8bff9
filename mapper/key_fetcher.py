"""The process that fetches an issuer's keys: it may use the network, and nothing else.

``gridwarden.mapper.key_refresh`` starts it for one issuer.  It asks that issuer's metadata where the keys are (OpenID
Connect Discovery 1.0, section 4; SciTokens also by RFC 8414), then asks there; https only, no redirections, no proxies.
Its answer is a tab file with ``keys``, a JWK set with only what the site can use, and ``skipped`` where keys of it are
none, or with ``fault``.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - else loaded by the first look-up of a host, in a process that may read nothing
import http.client
import json
import os
import ssl
import sys
from typing import Any
from urllib.parse import urlsplit

from gridwarden import tab_file
from gridwarden.mapper import confine, jws, signatures
from gridwarden.mapper.strict_json import parse_object

READY = b"ready\n"
LONGEST_REMARK = 300
INPUT_LIMIT = 64 * 1024
LONGEST_METADATA = 256 * 1024
METADATA = "/.well-known/openid-configuration"
OTHER_METADATA = "/.well-known/oauth-authorization-server"
PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")


def main() -> None:
    """Answer on descriptor 1 about the request on descriptor 0.

    Arguments: a file of authorities in PEM or nothing for the system's own, and the seconds that a connection may take.
    """
    authorities, seconds = sys.argv[-2:]
    trust = ssl.create_default_context(cafile=authorities or None)
    trust.minimum_version = ssl.TLSVersion.TLSv1_2
    confine.confine(int(seconds), network=True)
    os.write(1, READY)
    try:
        values = tab_file.decode(os.read(0, INPUT_LIMIT))
        keys, skipped = keys_of(values["issuer"][0], tuple(values["algorithms"]), trust, float(seconds))
        answer = [("keys", keys), *([("skipped", skipped)] if skipped else [])]
    except (OSError, ValueError, http.client.HTTPException) as error:
        answer = [("fault", str(error) or type(error).__name__)]
    os.write(1, tab_file.encode(answer))


def keys_of(issuer: str, algorithms: tuple[str, ...], trust: ssl.SSLContext, seconds: float) -> tuple[str, str]:
    """The issuer's JWK set, and a sentence on its keys that are none, or nothing; raises OSError, ValueError and http.client.HTTPException."""
    metadata = parse_object(_metadata(issuer, trust, seconds), LONGEST_METADATA)
    if metadata.get("issuer") != issuer:
        raise ValueError(f"its metadata is that of {str(metadata.get('issuer'))[:200]}")
    address = metadata.get("jwks_uri")
    if not isinstance(address, str):
        raise ValueError("its metadata names no jwks_uri")  # noqa: TRY004 - what was fetched is wrong, not its type
    data = get(address, trust, seconds, jws.LONGEST_KEY_SET)
    read = [jws.read_keys(data, algorithm) for algorithm in algorithms]
    candidates = [found for keys, _ in read for found in keys]
    faults = "; ".join(dict.fromkeys(fault for _, some in read for fault in some))[:LONGEST_REMARK]
    usable = {number for number, _, key in candidates if signatures.is_key(key)}
    if not usable:
        raise ValueError(f"there is no key for {', '.join(algorithms)} in {address}{faults and f': {faults}'}")
    keys: list[dict[str, Any]] = parse_object(data, jws.LONGEST_KEY_SET)["keys"]
    kept = [{name: value for name, value in keys[number].items() if name not in PRIVATE} for number in sorted(usable)]
    return json.dumps({"keys": kept}, separators=(",", ":")), f"{address}: {faults}" if faults else ""


def _metadata(issuer: str, trust: ssl.SSLContext, seconds: float) -> bytes:
    base = issuer.removesuffix("/")
    parts = urlsplit(base)
    addresses = [base + METADATA, f"https://{parts.netloc}{OTHER_METADATA}{parts.path}"]
    try:
        return get(addresses[0], trust, seconds, LONGEST_METADATA)
    except FileNotFoundError:
        return get(addresses[1], trust, seconds, LONGEST_METADATA)


def get(address: str, trust: ssl.SSLContext, seconds: float, longest: int) -> bytes:
    """What is at an https address; raises FileNotFoundError for 404, OSError, ValueError, http.client.HTTPException."""
    parts = urlsplit(address)
    if (
        parts.scheme != "https"
        or not parts.hostname
        or parts.username
        or not address.isascii()
        or not address.isprintable()
    ):
        raise ValueError(f"{address[:200]} is not an https address")
    connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=seconds, context=trust)
    try:
        path = parts.path or "/"
        connection.request(
            "GET", f"{path}?{parts.query}" if parts.query else path, headers={"Accept": "application/json"}
        )
        answer = connection.getresponse()
        if answer.status == http.client.NOT_FOUND:
            raise FileNotFoundError(f"{address}: 404 {answer.reason}")
        if answer.status != http.client.OK:
            raise ValueError(f"{address}: {answer.status} {answer.reason}")
        data = answer.read(longest + 1)
        if len(data) > longest:
            raise ValueError(f"{address}: it is larger than {longest} bytes")
        return data
    finally:
        connection.close()
