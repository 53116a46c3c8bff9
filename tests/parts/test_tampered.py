"""A ledger that somebody worked on: a collect names the very line, keeps the files, and takes what is whole."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from gridwarden import chain, ledger
from gridwarden.accounting import collect
from gridwarden.accounting.collect import Collected
from gridwarden.accounting.store import open_store

CLOSED, CURRENT = "00000001.jsonl", "current.jsonl"


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger of nine records, the first four of them in a file that is closed."""
    directory = tmp_path / "ledger"
    directory.mkdir(mode=0o700)
    for number in range(9):
        with monkeypatch.context() as patch:
            patch.setattr(ledger, "ROTATE_AT", 1 if number == 4 else 1 << 24)
            fields = {"batch": "slurm", "job": str(number), "account": "cms001", "reason": "none"}
            ledger.append(directory, "hold", fields, node="n1", cluster="site")
    assert [len(read(directory / name)) for name in (CLOSED, CURRENT)] == [4, 5]
    return directory


def read(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def change(path: Path, lines: list[bytes]) -> None:
    path.write_bytes(b"".join(lines))


def altered(directory: Path) -> None:
    first, second, third, *rest = read(directory / CURRENT)
    change(directory / CURRENT, [first, second, third.replace(b'"job":"6"', b'"job":"7"'), *rest])


def altered_in_a_closed_file(directory: Path) -> None:
    first, second, *rest = read(directory / CLOSED)
    change(directory / CLOSED, [first, second.replace(b"cms001", b"cms002"), *rest])


def truncated(directory: Path) -> None:
    first, second, third, *rest = read(directory / CURRENT)
    change(directory / CURRENT, [first, second, third[:-30] + b"\n", *rest])


def truncated_closed_file(directory: Path) -> None:
    change(directory / CLOSED, read(directory / CLOSED)[:2])


def removed(directory: Path) -> None:
    first, second, _, *rest = read(directory / CURRENT)
    change(directory / CURRENT, [first, second, *rest])


def removed_file(directory: Path) -> None:
    (directory / CLOSED).unlink()


def reordered(directory: Path) -> None:
    first, second, third, fourth, *rest = read(directory / CURRENT)
    change(directory / CURRENT, [first, second, fourth, third, *rest])


def duplicated(directory: Path) -> None:
    first, second, third, *rest = read(directory / CURRENT)
    change(directory / CURRENT, [first, second, third, third, *rest])


def duplicated_file(directory: Path) -> None:
    shutil.copy(directory / CLOSED, directory / "00000002.jsonl")


def inserted(directory: Path) -> None:
    first, second, third, *rest = read(directory / CURRENT)
    seq, _, digest, _ = ledger.split_line(second.rstrip(b"\n")) or (0, "", "", b"")
    forged = third.replace(b'"seq":7', b'"seq":%d' % (seq + 1)).replace(b'"job":"6"', b'"job":"9"')
    assert digest.encode() not in forged
    change(directory / CURRENT, [first, second, forged, third, *rest])


CASES = {
    altered: f"{CURRENT}:3",
    altered_in_a_closed_file: f"{CLOSED}:2",
    truncated: f"{CURRENT}:3",
    truncated_closed_file: f"{CURRENT}:1",
    removed: f"{CURRENT}:3",
    removed_file: f"{CURRENT}:1",
    reordered: f"{CURRENT}:3",
    duplicated: f"{CURRENT}:4",
    duplicated_file: "00000002.jsonl:1",
    inserted: f"{CURRENT}:3",
}


def collected(url: str, directory: Path) -> Collected:
    return collect.collect_ledger(open_store(url), directory, now=1, progress=lambda *_: None)


@pytest.mark.parametrize(("work", "place"), CASES.items(), ids=[work.__name__ for work in CASES])
def test_a_ledger_that_was_worked_on_before_it_was_collected_is_found_at_the_line(sqlite_url, directory, work, place):
    work(directory)
    found = collected(sqlite_url, directory)
    assert re.match(rf"{re.escape(place)}: ", found.fresh_faults[0]), found.fresh_faults
    assert chain.acknowledged(directory) == 0, "its files must stay for whoever looks into it"
    again = collected(sqlite_url, directory)
    assert again.fresh_faults == []
    assert again.known_faults == found.known_faults >= 1
    assert chain.acknowledged(directory) == 0


def test_the_same_ledger_untouched_has_no_fault(sqlite_url, directory):
    assert (collected(sqlite_url, directory).known_faults, chain.acknowledged(directory)) == (0, 9)
