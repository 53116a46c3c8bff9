"""Read site.yaml and site.d/*.yaml into ``Settings``: every fault at once, every value with its origin.

The files merge in the order of their names: a mapping adds to the one before, anything else replaces it.
All of them decide, so each must pass ``gridwarden.trusted``.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml
from pydantic import BaseModel, ValidationError

from gridwarden import trusted
from gridwarden.errors import ConfigurationError
from gridwarden.setting_files import files_of
from gridwarden.setting_types import FaultsError
from gridwarden.settings import Settings, section_of

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Keys = tuple[str | int, ...]
"""The way to a value: ``("policy", 2, "pool")``."""

WORDS = {
    "missing": "is required",
    "tuple_type": "must be a list",
    "string_type": "must be text; put it in quotes",
    "path_type": "must be a path",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "model_type": "must be a section with keys of its own",
    "model_attributes_type": "must be a section with keys of its own",
}
"""pydantic's kinds of fault in the words of a person who writes YAML; other kinds keep pydantic's own."""


class Origin(NamedTuple):
    """Where a value was written."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Document(NamedTuple):
    """What a file, or several merged, say: plain values, and where each of them stands."""

    values: dict[str, Any]
    origins: dict[Keys, Origin]


class Loaded(NamedTuple):
    """The settings, the origin of each key that a file gave, and a sentence for each list that another file replaced."""

    settings: Settings
    origins: dict[Keys, Origin]
    replaced: list[str]


def load(path: Path) -> Settings:
    """Return the settings of the site.yaml at ``path``; raises ConfigurationError with every fault."""
    return load_with_origins(path).settings


def load_with_origins(path: Path, candidate: tuple[Path, bytes] | None = None) -> Loaded:
    """Return the settings and where each was written; raises ConfigurationError with every fault.

    With a ``candidate``, as they would be if that file of site.d had those bytes.
    """
    faults: list[str] = []
    hints: list[str] = []
    replaced: list[str] = []
    merged = Document({}, {(): Origin(str(path), 1)})
    site, *additions = map(Path, files_of(path))
    given = dict([candidate] if candidate else [])
    for file in [site, *sorted({*additions, *given})]:
        try:
            merge(merged, parse(file, given[file] if file in given else trusted.read_file(file), faults), replaced)
        except ConfigurationError as error:
            faults += error.faults
            hints.append(error.hint)
    if not os.path.lexists(site):
        hints.append(f"gridwarden config sample prints a {site.name} to begin with")
    if faults:  # what a broken file would have said is not known, so nothing more can be judged
        raise ConfigurationError(faults, next(filter(None, hints), ""))
    try:
        return Loaded(Settings.of(merged.values), merged.origins, replaced)
    except ValidationError as error:
        found = [fault for details in error.errors() for fault in faults_of(details)]
        found.sort(key=lambda fault: origin_of(fault[0], merged.origins))
        lines = [f"{origin_of(keys, merged.origins)}: {dotted(keys)}: {what}" for keys, what in found]
        raise ConfigurationError(lines, "docs/configuration.md describes every key") from None


def parse(file: Path, data: bytes, faults: list[str]) -> Document:
    """Return what one file says; keys that stand twice and the like are added to ``faults``.

    Raises ConfigurationError when the file is not YAML, or is not a mapping.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(data)
    try:
        root: yaml.Node | None = loader.get_single_node()
        if root is None:
            return Document({}, {})
        if not isinstance(root, yaml.MappingNode):
            raise ConfigurationError(f"{file}:1: must be keys and values, not a list or one word")
        origins: dict[Keys, Origin] = {}
        values = Reader(file, loader, origins, faults).value(root, ())
        return Document(values, origins)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        problem = error.problem or error.context or "not YAML"
        raise ConfigurationError(f"{file}{place}: is not YAML: {problem}") from None
    except (yaml.YAMLError, RecursionError) as error:  # bytes that are not text; nesting without end
        what = " ".join(str(error).split())
        raise ConfigurationError(f"{file}: is not YAML: {what}") from None
    finally:
        loader.dispose()


class Reader:
    """Turn YAML nodes into values, noting where each stood and whatever YAML lets pass and we do not."""

    def __init__(self, file: Path, loader: Any, origins: dict[Keys, Origin], faults: list[str]) -> None:  # noqa: ANN401  either of two unrelated loaders
        self.file = str(file)
        self.loader = loader
        self.origins = origins
        self.faults = faults
        self.seen: set[int] = set()

    def value(self, node: yaml.Node, keys: Keys) -> Any:  # noqa: ANN401  any YAML value
        """Return the value of ``node``, which stands at ``keys``.

        Raises ConfigurationError for an alias: a few lines of them can stand for more values than memory holds.
        """
        if id(node) in self.seen:
            place = f"{self.file}:{node.start_mark.line + 1}"
            raise ConfigurationError(f"{place}: {dotted(keys)}: is an alias (*) of what stands here; write it out")
        self.seen.add(id(node))
        self.origins.setdefault(keys, Origin(self.file, node.start_mark.line + 1))
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, keys)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*keys, index)) for index, item in enumerate(node.value)]
        try:
            return self.loader.construct_object(node, deep=True)
        except (ValueError, yaml.constructor.ConstructorError) as error:
            self.fault(node, keys, getattr(error, "problem", None) or str(error))
            return None

    def mapping(self, node: yaml.MappingNode, keys: Keys) -> dict[str, Any]:
        """Return the keys and values of a mapping; the first of two equal keys stands."""
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self.fault(key_node, keys, "a key must be one word")
                continue
            key = key_node.value
            here = (*keys, key)
            if key in values:
                self.fault(key_node, here, f"stands twice; first in line {self.origins[here].line}")
                continue
            self.origins[here] = Origin(self.file, key_node.start_mark.line + 1)
            values[key] = self.value(value_node, here)
        return values

    def fault(self, node: yaml.Node, keys: Keys, what: str) -> None:
        """Note what is wrong with a value."""
        self.faults.append(f"{self.file}:{node.start_mark.line + 1}: {dotted(keys)}: {what}")


def merge(base: Document, other: Document, replaced: list[str], keys: Keys = ()) -> None:
    """Lay ``other`` over ``base``, below ``keys``: sections add up, anything else is replaced whole, lists noted."""
    below: Any = base.values
    above: Any = other.values
    for key in keys:
        below, above = below[key], above[key]
    for key, value in above.items():
        here = (*keys, key)
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            merge(base, other, replaced, here)
            continue
        if isinstance(below.get(key), list):
            replaced.append(f"{other.origins[here]}: {dotted(here)}: replaces the whole list of {base.origins[here]}")
        below[key] = value
        for old in [place for place in base.origins if place[: len(here)] == here]:
            del base.origins[old]
        base.origins.update({place: origin for place, origin in other.origins.items() if place[: len(here)] == here})


def faults_of(details: ErrorDetails) -> list[tuple[Keys, str]]:
    """Return the faults in one of pydantic's errors: (keys, what is wrong)."""
    keys, kind = details["loc"], details["type"]
    cause = details.get("ctx", {}).get("error")
    if isinstance(cause, FaultsError):
        return [((*keys, *more), what) for more, what in cause.faults]
    if kind == "extra_forbidden":
        return [(keys, "is not a key" + nearest(keys))]
    if isinstance(cause, ValueError):
        return [(keys, str(cause))]
    return [(keys, WORDS.get(kind) or details["msg"].replace("Input should", "must").replace("'", ""))]


def nearest(keys: Keys) -> str:
    """Return a suggestion for an unknown key, or nothing."""
    known = known_keys(keys[:-1])
    close = difflib.get_close_matches(str(keys[-1]), known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; here stand {', '.join(known)}"


def known_keys(section: Keys) -> list[str]:
    """Return the keys that the declaration has in ``section``."""
    model: type[BaseModel] = Settings
    for name in section:
        if isinstance(name, str):  # a number leads to an item of the same section
            model = section_of(model.model_fields[name]) or model
    return list(model.model_fields)


def origin_of(keys: Keys, origins: dict[Keys, Origin]) -> Origin:
    """Return where ``keys`` were written, or else what they would have been part of."""
    while keys not in origins:
        keys = keys[:-1]
    return origins[keys]


def dotted(keys: Keys) -> str:
    """Return ``policy[2].pool`` for ``("policy", 2, "pool")``."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    return text.lstrip(".") or "the file"
