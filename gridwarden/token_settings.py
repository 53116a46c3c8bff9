"""The declaration of the section ``tokens``: whose tokens are believed, and what they must say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from gridwarden.setting_types import AbsolutePath, FaultsError, Section

ISSUER = re.compile(r"https://[a-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9._~/-]*)?")
WORD = re.compile(r"[!-~]{1,1024}")
TRUST_DOMAIN = re.compile(r"[!-+\--~]{1,255}")
Kind = Literal["wlcg", "scitokens"]
Algorithm = Literal["ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"]
Unmatched = Literal["decline", "reject"]


def issuer_url(text: str) -> str:
    """Return ``text``, the URL of an issuer exactly as its tokens write it."""
    if not ISSUER.fullmatch(text):
        raise ValueError("must be an https URL without query, and without a comma, as the tokens' iss writes it")
    return text


def word(text: str) -> str:
    """Return ``text``, which must be one word, as audiences and VOs are."""
    if not WORD.fullmatch(text):
        raise ValueError("must be printable ASCII without blanks")
    return text


def trust_domain(text: str) -> str:
    """Return ``text``, which HTCondor must accept as a TRUST_DOMAIN."""
    if not TRUST_DOMAIN.fullmatch(text):
        raise ValueError("must be printable ASCII without blanks and commas")
    return text


IssuerUrl = Annotated[str, AfterValidator(issuer_url)]
Word = Annotated[str, AfterValidator(word)]
TrustDomain = Annotated[str, AfterValidator(trust_domain)]


class TokenIssuer(Section):
    """One issuer of SciTokens or WLCG tokens."""

    issuer: IssuerUrl = Field(
        description="Its URL, as `iss` in its tokens is written, the last `/` included or not.",
        examples=["https://cms-auth.example.org/"],
    )
    kind: Kind = Field("wlcg", description="Profile of its tokens: `wlcg` (groups in `wlcg.groups`) or `scitokens`.")
    vo: Word | None = Field(
        None,
        description="VO of its people, for rules and reports; their groups alone do not prove one.",
        examples=["cms"],
    )
    algorithms: tuple[Algorithm, ...] = Field(
        ("ES256", "RS256"), description="Signature algorithms that count; no token can choose another."
    )
    keys: AbsolutePath | None = Field(
        None,
        description="File of its public keys (a JWK set), which the site maintains. Without one they are those that "
        "`gridwarden token refresh` fetched from the issuer.",
        examples=["/etc/gridwarden/cms.jwks"],
    )
    audiences: tuple[Word, ...] = Field(
        description="Audiences of this site; a token must be for one of them.",
        examples=[["https://ce.example.org:9619"]],
    )

    @model_validator(mode="after")
    def nothing_empty(self) -> Self:
        """Refuse an issuer none of whose tokens could ever be accepted."""
        faults: list[tuple[tuple[str | int, ...], str]] = [
            ((name,), "must not be empty") for name in ("algorithms", "audiences") if not getattr(self, name)
        ]
        if faults:
            raise FaultsError(faults)
        return self


class IdtokenPool(Section):
    """One HTCondor pool whose IDTOKENS are believed."""

    trust_domain: TrustDomain = Field(
        description="TRUST_DOMAIN of the pool, as `iss` in its tokens is written.", examples=["pool.example.org"]
    )
    keys: AbsolutePath = Field(
        Path("/etc/condor/passwords.d"),
        description="Directory of the pool's signing keys, each file named after its key (`SEC_PASSWORD_DIRECTORY`).",
    )
    vo: Word | None = Field(None, description="VO of its people, for rules and reports.", examples=["cms"])
    endless: bool = Field(
        default=False, description="Whether tokens without `exp`, which `condor_token_create` makes, are accepted."
    )


class Tokens(Section):
    """Whose tokens are believed; nothing is believed of, and nothing fetched from, an issuer that is not here."""

    issuers: tuple[TokenIssuer, ...] = Field((), description="Issuers of SciTokens and WLCG tokens.")
    idtokens: tuple[IdtokenPool, ...] = Field((), description="HTCondor pools whose IDTOKENS are believed.")
    skew_seconds: int = Field(
        60,
        strict=True,
        ge=0,
        le=600,
        description="How far an issuer's clock may be from ours, for `exp`, `nbf` and `iat`.",
        json_schema_extra={"unit": "seconds"},
    )
    authorities: AbsolutePath | None = Field(
        None,
        description="File of certificate authorities (PEM) for the issuers' web servers; without it the system's own.",
        examples=["/etc/gridwarden/issuers-ca.pem"],
    )
    fetch_seconds: float = Field(
        10,
        strict=True,
        gt=0,
        le=300,
        description="How long fetching the keys of one issuer may take.",
        json_schema_extra={"unit": "seconds"},
    )
    unmatched: Unmatched = Field(
        "decline",
        description="What the mapping plugin tells HTCondor-CE or ARC of somebody whom no rule matches: `decline` lets "
        "their other mappings decide, `reject` ends it. Bans and refusals always reject.",
    )

    @model_validator(mode="after")
    def each_once(self) -> Self:
        """Refuse an issuer that stands twice: which of the two counts would be a guess."""
        names = [one.issuer for one in self.issuers] + [one.trust_domain for one in self.idtokens]
        places = [("issuers", place) for place in range(len(self.issuers))]
        places += [("idtokens", place) for place in range(len(self.idtokens))]
        faults: list[tuple[tuple[str | int, ...], str]] = [
            (place, f"{name!r} stands here for the second time")
            for index, (name, place) in enumerate(zip(names, places, strict=True))
            if name in names[:index]
        ]
        if faults:
            raise FaultsError(faults)
        return self
