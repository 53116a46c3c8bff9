"""The credentials of a pilot and of a payload's owner: read as the pilot, understood by processes without rights.

All of them are at work at once, while the launcher does what does not depend on who they are.
"""

from __future__ import annotations

from gridwarden import reasons
from gridwarden.errors import Refused
from gridwarden.mapper import credential_file, verify
from gridwarden.tab_file import escape
from gridwarden.values import NamedTuple

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from gridwarden.hooks.pilot.request import Request
    from gridwarden.mapper.identity import Identity
    from gridwarden.mapper.readied import Readied
    from gridwarden.mapper.site import SiteValues
    from gridwarden.mapper.token import Asked
    from gridwarden.mapper.verifying import Verifier


class Proxy(NamedTuple):
    """A proxy file's bytes, and the verifier at work on them."""

    path: str
    data: bytes
    verifier: Verifier


class Token(NamedTuple):
    """A token file's bytes, and the verifier at work on them."""

    path: str
    data: bytes
    asked: Asked


class Shown(NamedTuple):
    """What has been read; ``proxy`` and ``token`` are the owner's, ``source`` the proxy that the payload is given."""

    proxy: Proxy | None
    token: Token | None
    source: Proxy | None
    pilot_proxy: Proxy | None
    pilot_token: Token | None


class People(NamedTuple):
    """Whose they are: the owner's identities in the order proxy, token, and the pilot's own."""

    owner: tuple[Identity, ...]
    pilot: tuple[Identity, ...]


def read(asked: Request, caller: int, site: SiteValues, by: Readied, *, own: bool) -> Shown:
    """Read the files that the pilot names as the user ``caller``, and start verifying; ``own``: the pilot's, too.

    Raises Refused, ConfigurationError, Unavailable.
    """
    if asked.proxy or asked.pilot_proxy:
        verify.refuse_changeable(site.certificates, site.vomsdir)
    source = asked.source_proxy if asked.source_proxy != asked.proxy else ""
    pilots = (asked.pilot_proxy, asked.pilot_token) if own else ("", "")
    paths = [path for path in (asked.proxy, asked.token, source, *pilots) if path]
    held = dict(zip(paths, credential_file.read_several(paths, caller), strict=True))
    proxy = _proxy(asked.proxy, held, site, by)
    return Shown(
        proxy,
        _token(asked.token, held, site, by),
        _proxy(source, held, site, by) or proxy,
        _proxy(pilots[0], held, site, by),
        _token(pilots[1], held, site, by),
    )


def people(shown: Shown, site: SiteValues) -> People:
    """Wait for the verifiers.  Raises Refused, also where the proxy for the payload is not its owner's; and as ``read``."""
    limited = site.limited_proxies or any(rule.limited for rule in site.rules)
    own = [_of_proxy(shown.pilot_proxy, limited=True), _of_token(shown.pilot_token, site)]
    owner = [_of_proxy(shown.proxy, limited=limited), _of_token(shown.token, site)]
    found = People(tuple(filter(None, owner)), tuple(filter(None, own)))
    if shown.source and shown.source is not shown.proxy:
        source = _of_proxy(shown.source, limited=True)
        if source and (source.scheme, source.subject) not in ((one.scheme, one.subject) for one in found.owner):
            raise Refused(
                reasons.IDENTITY_CHANGED,
                f"{escape(shown.source.path)} is of {source.subject}, the payload of {found.owner[0].subject}",
            )
    return found


def _proxy(path: str, held: dict[str, bytes], site: SiteValues, by: Readied) -> Proxy | None:
    if not path:
        return None
    where = site.certificates, site.vomsdir
    return Proxy(path, held[path], verify.start(held[path], *where, site.verify_seconds, site.accepted, by=by.start))


def _token(path: str, held: dict[str, bytes], site: SiteValues, by: Readied) -> Token | None:
    if not path:
        return None
    from gridwarden.mapper import token  # noqa: PLC0415 - not for a launch with proxies to pay

    return Token(path, held[path], token.start(held[path], site, by=by.start))


def _of_proxy(proxy: Proxy | None, *, limited: bool) -> Identity | None:
    return verify.identity_of(proxy.verifier, escape(proxy.path), limited_allowed=limited) if proxy else None


def _of_token(one: Token | None, site: SiteValues) -> Identity | None:
    if not one:
        return None
    from gridwarden.mapper import token  # noqa: PLC0415 - as above

    return token.identity_of(one.asked, site, escape(one.path))
