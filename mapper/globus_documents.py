"""Read Globus identity mapping files, as sites of Globus Compute and Globus Connect Server have them.

A file is a JSON list of documents, or one document: ``expression_identity_mapping#1.0.0`` or
``external_identity_mapping#1.0.0`` (Globus Connect Server's Identity Mapping Guide).  What the reference implementation
drops or takes in another way than is written makes the file faulty here; ``globus_remarks`` tells the rest.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, TypeAlias

from gridwarden.errors import ConfigurationError
from gridwarden.mapper import globus_pattern, strict_json
from gridwarden.mapper.globus import Document, Expressions, External, Property, Row, Template, expressions

if TYPE_CHECKING:
    from collections.abc import Sequence

EXPRESSIONS = "expression_identity_mapping#1.0.0"
EXTERNAL = "external_identity_mapping#1.0.0"
MOST_ROWS = 10_000
LONGEST_FILE = 4 * 1024 * 1024  # bytes
LONGEST_ARGUMENT = 4096
# A place to fill in; behind an odd number of backslashes it is text, backslashes included.
_PLACE = re.compile(r"(?<!\\)(?:\\\\)*\{([^}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Value: TypeAlias = "dict[str, object]"


class Faults:
    """What is wrong with a file, each with its place."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.found: list[str] = []

    def add(self, place: str, what: str) -> None:
        """Note a fault."""
        self.found.append(f"{self.name}: {place}: {what}" if place else f"{self.name}: {what}")


def parse(data: bytes, name: str) -> tuple[Document, ...]:
    """The documents of a file's bytes, in their order; raises ConfigurationError with every fault."""
    faults = Faults(name)
    found: list[Document] = []
    for number, value in enumerate(values_of(data, name), 1):
        place = f"document {number}"
        kind = value.get("DATA_TYPE")
        if kind == EXPRESSIONS:
            found.append(expressions_of(value, place, faults))
        elif kind == EXTERNAL:
            found.append(external_of(value, place, faults))
        else:
            faults.add(place, f"its DATA_TYPE is {shown(kind)}, neither {EXPRESSIONS} nor {EXTERNAL}")
    if sum(len(document.rows) for document in found if isinstance(document, Expressions)) > MOST_ROWS:
        faults.add("", f"has more than {MOST_ROWS} mappings")
    if faults.found:
        raise ConfigurationError(faults.found, "docs/globus.md describes these files")
    return tuple(found)


def values_of(data: bytes, name: str) -> list[Value]:
    """The documents of a file as JSON has them; raises ConfigurationError."""
    try:
        values = strict_json.parse(data, LONGEST_FILE)
    except ValueError as error:
        raise ConfigurationError(f"{name}: {error}") from None
    if isinstance(values, dict):
        values = [values]
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise ConfigurationError(f"{name}: must be a list of identity mapping documents")
    return values


def expressions_of(value: Value, place: str, faults: Faults) -> Expressions:
    """A document of expressions, less the mappings that are faulty."""
    mappings = value.get("mappings")
    if not isinstance(mappings, list):
        faults.add(place, "needs mappings, a list")
        mappings = []
    sources: dict[Template, int] = {}
    rows = []
    for number, mapping in enumerate(mappings, 1):
        row = row_of(mapping, number, sources, f"{place}, mapping {number}", faults)
        rows += [row] if row else []
    return expressions(f"{faults.name}, {place}", sources, rows)


def row_of(mapping: object, number: int, sources: dict[Template, int], place: str, faults: Faults) -> Row | None:
    """One mapping, its source entered into ``sources``; None where it is faulty."""
    values: Value = mapping if isinstance(mapping, dict) else {}
    texts = [values.get(key) for key in ("source", "match", "output")]
    if not all(isinstance(text, str) for text in texts):
        faults.add(place, "needs source, match and output, each a text")
        return None
    source, match, output = map(str, texts)
    before = len(faults.found)
    flags = {key: flag_of(values.get(key, False), f"{place}: {key}", faults) for key in ("ignore_case", "literal")}
    try:
        pattern = globus_pattern.parse(match, **flags)
    except ValueError as error:
        faults.add(f"{place}: match", str(error))
        return None
    source_template = template_of(source, 0, f"{place}: source", faults)
    output_template = template_of(output, pattern.group_count, f"{place}: output", faults)
    if len(faults.found) > before:
        return None
    return Row(number, sources.setdefault(source_template, len(sources)), pattern, output_template)


def flag_of(value: object, place: str, faults: Faults) -> bool:
    """A truth value, also one that is written as a text: the reference takes every text for true."""
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return value == "true"
    faults.add(place, f"must be true or false, not {shown(value)}")
    return False


def template_of(text: str, groups: int, place: str, faults: Faults) -> Template:
    """A source or output, of a match with so many groups."""
    pieces: list[str | Property | int] = []
    end = 0
    for found in _PLACE.finditer(text):
        name = found[1]
        pieces.append(text[end : found.start(1) - 1])
        end = found.end()
        if name.isascii() and name.isdigit() and len(name) < 4:
            pieces.append(int(name))
            if int(name) >= groups:
                faults.add(place, f"{{{name}}} names a group, of which there are {groups or 'none'}")
        elif _NAME.fullmatch(name):
            pieces.append(Property(name))
        else:
            faults.add(place, f"{shown('{' + name + '}')} is neither a property nor the number of a group")
    pieces.append(text[end:])
    return tuple(piece for piece in pieces if piece != "")


def external_of(value: Value, place: str, faults: Faults) -> External:
    """A document that names a program."""
    command = value.get("command")
    words = [str(word) for word in command if is_argument(word)] if isinstance(command, list) else []
    if not isinstance(command, list) or not words or len(words) < len(command):
        faults.add(place, "needs command, a list of the program and its arguments")
    elif not words[0].startswith("/") or ".." in words[0].split("/"):
        faults.add(place, f"command: {shown(words[0])} must be an absolute path")
    return External(f"{faults.name}, {place}", tuple(words))


def is_argument(word: object) -> bool:
    """Whether a program can be given ``word``: a text or a number (the reference writes numbers as Python does)."""
    text = str(word)
    return type(word) in (str, int, float) and len(text) <= LONGEST_ARGUMENT and "\0" not in text and text.isprintable()


def shown(value: object) -> str:
    """A value as JSON, not too much of it."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."


def all_of(files: Sequence[tuple[str, bytes]]) -> tuple[Document, ...]:
    """The documents of several files, in order; raises ConfigurationError with the faults of all of them."""
    documents: list[Document] = []
    faults: list[str] = []
    hint = ""
    for name, data in files:
        try:
            documents += parse(data, name)
        except ConfigurationError as error:
            faults += error.faults
            hint = error.hint or hint
    if faults:
        raise ConfigurationError(faults, hint)
    return tuple(documents)
