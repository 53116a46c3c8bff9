"""Those above a launcher whose end ends the payload, and whose stop stops it: sudo, and the pilot that called it."""

from __future__ import annotations

import os
from typing import NamedTuple


class Ancestors(NamedTuple):
    """A launcher's parent and its parent's parent."""

    parent: int
    pilot: int


def watch() -> Ancestors:
    """Begin to watch; call it first of all, before one of them can have gone unseen."""
    return Ancestors(os.getppid(), 0)
