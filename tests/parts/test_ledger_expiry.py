"""A node's ledger lets its oldest files go, and only those that a store holds; its chain goes on from there."""

from __future__ import annotations

import os
import time

import pytest

from gridwarden import chain, ledger, ledger_expiry
from gridwarden.accounting import collect
from gridwarden.accounting.store import open_store

NOW = time.time()


@pytest.fixture
def directory(tmp_path, monkeypatch):
    directory = tmp_path / "ledger"
    directory.mkdir(mode=0o700)
    monkeypatch.setattr(ledger, "ROTATE_AT", 1000)
    for number in range(20):
        write(directory, number)
    for name in ledger.closed_files(os.open(directory, os.O_RDONLY)):
        os.utime(directory / name, (NOW - 100 * 86_400, NOW - 100 * 86_400))
    return directory


def write(directory, number: int) -> None:
    fields = {"account": "cms001", "lease": "a" * 32, "name": f"name{number}", "inode": number}
    ledger.append(directory, "observation", fields, node="n1", cluster="site")


def closed(directory) -> list[str]:
    return sorted(path.name for path in directory.glob("0*.jsonl"))


def test_nothing_goes_that_no_store_has_acknowledged(directory):
    before = closed(directory)
    assert len(before) > 3
    assert ledger_expiry.expire(directory, NOW) == 0
    assert closed(directory) == before


@pytest.mark.parametrize("acknowledged", range(1, 21))
def test_what_a_store_holds_goes_and_the_next_collect_goes_on_wherever_it_was(directory, tmp_path, acknowledged):
    lines = {line.seq: line.hash for line in chain.read(directory)}
    chain.acknowledge(directory, acknowledged)
    removed = ledger_expiry.expire(directory, NOW)
    left = [line.seq for line in chain.read(directory)]
    assert left[-1] == 20
    assert left[0] <= acknowledged
    assert (removed > 0) == (left[0] > 1)
    assert chain.faults(directory) == []
    write(directory, 99)
    first, *rest = chain.read(directory, after=acknowledged - 1)
    assert (first.seq, first.hash) == (acknowledged, lines[acknowledged])
    assert [line.seq for line in rest] == list(range(acknowledged + 1, 22))
    assert chain.faults(directory) == []


def test_files_that_are_young_stay(directory):
    chain.acknowledge(directory, 20)
    assert ledger_expiry.expire(directory, NOW - 101 * 86_400) == 0
    (directory / closed(directory)[0]).touch()
    assert ledger_expiry.expire(directory, NOW - 86_400) == 0, "a younger file keeps those behind it"


def test_collect_finds_no_fault_before_and_after(directory, tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/store.sqlite")

    def collected():
        found = collect.collect_ledger(store, directory, now=int(NOW * 1e6), progress=lambda *_: None)
        assert found.known_faults == 0
        return found.rows

    assert collected() == 20
    assert ledger_expiry.expire(directory, NOW) > 0
    for number in range(9):
        write(directory, number)
    assert collected() == 9
    assert collected() == 0
