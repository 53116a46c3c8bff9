"""What ``gridwarden config check`` says of tokens' keys, and of rules for issuers whose tokens are not believed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gridwarden import trusted
from gridwarden.errors import ConfigurationError
from gridwarden.mapper import jws, pool_keys
from gridwarden.mapper.map_files import matches
from gridwarden.mapper.token import LONGEST_KEY_SET

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gridwarden.mapper.rules import Rule
    from gridwarden.mapper.token_values import Issuer, TokenValues


def remarks(tokens: TokenValues, rules: Sequence[Rule]) -> Iterator[str]:
    """A sentence for each issuer whose keys are not here, and for each rule that no issuer of the site's can meet."""
    keys = [(one.issuer, one.keys, one.fetched) for one in tokens.issuers]
    keys += [(one.trust_domain, one.keys, False) for one in tokens.idtokens]
    for issuer, path, fetched in keys:
        if not os.path.lexists(path):
            remedy = "; gridwarden token refresh" if fetched else ""
            yield f"{path}: is not here, so no token of {issuer} is believed{remedy}"
    for place, rule in enumerate(rules):
        if rule.issuer is not None and not any(matches(rule.issuer, issuer) for issuer, _, _ in keys):
            yield f"policy[{place}]: no issuer of tokens is {rule.issuer}, exactly as written, in site.yaml"


def faults(tokens: TokenValues) -> Iterator[ConfigurationError]:
    """Why the keys that are here cannot be used, an error for each issuer."""
    for issuer in tokens.issuers:
        if os.path.lexists(issuer.keys):
            try:
                require_keys(issuer)
            except ConfigurationError as error:
                yield error
    for pool in tokens.idtokens:
        if os.path.lexists(pool.keys):
            try:
                pool_keys.signers(b"", pool.keys)
            except ConfigurationError as error:
                yield error


def require_keys(issuer: Issuer) -> None:
    """Raise ConfigurationError unless the issuer's file holds a key that it may sign with."""
    data = trusted.read_file(issuer.keys, LONGEST_KEY_SET)
    try:
        if not [key for algorithm in issuer.algorithms for key in jws.keys_of(data, algorithm)]:
            raise ValueError(f"there is no key for {', '.join(issuer.algorithms)}")
    except (ValueError, OverflowError) as error:  # a coordinate larger than its curve
        raise ConfigurationError(f"{issuer.keys}: the keys of {issuer.issuer} cannot be used: {error}") from error
