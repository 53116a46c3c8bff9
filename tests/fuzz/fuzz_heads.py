"""Heads out of syslog: whatever a line holds, what is read of it fits into the store and came to its end."""

from __future__ import annotations

from datetime import UTC

from gridwarden.accounting import heads, rows, schema

NOW = 1_795_301_600_000_000
END = b' event=map outcome=leased subject="/CN=A seq=1" seq=17 head=' + b"ab" * 32 + b"\n"
SEEDS = [
    b"2026-11-21T07:44:18.000000+00:00 wn1 gridwarden[123]:" + END,
    b"Nov 21 07:44:18 wn1 gridwarden[123]:" + END,
    b'<86>1 2026-11-21T07:44:18Z wn1.example.org gridwarden 123 - [a b="c"]' + END,
]


def one(data: bytes) -> None:
    lines = data.splitlines(keepends=True)
    for head in heads.parse(lines, "syslog", now=NOW, zone=UTC):
        assert 0 <= head.seq < 2**63
        assert -(2**63) <= head.time < 2**63
        assert lines[int(head.place.partition(":")[2]) - 1].rstrip(b"\r\n").endswith(head.hash.encode())
        rows.storable(schema.heads, head._asdict())["node"].encode()
