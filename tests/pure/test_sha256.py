"""The hash of ledgers and lease names, on every CPython that a site may have."""

from __future__ import annotations

import hashlib
import runpy
import sys
from pathlib import Path

import pytest

OWN = ("_sha2", "_sha256")
CODE = Path(__file__).parents[2] / "gridwarden" / "sha256.py"


@pytest.mark.parametrize("missing", [(), OWN], ids=["CPython's own", "OpenSSL's alone"])
def test_hooks_can_start_where_python_was_built_without_hashes_of_its_own(missing, monkeypatch):
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    sha256 = runpy.run_path(str(CODE))["sha256"]
    assert sha256(b"gridwarden").hexdigest() == hashlib.sha256(b"gridwarden").hexdigest()
