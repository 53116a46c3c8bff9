"""Which X.509 credentials a site accepts beyond what the standards decide, as values that also fit on a command line."""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own costs a verification 6 ms
if TYPE_CHECKING:
    from collections.abc import Sequence

UNLIMITED = 0
CLOCK_SKEW = 300  # seconds that proxies are made to begin before their making


class Accepted:
    """The keys of the same names in the section ``credentials``; hours are 0 where there is no limit."""

    __slots__ = (
        "leaf_proxy_hours",
        "legacy_proxies",
        "missing_revocation_list",
        "missing_signing_policy",
        "proxy_hours",
        "voms_hours",
    )

    def __init__(
        self,
        *,
        missing_revocation_list: bool = True,
        missing_signing_policy: bool = False,
        legacy_proxies: bool = False,
        proxy_hours: Sequence[int] = (),
        leaf_proxy_hours: int = UNLIMITED,
        voms_hours: int = UNLIMITED,
    ) -> None:
        self.missing_revocation_list = missing_revocation_list
        self.missing_signing_policy = missing_signing_policy
        self.legacy_proxies = legacy_proxies
        self.proxy_hours = tuple(proxy_hours)
        self.leaf_proxy_hours = leaf_proxy_hours
        self.voms_hours = voms_hours

    def word(self) -> str:
        """All of it as one word."""
        flags = (self.missing_revocation_list, self.missing_signing_policy, self.legacy_proxies)
        hours = (self.leaf_proxy_hours, self.voms_hours, *self.proxy_hours)
        return ",".join(str(int(value)) for value in (*flags, *hours))


def from_word(word: str) -> Accepted:
    """The inverse of ``Accepted.word``; raises ValueError."""
    revocation, policy, legacy, leaf, voms, *levels = (int(part) for part in word.split(","))
    return Accepted(
        missing_revocation_list=bool(revocation),
        missing_signing_policy=bool(policy),
        legacy_proxies=bool(legacy),
        proxy_hours=levels,
        leaf_proxy_hours=leaf,
        voms_hours=voms,
    )


def is_too_long(begin: int, end: int, hours: int) -> bool:
    """Whether what is valid from ``begin`` to ``end`` (seconds) is so for longer than ``hours`` allow."""
    return hours != UNLIMITED and end - begin > hours * 3600 + CLOCK_SKEW
