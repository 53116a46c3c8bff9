"""Records of process accounting: every field where linux/acct.h has it, and nothing lost behind what is damaged."""

from __future__ import annotations

import math
import random

import pytest

from gridwarden.accounting import pacct

FIELDS = {
    "flag": 0, "version": 3, "tty": 0, "status": 256, "uid": 45001, "gid": 100, "pid": 4711, "parent": 4700,
    "begun": 1_795_000_000, "elapsed": 150.0, "user": 7, "system": 3, "command": b"analysis",
}  # fmt: skip


def record(**changed: object) -> bytes:
    values = FIELDS | changed
    values["command"] = bytes(values["command"]).ljust(16, b"\0")
    return pacct.RECORD.pack(*values.values())


def rows(data: bytes) -> list[pacct.Row]:
    return pacct.parse(data, "wn042").rows


def test_every_field_of_a_record_is_read():
    (row,) = rows(record())
    start = 1_795_000_000_000_000
    assert row == ("wn042", 4711, start, start + 1_500_000, 4700, 45001, 100, "analysis", 70_000, 30_000, 256)


@pytest.mark.parametrize(
    ("encoded", "ticks"), [(0, 0), (8191, 8191), (1 << 13 | 1, 8), (3 << 13 | 5, 5 << 9), (0xFFFF, 8191 << 21)]
)
def test_cpu_time_is_expanded_as_the_kernel_cut_it(encoded, ticks):
    (row,) = rows(record(user=encoded))
    assert row[8] == ticks * 10_000


def test_a_command_of_any_bytes_is_text_without_a_nul():
    (row,) = rows(record(command=b"\xff\n\xe2\x82\0secret"))
    assert row[7] == "\\xff\n\\xe2\\x82"


@pytest.mark.parametrize(
    "wrong",
    [{"version": 2}, {"version": 0x83}, {"flag": 0x40}, {"elapsed": math.nan}, {"elapsed": math.inf}, {"elapsed": -1.0},
     {"elapsed": 3e38}, {"pid": 0}],
)  # fmt: skip
def test_what_is_no_record_is_put_aside_and_the_next_ones_are_read(wrong):
    data = record() + record(**wrong) + record(pid=5) + record(pid=6)
    chunk = pacct.parse(data, "n")
    assert [row[1] for row in chunk.rows] == [4711, 5, 6]
    assert [(odd.offset, odd.entries) for odd in chunk.odd] == [(64, 1)]
    assert chunk.length == len(data)


def test_bytes_of_chance_never_stop_the_reading():
    chance = random.Random(1)
    for _ in range(300):
        noise = chance.randbytes(chance.randrange(400))
        chunk = pacct.parse(record() + noise + record(), "n")
        assert chunk.rows[0][1] == 4711
        assert len(chunk.rows) + sum(odd.entries for odd in chunk.odd) == chunk.length // 64 == len(noise) // 64 + 2


def test_an_unfinished_record_is_left_for_later():
    assert pacct.parse(record() + record()[:40], "n").length == 64
    assert pacct.parse(record()[:40], "n") == ([], [], 0)


def test_no_other_file_is_taken_for_process_accounting():
    assert pacct.is_pacct(record())
    assert not pacct.is_pacct(record()[:63])
    assert not pacct.is_pacct(b"11/21/2026 20:55:07;E;1.pbshead;user=cms001 group=cms jobname=x queue=grid ctime=1")
    assert not pacct.is_pacct(bytes(64))
