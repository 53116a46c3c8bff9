"""What README, CONTRIBUTING and docs tell a reader to type on the machine itself must work as written."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import documents

if TYPE_CHECKING:
    from collections.abc import Iterator

SHELL = documents.blocks("sh")
# This very test is run by it.
RUNNING = "make test"


@pytest.fixture
def opt(tmp_path: Path) -> Iterator[list[str]]:
    """A command prefix under which /opt/gridwarden is an empty directory that nobody else sees."""
    place = Path("/opt/gridwarden")
    made = not place.exists()
    place.mkdir(exist_ok=True)
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", documents.ROOT, clone], check=True)
    yield ["unshare", "--mount", "sh", "-ec", f'mount -t tmpfs tmpfs {place}; cd {clone}; exec "$@"', "sh"]
    if made:
        place.rmdir()


@pytest.mark.usefixtures("site_root")
@pytest.mark.parametrize("block", SHELL, ids=[block.where for block in SHELL])
def test_a_reader_who_types_the_block_gets_no_error(block: documents.Block, opt: list[str]) -> None:
    installing = block.where.startswith("docs/")
    lines = [line for line in block.text.splitlines() if line != RUNNING]
    command = ["bash", "-ec", "\n".join(lines)]
    done = subprocess.run(
        [*opt, *command] if installing else command,
        cwd=documents.ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "PYTEST"))},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, f"{block.where}\n{done.stdout}\n{done.stderr}"
