"""From the linked Globus identities of one person to an account: identity mapping documents, without reading any.

Documents are asked in their order; in a document of expressions each mapping in its order, and for each mapping the
identities in theirs.  The first that matches decides: where what it gives cannot be an account, the person is
refused, since whatever came below was meant for others.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from gridwarden import pools, reasons
from gridwarden.errors import Refused
from gridwarden.mapper import globus_search
from gridwarden.tab_file import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gridwarden.mapper.globus_people import Person
    from gridwarden.mapper.globus_search import Groups, Pattern
    from gridwarden.mapper.identity import Identity

MOST_COST = 4_000_000  # of globus_search.search in one decision: about two seconds


class Property(NamedTuple):
    """A place in a template where a property of the identity goes."""

    name: str


Template: TypeAlias = "tuple[str | Property | int, ...]"
"""Texts, properties, and numbers of groups of the match, counted from 0."""


class Row(NamedTuple):
    """One mapping of a document, which is the ``number``-th from 1; ``source`` is a place in the document's sources."""

    number: int
    source: int
    pattern: Pattern
    output: Template


class Index(NamedTuple):
    """The rows with one source whose patterns have an ending of one length: places in the document by ending."""

    source: int
    ignore_case: bool
    length: int
    rows: dict[str, list[int]]


class Expressions(NamedTuple):
    """An ``expression_identity_mapping#1.0.0`` document; ``where`` names it.

    ``indexes`` lead from the end of a text to the rows that it can match, of which a site may have thousands;
    ``needed`` is of each row what a text must hold.
    """

    where: str
    sources: tuple[Template, ...]
    rows: tuple[Row, ...]
    indexes: tuple[Index, ...]
    needed: tuple[str, ...]


class External(NamedTuple):
    """An ``external_identity_mapping#1.0.0`` document; ``command`` is the program's absolute path and its arguments."""

    where: str
    command: tuple[str, ...]


Document: TypeAlias = "Expressions | External"


class Mapped(NamedTuple):
    """The account of a person, the one of their identities that gives it to them, and where that is written."""

    account: str
    identity: Identity
    where: str


def expressions(where: str, sources: Iterable[Template], rows: Iterable[Row]) -> Expressions:
    """A document of these rows, ready to be asked."""
    rows = tuple(rows)
    indexes: dict[tuple[int, bool, int], dict[str, list[int]]] = {}
    for place, row in enumerate(rows):
        ending = row.pattern.ending
        index = indexes.setdefault((row.source, row.pattern.ignore_case, len(ending)), {})
        index.setdefault(ending, []).append(place)
    found = tuple(Index(*key, places) for key, places in indexes.items())
    return Expressions(where, tuple(sources), rows, found, tuple(row.pattern.inside for row in rows))


def map_identities(
    documents: Sequence[Document],
    people: Sequence[Person],
    ask: Callable[[External, Sequence[Person]], Mapped | None],
) -> Mapped | None:
    """The account that the documents give to one of ``people``, or None where none of them maps any.

    ``ask`` runs an external program.  Raises Refused for an account that cannot be one, for values that are too long,
    and where the patterns are too slow to be sure.
    """
    counted = [person for person in people if person.counts]
    spent = 0
    for document in documents:
        if isinstance(document, External):
            mapped = ask(document, counted) if counted else None
        else:
            mapped, spent = of_expressions(document, counted, spent)
        if mapped:
            return refuse_impossible(mapped)
    return None


def of_expressions(document: Expressions, people: Sequence[Person], spent: int) -> tuple[Mapped | None, int]:
    """What the first mapping gives that matches one of ``people``, and what all look-ups have cost until then."""
    texts = [texts_of(source, people) for source in document.sources]
    for place, _, person, text in candidates(document, texts):
        row = document.rows[place]
        spent += globus_search.cost(row.pattern, text)
        if spent > MOST_COST:
            raise Refused(
                reasons.GLOBUS_UNDECIDED,
                f"{document.where}, mapping {row.number}: asking so many mappings takes too long",
                "gridwarden config check names the slow ones: a '*' on a group, or many '.*'",
            )
        groups = globus_search.groups(row.pattern, text)
        if groups is not None:
            return given(document, row, person, text, groups), spent
    return None, spent


def candidates(
    document: Expressions, texts: Sequence[Sequence[tuple[Person, str]]]
) -> list[tuple[int, int, Person, str]]:
    """Places of rows, in order, and for each the people in theirs whose texts have what its pattern needs."""
    found: list[tuple[int, int, Person, str]] = []
    needed = document.needed
    for source, ignore_case, length, rows in document.indexes:
        for order, (person, text) in enumerate(texts[source]):
            read = globus_search.lower(text) if ignore_case else text
            if len(read) >= length and (places := rows.get(read[len(read) - length :])):
                found += [(place, order, person, text) for place in places if needed[place] in read]
    found.sort(key=itemgetter(0, 1))
    return found


def texts_of(source: Template, people: Sequence[Person]) -> list[tuple[Person, str]]:
    """The text of a source for each of ``people`` who has all of its properties."""
    texts = [(person, text) for person in people if (text := fill(source, person, ())) is not None]
    for person, text in texts:
        if len(text) > globus_search.LONGEST_TEXT:
            raise Refused(
                reasons.CREDENTIAL_MALFORMED,
                f"the Globus identity {person.identity.subject} has properties of {len(text)} characters",
            )
    return texts


def given(document: Expressions, row: Row, person: Person, text: str, groups: Groups) -> Mapped:
    """What a row gives to a person whose text it matches, with these groups."""
    where = f"{document.where}, mapping {row.number}"
    account = fill(row.output, person, groups)
    if account is None:
        raise Refused(
            reasons.ACCOUNT_UNKNOWN,
            f"{where} matches {escape(text)}, but its output needs what that identity or match does not have",
        )
    return Mapped(account, person.identity, where)


def refuse_impossible(mapped: Mapped) -> Mapped:
    """``mapped`` if its account can be one; raises Refused (account-unknown)."""
    if not pools.is_account_name(mapped.account):
        raise Refused(
            reasons.ACCOUNT_UNKNOWN,
            f"{mapped.where} gives {mapped.identity.username or mapped.identity.subject} the account "
            f"{escape(mapped.account[:100])!r}, which is no name of one",
        )
    return mapped


def fill(template: Template, person: Person, groups: Groups) -> str | None:
    """The text of a template, each place filled once; None where something is not there to fill it with."""
    parts: list[str] = []
    for piece in template:
        if isinstance(piece, Property):
            part = person.properties.get(piece.name)
        elif isinstance(piece, int):
            part = groups[piece]
        else:
            part = piece
        if part is None:
            return None
        parts.append(part)
    return "".join(parts)
