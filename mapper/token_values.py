"""Whose tokens the site believes, as plain values; their meaning is declared in gridwarden/token_settings.py."""

from __future__ import annotations

from gridwarden.sha256 import sha256
from gridwarden.values import NamedTuple

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    import os

    from gridwarden.token_settings import Tokens


class Issuer(NamedTuple):
    """One issuer: ``keys`` is the file of its JWK set, ``fetched`` whether ``gridwarden token refresh`` writes it."""

    issuer: str
    kind: str
    algorithms: tuple[str, ...]
    audiences: tuple[str, ...]
    keys: str
    fetched: bool = False
    vo: str = ""


class IdtokenIssuer(NamedTuple):
    """One HTCondor pool: ``keys`` is the directory of its signing keys, each named after its ``kid``."""

    trust_domain: str
    keys: str
    endless: bool = False
    vo: str = ""


class TokenValues(NamedTuple):
    """The section ``tokens``; ``skew`` is in seconds.  ``authorities`` and ``fetch_seconds`` are for fetching keys."""

    issuers: tuple[Issuer, ...] = ()
    idtokens: tuple[IdtokenIssuer, ...] = ()
    skew: int = 60
    unmatched: str = "decline"
    authorities: str | None = None
    fetch_seconds: float = 10

    def vo_of(self, issuer: str) -> str:
        """The VO that the site gives an issuer or trust domain; empty for one that it gives none."""
        vos = {known.issuer: known.vo for known in self.issuers}
        vos |= {known.trust_domain: known.vo for known in self.idtokens}
        return vos.get(issuer, "")


def from_tokens(tokens: Tokens, directory: str | os.PathLike[str]) -> TokenValues:
    """The section as values; the keys of issuers that have no file of their own are kept in ``directory``."""
    return TokenValues(
        issuers=tuple(
            Issuer(
                one.issuer,
                one.kind,
                one.algorithms,
                one.audiences,
                str(one.keys) if one.keys else f"{directory}/{file_name(one.issuer)}",
                fetched=one.keys is None,
                vo=one.vo or "",
            )
            for one in tokens.issuers
        ),
        idtokens=tuple(
            IdtokenIssuer(one.trust_domain, str(one.keys), one.endless, one.vo or "") for one in tokens.idtokens
        ),
        skew=tokens.skew_seconds,
        unmatched=tokens.unmatched,
        authorities=str(tokens.authorities) if tokens.authorities else None,
        fetch_seconds=tokens.fetch_seconds,
    )


def file_name(issuer: str) -> str:
    """The name of the file of an issuer's fetched keys: its host, and what tells it from others there."""
    host = issuer.removeprefix("https://").partition("/")[0].partition(":")[0]
    return f"{host[:100]}-{sha256(issuer.encode()).hexdigest()[:16]}.jwks"
