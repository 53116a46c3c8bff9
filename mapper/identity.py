"""Who somebody is to the grid, as values."""

from __future__ import annotations

from gridwarden.values import NamedTuple

MAXIMUM_NAME = 1024
MAXIMUM_FQAN = 255
MAXIMUM_SUB = 255  # OpenID Connect Core 1.0, section 2
MAXIMUM_USER_NAME = 32
MAXIMUM_VALUES = 256
LATEST = 253402300799  # the last second of the year 9999, where X.509's times end
TOKEN_SCHEMES = ("token", "idtoken")
_PRINTABLE = frozenset(map(chr, range(0x20, 0x7F)))
_HEXADECIMAL = frozenset("0123456789abcdef")
_GROUP = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


class Identity(NamedTuple):
    """What a verified credential says.

    ``scheme`` says what the rest means:

    - ``x509``: ``subject`` is the DN in OpenSSL's slash form; ``fqans`` are in the credential's order, without
      ``/Role=NULL`` and ``/Capability=NULL``; ``vo`` is the first FQAN's first component or empty; ``attributes`` are
      VOMS's generic attributes, ``NAME=VALUE (QUALIFIER)`` each.
    - ``token`` (SciTokens, WLCG) and ``idtoken`` (HTCondor's): ``subject`` is ``ISSUER,SUB``, HTCondor-CE's joined
      form, and ``issuer`` its first part, which never holds a comma; ``groups`` are ``wlcg.groups`` in their order,
      ``scopes`` and ``audiences`` the token's; ``vo`` is the one that the site's configuration gives the issuer.
    - ``globus``: ``subject`` is the identity's UUID, ``username`` its name, ``identity_provider`` the provider's
      domain, ``authenticated`` when its holder last proved who they are, in seconds since the epoch.
    - ``local``: ``subject`` is a user name that a trusted caller gives.

    ``credential`` refers to the credential without holding any of it: for X.509 the certificate's serial number in
    hexadecimal and its issuer's DN, for a token ``jti=…``, or ``sha256=…`` of its signed part where it has no jti;
    for a Globus identity ``username=…``; for whom a trusted caller names ``caller=USER verified-by=WHO``.
    ``not_after`` is in seconds since the epoch; 0 where nobody said.
    """

    scheme: str
    subject: str
    fqans: tuple[str, ...]
    vo: str
    credential: str
    not_after: int
    limited: bool
    issuer: str = ""
    groups: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    audiences: tuple[str, ...] = ()
    username: str = ""
    identity_provider: str = ""
    authenticated: int = 0
    attributes: tuple[str, ...] = ()


def as_in_a_dn(text: str) -> str:
    """``text`` as X509_NAME_oneline(3) would write it: each byte that is not ASCII as ``\\xHH``."""
    return "".join(chr(byte) if byte < 0x80 else f"\\x{byte:02X}" for byte in text.encode("utf-8", "surrogateescape"))


def from_answer(values: dict[str, list[str]], scheme: str = "x509") -> Identity:
    """The identity in a verifier's answer, every field checked; raises ValueError naming what is not right.

    ``scheme`` is what the verifier was started for: it cannot answer with another.
    """
    return token_from_answer(values, scheme) if scheme in TOKEN_SCHEMES else _x509_from_answer(values)


def _x509_from_answer(values: dict[str, list[str]]) -> Identity:
    if set(values) - {"fqan", "attribute"} != {"subject", "credential", "not_after", "limited"}:
        raise ValueError("its fields are not those of an identity")
    (subject,), (credential,) = values["subject"], values["credential"]
    (limited,) = values["limited"]
    written, attributes = values.get("fqan", []), tuple(values.get("attribute", ()))
    serial, slash, issuer = credential.partition("/")
    if not is_subject(subject):
        raise ValueError("subject")
    if not (serial and _HEXADECIMAL.issuperset(serial) and is_subject(slash + issuer)):
        raise ValueError("credential")
    if limited not in ("yes", "no"):
        raise ValueError("limited")
    if len(written) > MAXIMUM_VALUES or not all(map(is_fqan, written)):
        raise ValueError("fqan")
    if len(attributes) > MAXIMUM_VALUES or not all(map(_is_attribute, attributes)):
        raise ValueError("attribute")
    fqans = tuple(map(without_null, written))
    vo = fqans[0].split("/")[1] if fqans else ""
    return Identity("x509", subject, fqans, vo, credential, _time(values), limited == "yes", attributes=attributes)


def token_from_answer(values: dict[str, list[str]], scheme: str) -> Identity:
    """The identity that a token's flat claims make, without its VO; raises ValueError naming what is not right.

    ``issuer``, ``sub``, ``credential`` and ``not_after`` stand once each; ``group``, ``scope`` and ``audience`` as
    often as the token has them.
    """
    if set(values) - {"group", "scope", "audience"} != {"issuer", "sub", "credential", "not_after"}:
        raise ValueError("its fields are not those of a token")
    (issuer,), (sub,), (credential,) = values["issuer"], values["sub"], values["credential"]
    many = [tuple(values.get(name, ())) for name in ("group", "scope", "audience")]
    for name, part, sound in (
        ("issuer", [issuer], is_issuer),
        ("sub", [sub], is_sub),
        ("credential", [credential], _is_token_reference),
        ("group", many[0], is_group),
        ("scope", many[1], is_word),
        ("audience", many[2], is_word),
    ):
        if len(part) > MAXIMUM_VALUES or not all(map(sound, part)):
            raise ValueError(name)
    groups, scopes, audiences = many
    return Identity(
        scheme,
        f"{issuer},{sub}",
        (),
        "",
        credential,
        _time(values),
        limited=False,
        issuer=issuer,
        groups=groups,
        scopes=scopes,
        audiences=audiences,
    )


def remembered(scheme: str, subject: str, fqans: tuple[str, ...], vo: str) -> Identity:
    """What a holder file or a lease still says of an identity: its credential is long gone."""
    issuer = subject.partition(",")[0] if scheme in TOKEN_SCHEMES else ""
    return Identity(scheme, subject, fqans, vo, "", 0, limited=False, issuer=issuer)


def _is_attribute(text: str) -> bool:
    """Whether ``text`` is ``NAME=VALUE (QUALIFIER)``, escaped: printable ASCII."""
    return "=" in text and len(text) <= 4 * MAXIMUM_NAME and _PRINTABLE.issuperset(text)


def _time(values: dict[str, list[str]]) -> int:
    (text,) = values["not_after"]
    if not (text.isascii() and text.isdigit() and len(text) < 13 and int(text) <= LATEST):
        raise ValueError("not_after")
    return int(text)


def is_subject(text: str) -> bool:
    """Whether ``text`` can be a DN in slash form: printable ASCII, at most 1024 characters."""
    return text.startswith("/") and "=" in text and len(text) <= MAXIMUM_NAME and _PRINTABLE.issuperset(text)


def is_fqan(text: str) -> bool:
    """Whether ``text`` is an FQAN: ``/VO[/GROUP…][/Role=ROLE][/Capability=CAPABILITY]`` (OGF GFD.182)."""
    first, *parts = text.split("/")
    for word in ("Capability=", "Role="):
        if len(parts) > 1 and parts[-1].startswith(word):
            parts[-1] = parts[-1].removeprefix(word)
            if not _is_part(parts.pop()):
                return False
    return not first and len(text) <= MAXIMUM_FQAN and bool(parts) and all(map(_is_part, parts))


def is_group(text: str) -> bool:
    """Whether ``text`` is a group of ``wlcg.groups``: ``/VO[/GROUP…]`` (WLCG Common JWT Profiles 1.0)."""
    first, *parts = text.split("/")
    return not first and len(text) <= MAXIMUM_FQAN and bool(parts) and all(map(_is_part, parts))


def is_word(text: str) -> bool:
    """Whether ``text`` is printable ASCII without blanks, as scopes (RFC 6749, section 3.3) and audiences are."""
    return 0 < len(text) <= MAXIMUM_NAME and " " not in text and _PRINTABLE.issuperset(text)


def is_issuer(text: str) -> bool:
    """Whether ``text`` can be an issuer or a trust domain; one with a comma would blur where the sub begins."""
    return is_word(text) and "," not in text


def is_sub(text: str) -> bool:
    """Whether ``text`` can be a token's ``sub``: printable ASCII, at most 255 characters, and not blanks alone."""
    return len(text) <= MAXIMUM_SUB and bool(text.strip()) and _PRINTABLE.issuperset(text)


def is_user_name(text: str) -> bool:
    """Whether ``text`` can be a user's name as useradd(8) has them: at most 32 characters, none of them odd."""
    return 0 < len(text) <= MAXIMUM_USER_NAME and _GROUP.issuperset(text) and text[0] not in "-."


def without_null(fqan: str) -> str:
    """The FQAN as LCMAPS matches it: a role or capability that is NULL is not written."""
    return fqan.removesuffix("/Capability=NULL").removesuffix("/Role=NULL")


def _is_token_reference(text: str) -> bool:
    kind, _, reference = text.partition("=")
    if kind == "sha256":
        return len(reference) == 64 and _HEXADECIMAL.issuperset(reference)
    return (
        kind == "jti"
        and len(reference) <= MAXIMUM_NAME
        and bool(reference.strip())  # no ban could name it
        and _PRINTABLE.issuperset(reference)
    )


def _is_part(text: str) -> bool:
    return bool(text) and text not in (".", "..") and _GROUP.issuperset(text)
