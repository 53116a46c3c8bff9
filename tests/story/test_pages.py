"""What README and docs show must be what a reader sees when doing the same on a running site."""

import subprocess

import pytest

from tests import documents

CONSOLE = documents.blocks("console")


@pytest.mark.parametrize("block", CONSOLE, ids=[block.where for block in CONSOLE])
def test_a_reader_who_types_the_block_sees_what_the_page_shows(block: documents.Block) -> None:
    assert documents.steps(block), f"{block.where}: no line begins with a prompt"
    for step in documents.steps(block):
        become = [] if step.prompt == "#" else ["runuser", "-u", "alice", "--"]
        done = subprocess.run(
            [*become, "bash", "-c", step.command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
        )
        assert step.matches(done.stdout), f"{step.where}: {step.command}\nshown:\n{step.shown}\nseen:\n{done.stdout}"
