"""What an administrator should know of a Globus mapping file: above all, where we answer otherwise than Globus's code.

The reference is globus-identity-mapping 0.5.0 and 0.6.0, as globus-compute-endpoint 4.19 calls it; docs/globus.md lists
every difference.  A file that has faults has no remarks.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gridwarden import pools
from gridwarden.mapper.globus import Expressions, Property
from gridwarden.mapper.globus_documents import EXPRESSIONS, parse, values_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gridwarden.mapper.globus import Row
    from gridwarden.mapper.globus_documents import Value

ALWAYS_THERE = frozenset(("id", "sub", "username", "status"))
KEYS = frozenset(("source", "match", "output", "ignore_case", "literal", "comment"))
NOT_SPECIAL = frozenset("[]{}+^$")
TYPICAL_TEXT = 60  # characters of a long user name
_DOT_IN_NAME = re.compile(r"(?<!\\)(?:\\\\)*\.(?![*?])")


def remarks(data: bytes, name: str) -> list[str]:
    """A sentence for each thing to know of a file's bytes, each with its place; raises ConfigurationError."""
    documents = parse(data, name)
    said: list[str] = []
    for document, value in zip(documents, values_of(data, name), strict=True):
        if isinstance(document, Expressions) and value["DATA_TYPE"] == EXPRESSIONS:
            mappings = value["mappings"]
            assert isinstance(mappings, list)  # noqa: S101 - parse has looked
            said += [f"{document.where}: {remark}" for remark in of_document(document)]
            for row, mapping in zip(document.rows, mappings, strict=True):
                said += [f"{document.where}, mapping {row.number}: {remark}" for remark in of_mapping(row, mapping)]
    return said


def of_document(document: Expressions) -> Iterator[str]:
    """Remarks on a document as a whole."""
    names = {piece.name for source in document.sources for piece in source if isinstance(piece, Property)}
    if rare := sorted(names - ALWAYS_THERE):
        yield (
            f"where an identity of the person has no {' or no '.join(rare)}, the reference passes over the whole "
            "document, and gridwarden over that identity in that mapping"
        )


def of_mapping(row: Row, mapping: Value) -> Iterator[str]:
    """Remarks on one mapping."""
    match, literal = str(mapping["match"]), mapping.get("literal") in (True, "true")
    for key in ("ignore_case", "literal"):
        if isinstance(mapping.get(key), str):
            yield f"{key} is a text, which the reference takes for true whatever it says; write true or false"
    if row.pattern.has_top_level_bar:
        yield (
            "its match has a '|' outside of ( ): the reference then lets text stand behind the first alternative and "
            "before the last; put the alternatives into ( )"
        )
    yield from of_text(match, literal=literal)
    if row.pattern.longest < TYPICAL_TEXT:
        longest = max(0, row.pattern.longest + 1)
        yield f"with a text of {longest} characters or more the reference may take very long for its match"
    if mapping.get("ignore_case") in (True, "true") and any(ord(letter) > 127 for letter in match):
        yield "ignore_case is of A to Z only; the reference folds other letters too"
    yield from of_templates(row)
    if unknown := sorted(set(mapping) - KEYS):
        yield f"nobody reads {', '.join(map(repr, unknown))}"


def of_text(match: str, *, literal: bool) -> Iterator[str]:
    """Remarks on how a match is written."""
    if literal:
        if "\\" in match:
            yield "its literal match holds a backslash, which the reference reads as part of its pattern language"
        return
    if found := sorted(NOT_SPECIAL & set(match)):
        yield f"{' '.join(found)} in its match stands for itself: it is not part of the pattern language"
    if _DOT_IN_NAME.search(match):
        yield "'.' in its match is any character, so example.com is exampleXcom too; write \\\\. in JSON"


def of_templates(row: Row) -> Iterator[str]:
    """Remarks on what a mapping gives."""
    if sum(not isinstance(piece, str) for piece in row.output) > 1:
        yield "the reference fills the places of its output one after the other, also in what a place was filled with"
    fixed = "".join(piece for piece in row.output if isinstance(piece, str))
    longest_name = fixed if all(isinstance(piece, str) for piece in row.output) else "a" + fixed
    if not pools.is_account_name(longest_name) or longest_name == "root":
        yield "its output is never the name of an account, so whomever it matches is refused"
