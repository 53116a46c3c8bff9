"""Globus's own identity mapping (globus-identity-mapping) as an oracle, and what must be repaired in it to agree with us.

``answer`` asks it as globus-compute-endpoint 4.19 does: the documents in their order, an error in one passes over it,
and the first result counts.  Each of ``REPAIRS`` is a difference of docs/globus.md; with all of them both answer alike.
"""

from __future__ import annotations

import re
from typing import Any

from globus_identity_mapping.errors import IdentityMappingError
from globus_identity_mapping.loader import load_mappers

from gridwarden import pools

REPAIRS = frozenset(
    ("alternatives", "whole text", "flags", "folding", "literal", "one pass", "missing values", "impossible accounts")
)
COUNTED = ("used", "private")
REFUSED = "refused"
PLACE = re.compile(r"(?<!\\)((?:\\\\)*)\{([^}]*)\}")


def answer(values: list[Any], identities: list[dict[str, Any]], repairs: frozenset[str] = frozenset()) -> str | None:
    """The account, None for nobody, or ``REFUSED``; raises what loading the documents raises."""
    for value in values:
        (mapper,) = load_mappers([with_flags(value) if "flags" in repairs else value], "connector", "gateway")
        for row in mapper.mappings:
            row["compiled_match"] = compiled(row, repairs)
        if "one pass" in repairs:
            mapper._interpolate = in_one_pass
        found = first_of(mapper, identities) if "missing values" in repairs else first_result(mapper, identities)
        if found is None:
            continue
        if "impossible accounts" in repairs and not pools.is_account_name(found):
            return REFUSED
        return found or None
    return None


def first_result(mapper: Any, identities: list[dict[str, Any]]) -> str | None:
    """As the endpoint asks."""
    try:
        results = [result for result in mapper.map_identities(identities) if result]
    except Exception:  # noqa: BLE001 - as PosixIdentityMapper
        return None
    return next(iter(results[0].values()))[0] if results else None


def first_of(mapper: Any, identities: list[dict[str, Any]]) -> str | None:
    """The same, but a value that is not there concerns that mapping of that identity alone."""
    for row in mapper.mappings:
        for identity in identities:
            try:
                source = mapper._interpolate(row["source"], identity)
            except (IdentityMappingError, TypeError):
                continue
            match = row["compiled_match"].match(source) if identity.get("status") in COUNTED else None
            if match:
                try:
                    return mapper._interpolate(row["output"], identity, list(match.groups()))
                except (IdentityMappingError, TypeError):
                    return "/"  # which no account is called
    return None


def with_flags(value: dict[str, Any]) -> dict[str, Any]:
    words = {"true": True, "false": False}
    rows = [
        {key: words.get(of, of) if "match" not in key else of for key, of in row.items()} for row in value["mappings"]
    ]
    return value | {"mappings": rows}


def compiled(row: dict[str, Any], repairs: frozenset[str]) -> re.Pattern[str]:
    inner = row["compiled_match"].pattern[1:-1]
    if "literal" in repairs and row.get("literal"):
        inner = re.escape(row["match"])
    if "alternatives" in repairs:
        inner = f"(?:{inner})"
    flags = row["compiled_match"].flags & re.IGNORECASE
    return re.compile(
        f"^{inner}" + (r"\Z" if "whole text" in repairs else "$"), flags | re.ASCII * ("folding" in repairs)
    )


def in_one_pass(text: str, identity: dict[str, Any], matches: list[str | None] | None = None) -> str:
    def fill(place: re.Match[str]) -> str:
        name = place[2]
        value = (matches or [])[int(name)] if name.isdigit() else identity.get(name)
        if not isinstance(value, str):
            raise IdentityMappingError(name)
        return place[1] + value

    return PLACE.sub(fill, text)
