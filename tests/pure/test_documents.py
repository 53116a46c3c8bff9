"""The test of the pages must itself be able to fail."""

import pytest

from tests import documents


@pytest.mark.parametrize(
    ("shown", "output", "matches"),
    [
        ("cms0...\n", "cms017\n", True),
        ("cms0...\n", "atlas001\n", False),
        ("...\n", "", True),
        ("...\n", "one\ntwo\n", True),
        ("", "", True),
        ("", "surprise\n", False),
        ("a\n...\nz\n", "a\nb\nc\nz\n", True),
        ("a\n...\nz\n", "a\nb\nc\n", False),
        ("a.b\n", "axb\n", False),
    ],
)
def test_a_page_that_shows_something_else_is_noticed(shown: str, output: str, matches: bool) -> None:  # noqa: FBT001  pytest hands it over
    assert documents.Step("x", "#", "true", shown).matches(output) is matches


def test_every_block_says_what_it_is_and_is_tested_if_it_is_a_command() -> None:
    unknown = [block.where for block in documents.blocks() if block.language not in documents.LANGUAGES]
    assert not unknown
    prompted = [block.where for block in documents.blocks("text", "") if block.text.startswith(("# ", "$ "))]
    assert not prompted, "a command block is ```console or ```sh"


@pytest.mark.parametrize("block", documents.blocks("python"), ids=lambda block: block.where)
def test_what_a_page_shows_in_python_runs(block: documents.Block) -> None:
    exec(compile(block.text, block.where, "exec"), {})  # noqa: S102 - our own page
