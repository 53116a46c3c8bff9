"""Fetch the keys of the issuers that the site names, and of no others; where that fails the old ones stay."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gridwarden import syslog_line, tab_file, trusted
from gridwarden.errors import ConfigurationError, GridwardenError
from gridwarden.install import make_directory
from gridwarden.mapper import verifying
from gridwarden.mapper.token import LONGEST_KEY_SET

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gridwarden.mapper.token_values import Issuer, TokenValues

FETCHED, UNCHANGED, KEPT, MISSING = "fetched", "unchanged", "kept", "missing"


class Outcome(NamedTuple):
    """What became of one issuer's keys; ``outcome`` is FETCHED, UNCHANGED, KEPT (the old ones) or MISSING (none)."""

    issuer: str
    outcome: str
    file: str
    detail: str = ""


def refresh(tokens: TokenValues, only: str = "", *, dry_run: bool) -> Iterator[Outcome]:
    """Fetch the keys of each issuer that has no file of the site's own, or of ``only`` that one; raises OSError."""
    for issuer in tokens.issuers:
        if issuer.fetched and only in ("", issuer.issuer):
            outcome = _refresh(issuer, tokens, dry_run=dry_run)
            if not dry_run:
                syslog_line.decision("keys", outcome.outcome, issuer=issuer.issuer, detail=outcome.detail)
            yield outcome


def _refresh(issuer: Issuer, tokens: TokenValues, *, dry_run: bool) -> Outcome:
    file = issuer.keys
    old = trusted.read_file(file, LONGEST_KEY_SET) if os.path.lexists(file) else None
    try:
        keys, skipped = fetch(issuer, tokens)
    except GridwardenError as error:
        return Outcome(issuer.issuer, KEPT if old else MISSING, file, str(error))
    if keys == old:
        return Outcome(issuer.issuer, UNCHANGED, file, skipped)
    if not dry_run:
        make_directory(Path(file).parent, 0o755, 0)
        trusted.replace_file(file, keys, 0o644)
    return Outcome(issuer.issuer, FETCHED, file, skipped)


def fetch(issuer: Issuer, tokens: TokenValues) -> tuple[bytes, str]:
    """The issuer's JWK set as it gives it now, checked, and what of it is no key, in words; raises GridwardenError."""
    request = [("issuer", issuer.issuer), *(("algorithms", algorithm) for algorithm in issuer.algorithms)]
    authorities = str(tokens.authorities or "")
    if authorities:
        os.close(trusted.open_file(authorities))
    fetcher = verifying.start(
        "gridwarden.mapper.key_fetcher", [authorities], tab_file.encode(request), tokens.fetch_seconds
    )
    said = verifying.answer(fetcher, issuer.issuer, "fetched", LONGEST_KEY_SET + 1024)
    try:
        values = tab_file.decode(said)
        if "fault" in values:
            raise ConfigurationError(f"{issuer.issuer}: {tab_file.escape(values['fault'][0][:500])}")
        (keys,) = values["keys"]
        skipped = tab_file.escape("; ".join(values.pop("skipped", []))[:1000])
        if set(values) != {"keys"} or not (keys.isascii() and keys.isprintable() and len(keys) <= LONGEST_KEY_SET):
            raise ValueError("its keys are not as they should be")
        return keys.encode(), skipped
    except (ValueError, KeyError) as error:
        raise ConfigurationError(f"{issuer.issuer}: fetching its keys gave no clear answer: {error}") from error
