"""What the verifier of tokens is told: the token, and what the site believes of each issuer."""

from __future__ import annotations

from gridwarden import tab_file
from gridwarden.values import NamedTuple


class Trusted(NamedTuple):
    """One issuer.

    ``words`` are the algorithms that count, or for ``kind`` idtokens the names of the keys that signed this token;
    ``keys`` is its JWK set as it is in the file, empty while there is none; ``fault`` is why its keys cannot be used.
    """

    issuer: str
    kind: str
    words: tuple[str, ...]
    audiences: tuple[str, ...] = ()
    keys: bytes = b""
    endless: bool = False
    fault: str = ""


class Request(NamedTuple):
    """``reference`` names the token where it has no ``jti``; ``skew`` is in seconds."""

    token: bytes
    reference: str
    skew: int
    issuers: dict[str, Trusted]


def encode(token: bytes, reference: str, skew: int, issuers: list[Trusted]) -> bytes:
    """The request's bytes."""
    pairs = [("token", token.decode("latin-1")), ("reference", reference), ("skew", str(skew))]
    for one in issuers:
        pairs += [
            ("issuer", one.issuer),
            ("kind", one.kind),
            ("words", " ".join(one.words)),
            ("audiences", " ".join(one.audiences)),
            ("keys", one.keys.decode("latin-1")),
            ("endless", "yes" if one.endless else "no"),
            ("fault", one.fault),
        ]
    return tab_file.encode(pairs)


def decode(data: bytes) -> Request:
    """The inverse of ``encode``; raises ValueError or KeyError."""
    values = tab_file.decode(data)
    (token,), (reference,), (skew,) = values["token"], values["reference"], values["skew"]
    rows = zip(*(values.get(name, []) for name in Trusted._fields), strict=True)
    trusted = [
        Trusted(
            issuer,
            kind,
            tuple(words.split()),
            tuple(audiences.split()),
            keys.encode("latin-1"),
            endless == "yes",
            fault,
        )
        for issuer, kind, words, audiences, keys, endless, fault in rows
    ]
    return Request(token.encode("latin-1"), reference, int(skew), {one.issuer: one for one in trusted})
