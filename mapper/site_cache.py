"""The site's values, read as fast as a hook needs them: from a copy made of the same site.yaml before.

Reading and judging site.yaml takes ten times as long as starting Python.  The copy says of which files it was made, down
to the time of their last change (ctime, which chmod and rename set too), and of which gridwarden; where anything differs
it is made anew, so a change of site.yaml, or an update, counts at once.  It is trusted as site.yaml is.
"""

from __future__ import annotations

import marshal
import os
import sys
import time

import gridwarden
from gridwarden import trusted
from gridwarden.errors import ConfigurationError
from gridwarden.mapper.rule_index import IndexedRules
from gridwarden.mapper.site import SiteValues, from_settings
from gridwarden.setting_files import files_of

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from typing import Any


OURS = "gridwarden.mapper."
VERSION = 2  # of marshal: in it the same values make the same bytes
LONGEST = 64 * 1024 * 1024
CODE = (os.path.dirname(gridwarden.__file__), os.path.dirname(__file__))
GROUPS = "/etc/group"  # from which holders_group has its number
SETTLED_NS = 2_000_000_000  # a second change within a clock tick could not be told from the first


def load(path: str | os.PathLike[str]) -> SiteValues:
    """The values of the site.yaml at ``path``; raises ConfigurationError as reading it does."""
    copy = os.path.splitext(path)[0] + ".compiled"
    made_of = _sources(path)
    try:
        # What only root could have written may well be marshal's.
        document = marshal.loads(trusted.read_file(copy, LONGEST)) if os.path.lexists(copy) else {}  # noqa: S302
        if document.get("made_of") == made_of:
            site: SiteValues = from_plain(document["site"])
            return site._replace(node=os.uname().nodename)
    except (ConfigurationError, ValueError, KeyError, TypeError, AttributeError, EOFError):
        pass  # site.yaml itself decides
    from pathlib import Path  # noqa: PLC0415 - as below

    from gridwarden.load_settings import load as load_settings  # noqa: PLC0415 - what the copy saves us

    site = from_settings(load_settings(Path(path)))
    newest = max(changed for _, _, _, changed in made_of[1])
    if os.geteuid() == 0 and made_of == _sources(path) and time.time_ns() - newest > SETTLED_NS:
        try:
            trusted.replace_file(copy, marshal.dumps({"made_of": made_of, "site": to_plain(site)}, VERSION), 0o600)
        except (OSError, TypeError):
            pass  # a read-only /etc, or a value that is not known here, costs time and nothing else
    return site


def _sources(path: str | os.PathLike[str]) -> list[Any]:
    """What the values are made of: gridwarden itself, and name, inode, size and last change of each file."""
    return [_package(), [_source(file) for file in (GROUPS, *files_of(path))]]


def _package() -> list[Any]:
    """Which gridwarden this is: an update puts other files into the directories of its code."""
    states = [os.stat(directory) for directory in CODE]
    return [gridwarden.__version__, sys.version, *([state.st_ino, state.st_ctime_ns] for state in states)]


def _source(file: str) -> list[Any]:
    descriptor = trusted.open_file(file)
    try:
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return [file, status.st_ino, status.st_size, status.st_ctime_ns]


def to_plain(value: object) -> object:
    """``value`` as marshal can write it; raises TypeError for what is not known here."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, IndexedRules):
        return {"rules": [to_plain(rule) for rule in value]}
    if type(value) is tuple:
        return [to_plain(one) for one in value]
    kind = type(value)
    if kind.__module__.startswith(OURS):
        return {
            "of": [kind.__module__, kind.__qualname__],
            "fields": {name: to_plain(getattr(value, name)) for name in _fields(kind)},
        }
    raise TypeError(f"a {type(value).__name__} has no plain form")


def from_plain(value: Any) -> Any:  # noqa: ANN401 - the inverse of to_plain
    """The inverse of ``to_plain``; raises KeyError, TypeError or ValueError."""
    if isinstance(value, list):
        return tuple(map(from_plain, value))
    if not isinstance(value, dict):
        return value
    if "rules" in value:
        return IndexedRules(map(from_plain, value["rules"]))
    module, name = value["of"]
    if not module.startswith(OURS):
        raise ValueError(f"a {name} of {module} is not ours")
    kind = getattr(__import__(module, fromlist=[name]), name)
    if set(_fields(kind)) != set(value["fields"]):
        raise ValueError(f"a {name} had other fields")
    return kind(**{field: from_plain(one) for field, one in value["fields"].items()})


def _fields(kind: Any) -> tuple[str, ...]:  # noqa: ANN401 - a class of values
    """The names of a named tuple's fields, or of a class's slots, which are the keywords that make it too."""
    fields: tuple[str, ...] = getattr(kind, "_fields", ()) or kind.__slots__
    return fields
