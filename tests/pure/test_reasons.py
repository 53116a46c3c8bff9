"""A reason that is never given, never tested or never explained helps nobody."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gridwarden import reasons
from gridwarden.reason_sentences import SENTENCES

ROOT = Path(__file__).resolve().parent.parent.parent
REASONS = {name: value for name, value in vars(reasons).items() if name.isupper() and isinstance(value, str)}


def sources(*directories: str, suffix: str = ".py") -> str:
    """Return the text of every file below, but of this one and of the enumeration."""
    paths = [path for directory in directories for path in sorted((ROOT / directory).rglob(f"*{suffix}"))]
    own = (Path(__file__).name, "reasons.py")
    return "\n".join(path.read_text() for path in paths if path.name not in own)


PRODUCT = sources("gridwarden", "mapper", "hooks", "prune", "accounting")
LUA = sources("hooks", suffix=".lua")
TESTS = sources("tests")


def named(name: str, text: str) -> bool:
    return re.search(rf"\breasons\.{name}\b", text) is not None


@pytest.mark.parametrize("name", sorted(REASONS))
def test_every_reason_is_given_somewhere(name: str) -> None:
    assert named(name, PRODUCT) or f'"{REASONS[name]}' in LUA


@pytest.mark.parametrize("name", sorted(REASONS))
def test_every_reason_is_tested(name: str) -> None:
    assert named(name, TESTS)


def test_every_reason_has_a_sentence_of_its_own() -> None:
    assert set(SENTENCES) == set(REASONS.values())
    assert len(set(SENTENCES.values())) == len(REASONS) == len(set(REASONS.values()))


@pytest.mark.parametrize("reason", sorted(SENTENCES))
def test_every_reason_is_explained(reason: str) -> None:
    assert f"| `{reason}` |" in (ROOT / "docs" / "reasons.md").read_text()


def test_a_reason_is_one_word_that_a_log_can_be_searched_for() -> None:
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", reason) for reason in SENTENCES)
